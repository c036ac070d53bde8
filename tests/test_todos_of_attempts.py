"""What an attempt did to todos stays if it was handled, and else never was, whatever ended it."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets
from phloem.errors import ConversationFailed, NoDispatch
from phloem.messages import HandlerMetadata, HandlerResponse, Huh
from phloem.pump.within import get_todo_registry
from support.auditing import open_audited
from support.flows import outcome_of
from support.listeners import BACK, Ask, Note, Ping, Reply, echo, listener
from support.watching import unfit

ECHO = listener("echo", [Note, Ping], echo)


class Undone:
    """A listener whose first turn leaves one todo open, and whose second closes it, opens one, and fails."""

    def __init__(self, fails: Any, **more: Any) -> None:
        self.attempts: list[tuple[list[str], list[str]]] = []
        self.during: list[list[str]] = []

        async def handler(payload: Note, metadata: HandlerMetadata) -> Any:
            todos = get_todo_registry()
            raised, pending = todos.get_raised_for(), todos.get_pending_for()
            self.attempts.append(([each.wait_for for each in raised], [each.wait_for for each in pending]))
            if payload == Note("open"):
                todos.register(wait_for="Ping")
                return HandlerResponse.respond(payload)
            if payload == Note("look"):
                return HandlerResponse.respond(payload)
            for each in pending:
                todos.close(each.id)
            todos.register(wait_for="New")
            self.during.append([each.wait_for for each in todos.get_pending_for()])
            return await fails(payload, metadata)

        self.config = listener("own", Note, handler, **more)


async def _raises(payload: Any, metadata: HandlerMetadata) -> Any:
    raise ValueError("x")


async def _overruns(payload: Any, metadata: HandlerMetadata) -> Any:
    await trio.sleep_forever()


async def _returns_nonsense(payload: Any, metadata: HandlerMetadata) -> Any:
    return 7


async def _returns_both(payload: Any, metadata: HandlerMetadata) -> Any:
    return [HandlerResponse(Note("look"), to="own"), HandlerResponse.respond(payload)]


async def _sends_what_is_no_payload(payload: Any, metadata: HandlerMetadata) -> Any:
    return HandlerResponse.respond(object())


async def _shields(payload: Any, metadata: HandlerMetadata) -> Any:
    with trio.CancelScope(shield=True):
        await trio.sleep(20)
    raise ValueError("late")


FAILURES = [_raises, _overruns, _returns_nonsense, _returns_both, _sends_what_is_no_payload, _shields]


@pytest.mark.parametrize("fails", FAILURES, ids=lambda fails: fails.__name__)
@pytest.mark.parametrize("retries", [0, 2])
async def test_an_attempt_that_fails_leaves_todos_as_they_were(
    fails: Any, retries: int, autojump_clock: trio.testing.MockClock
) -> None:
    """What it registered is gone, what it closed is open, for the next attempt and for the next turn."""
    own = Undone(fails, retries=retries, handler_timeout=5.0)
    async with open_audited(own.config, ECHO) as organism, organism.open_conversation() as block:
        await block.ask(Note("open"), to="own")
        with pytest.raises(ConversationFailed):
            await block.ask(Note("fail"), to="own")
        assert [todo.wait_for for todo in organism.todos] == ["Ping"]
        assert unfit(organism) == []
        await block.ask(Ping("x"), to="echo")
        await block.ask(Note("look"), to="own")
    assert own.attempts[0] == ([], [])
    tries = own.attempts[1:-1]
    assert tries == [([], ["Ping"])] * len(tries)
    assert len(tries) in (1, retries + 1)
    assert own.attempts[-1] == (["Ping"], [])
    assert own.during == [["New"]] * len(tries)


@pytest.mark.parametrize("cut", ["kill the ask", "prune"])
@pytest.mark.parametrize("shielded", [True, False])
async def test_an_attempt_that_is_cut_leaves_todos_as_they_were(
    cut: str, shielded: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async def waits(payload: Any, metadata: HandlerMetadata) -> Any:
        with trio.CancelScope(shield=shielded):
            await trio.sleep(3)
        return HandlerResponse.respond(payload)

    own = Undone(waits)

    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        if payload == Note("fail"):
            return [HandlerResponse(payload, to="own"), HandlerResponse(Ping("x"), to="late")]
        return HandlerResponse.respond(Reply("enough"))

    async def late(payload: Any, metadata: HandlerMetadata) -> Any:
        await trio.sleep(1)
        return HandlerResponse.respond(payload)

    others = listener("front", [Note, Ping], front), listener("late", Ping, late)
    async with open_audited(own.config, *others) as organism, organism.open_conversation() as block:
        await block.ask(Note("open"), to="own")
        if cut == "prune":
            assert await block.ask(Note("fail"), to="front") == Reply("enough")
        else:
            with trio.move_on_after(1):
                await block.ask(Note("fail"), to="own")
            await trio.sleep(5)
        assert [todo.wait_for for todo in organism.todos] == ["Ping"]
        assert unfit(organism) == []
    assert own.during == [["New"]]


async def test_what_a_failing_attempt_closed_is_raised_by_what_comes_meanwhile(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def waits(payload: Any, metadata: HandlerMetadata) -> Any:
        await trio.sleep(5)
        raise ValueError("x")

    own = Undone(waits)
    async with open_audited(own.config, ECHO) as organism, organism.open_conversation() as block:
        await block.ask(Note("open"), to="own")
        receipt = await block.send(Note("fail"), to="own")
        await trio.sleep(1)
        assert [todo.wait_for for todo in organism.todos] == ["New"]
        await block.ask(Ping("x"), to="echo")
        await organism.wait(receipt)
        assert [(todo.wait_for, todo.triggered_from) for todo in organism.todos] == [("Ping", "outside")]


async def test_what_a_refused_attempt_did_stays() -> None:
    """Its dispatch was handled; only its message was refused."""
    seen: list[Any] = []

    async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
        todos = get_todo_registry()
        seen.append((type(payload), len(todos.get_pending_for())))
        if isinstance(payload, Note):
            todos.register(wait_for="Never")
            return b"<Ask><Txt>x</Txt></Ask>"
        return None

    async with open_audited(listener("own", [Note, Huh], handler), BACK) as organism:
        await outcome_of(organism, Note("x"), "own")
    assert seen == [(Note, 0), (Huh, 1)]


async def test_a_handler_that_is_cut_registers_nothing_any_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its thread may be gone already, so nothing would ever take the todo away from those who look."""
    met: list[Any] = []

    async def late(payload: Any, metadata: HandlerMetadata) -> Any:
        todos = get_todo_registry()
        try:
            await trio.sleep_forever()
        finally:
            try:
                met.append(todos.register(wait_for="Never"))
            except NoDispatch as error:
                met.append(type(error))
            met.append(unfit(organism))
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            met.append(unfit(organism))

    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Note):
            return [HandlerResponse(Ping("x"), to="late"), HandlerResponse(Ask("x"), to="back")]
        await trio.sleep(1)
        return HandlerResponse.respond(payload)

    async with open_audited(
        listener("late", Ping, late), listener("front", [Note, Reply], front), BACK
    ) as organism:
        await organism.ask(Note("x"), to="front")
        receipt = await organism.send(Ping("x"), to="late")
        await trio.sleep(1)
        await organism.kill(receipt.conversation)
    assert met == [NoDispatch, [], []] * 2


async def test_a_turns_budget_ends_what_its_attempt_registered_and_nothing_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handler(payload: Note, metadata: HandlerMetadata) -> Any:
        get_todo_registry().register(wait_for=payload.text)
        if payload.text == "slow":
            await trio.sleep(10)
        return HandlerResponse.respond(payload)

    own = listener("own", Note, handler)
    async with open_audited(own) as organism, organism.open_conversation() as block:
        await block.ask(Note("kept"), to="own")
        with pytest.raises(ConversationFailed):
            await block.ask(Note("slow"), to="own", budgets=Budgets(seconds=1))
        assert [todo.wait_for for todo in organism.todos] == ["kept"]
        assert unfit(organism) == []
        await block.ask(Note("more"), to="own")
        assert [todo.wait_for for todo in organism.todos] == ["kept", "more"]


async def test_what_a_failed_attempt_closed_is_back_before_anybody_else_is_dispatched() -> None:
    """One place for this listener: who gets it next must not see what the failure had done."""
    nudged: list[bool] = []

    async def handler(payload: Note, metadata: HandlerMetadata) -> Any:
        todos = get_todo_registry()
        if payload.text == "open":
            todos.register(wait_for="Note")
        elif payload.text == "look":
            nudged.append(bool(metadata.todo_nudge))
        elif metadata.attempt == 1:
            assert todos.close(todos.get_raised_for()[0].id)
            raise ValueError("x")

    async def front(payload: Note, metadata: HandlerMetadata) -> Any:
        return [HandlerResponse(Note(text), to="own") for text in ("fail", "look")]

    own = listener("own", Note, handler, max_concurrent=1, retries=1, retry_base_delay=1e-3)
    async with (
        open_audited(own, listener("front", Note, front)) as organism,
        organism.open_conversation() as block,
    ):
        await organism.wait(await block.send(Note("open"), to="own"))
        for _ in range(30):
            await organism.wait(await block.send(Note("x"), to="front"))
    assert nudged == [True] * 30
