"""Claims of pump/remembering.py: when memory is written, and when it is given back."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from phloem.config import MemoryLimits
from phloem.memory.history import Record
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.pump.within import get_context_buffer, get_todo_registry
from phloem.wire.parsing import Element
from support.auditing import open_audited
from support.flows import step
from support.gates import settled
from support.listeners import BACK, Ask, Note, Reply, drop, listener


class Signal:
    """A class of another library, whose element is called otherwise."""

    @classmethod
    def xsd(cls) -> str:
        return (
            '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">'
            '<xs:element name="Ping" type="xs:string"/></xs:schema>'
        )

    def xml_value(self, name: str) -> str:
        return f"<{name}/>"

    @classmethod
    def from_element(cls, element: Element) -> Signal:
        return cls()


def texts(history: Any) -> list[str]:
    return [getattr(slot.payload, "text", type(slot.payload).__name__) for slot in history]


# -- what a todo may wait for ------------------------------------------------------------------
@pytest.mark.parametrize("way", ["accepted", "answered"])
async def test_a_payload_is_known_by_its_class_and_by_its_element(way: str) -> None:
    raised: dict[str, bool] = {}

    async def agent(payload: Ask | Note, metadata: HandlerMetadata) -> Any:
        todos = get_todo_registry()
        if isinstance(payload, Ask):
            for name in ("Signal", "sIGNAL", "Ping", "pING", "Sign", "Pin"):
                todos.register(wait_for=name)
            return None
        raised.update({todo.wait_for: todo.eyebrow_raised for todo in organism.todos})
        return None

    async def signals(payload: Reply, metadata: HandlerMetadata) -> HandlerResponse:
        return (
            HandlerResponse(Signal(), to="takes") if way == "accepted" else HandlerResponse.respond(Signal())
        )

    own = [
        listener("agent", [Ask, Note], agent),
        listener("signals", Reply, signals, responds_with=Signal),
        listener("takes", Signal, drop),
    ]
    async with open_audited(*own) as organism, organism.open_conversation() as block:
        await organism.wait(await block.send(Ask("x"), to="agent"))
        await organism.wait(await block.send(Reply("x"), to="signals"))
        await organism.wait(await block.send(Note("x"), to="agent"))
    assert raised == {
        **dict.fromkeys(("Signal", "sIGNAL", "Ping", "pING"), True),
        **dict.fromkeys(("Sign", "Pin"), False),
    }


# -- what is kept ------------------------------------------------------------------------------
async def test_what_was_said_on_an_idle_thread_that_waits_for_a_todo_is_remembered() -> None:
    async def waits(payload: Ask, metadata: HandlerMetadata) -> None:
        get_todo_registry().register(wait_for="Nothing")

    own = (step("front", "waits"), listener("waits", Ask, waits))
    async with open_audited(*own) as organism, organism.open_conversation() as block:
        await organism.wait(await block.send(Ask("x"), to="front"))
        (todo,) = organism.todos
        assert texts(organism.context.get_thread(todo.thread_id)) == ["x"]
        assert texts(organism.context.get_conversation(block.id)) == ["x", "x"]


async def test_a_respond_whose_thread_ends_pushes_nobodys_message_out() -> None:
    seen: list[list[str]] = []

    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Ask):
            return HandlerResponse(Ask("goes with its thread"), to="waits")
        seen.append(texts(get_context_buffer().get_conversation()))
        return HandlerResponse.respond(Reply("done"))

    async def waits(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        get_todo_registry().register(wait_for="Nothing")  # else its thread would be idle, and go anyway
        return HandlerResponse.respond(Reply(payload.text))

    own = (
        listener("front", [Ask, Reply], front),
        listener("drop", Note, drop),
        listener("waits", Ask, waits),
    )
    limits = MemoryLimits(max_slots_per_conversation=2)
    async with open_audited(*own, memory=limits) as organism, organism.open_conversation() as block:
        await organism.wait(await block.send(Note("first"), to="drop"))
        assert await block.ask(Ask("second"), to="front") == Reply("done")
    assert seen == [["first", "second", "goes with its thread"]], "and the last is being handled"


# -- what is given back ------------------------------------------------------------------------
async def test_a_kept_todo_holds_nothing_of_the_dispatch_that_registered_it() -> None:
    payloads: list[weakref.ref[Ask]] = []

    async def agent(payload: Ask, metadata: HandlerMetadata) -> None:
        payloads.append(weakref.ref(payload))
        get_todo_registry().register(wait_for="Nothing")

    async with (
        open_audited(listener("agent", Ask, agent)) as organism,
        organism.open_conversation() as block,
    ):
        await organism.wait(await block.send(Ask("x"), to="agent"))
        await settled()
        gc.collect()
        assert [ref() for ref in payloads] == [None]
        assert len(organism.todos) == 1


@pytest.mark.parametrize("keep_finished", [0, 1])
async def test_a_conversation_that_is_over_holds_neither_messages_nor_todos(keep_finished: int) -> None:
    async def agent(payload: Ask | Reply, metadata: HandlerMetadata) -> Any:
        get_todo_registry().register(wait_for="Nothing")
        return HandlerResponse(payload, to="back") if isinstance(payload, Ask) else None

    def records() -> list[Record]:
        gc.collect()
        return [
            each
            for each in gc.get_objects()
            if isinstance(each, Record) and each.message_id.startswith(block.id)
        ]

    limits = MemoryLimits(keep_finished=keep_finished)
    async with open_audited(listener("agent", [Ask, Reply], agent), BACK, memory=limits) as organism:
        async with organism.open_conversation() as block:
            await organism.wait(await block.send(Ask("x"), to="agent"))
            handle = organism._core.conversations[block.id]
            assert handle.todos is not None
            todos = weakref.ref(handle.todos)
            await settled()
            assert len(records()) == 2 + keep_finished, (
                "what the agent heard; and the ended thread's, if kept"
            )
        await organism.ask(Ask("a later one, which is kept in its place"), to="back")
        await settled()
        assert (records(), todos()) == ([], None), "though somebody has the handle still"
        assert handle.id == block.id
