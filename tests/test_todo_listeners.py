"""The todo listeners: everyone may address them, they act for their caller, nobody need hear them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import trio

from phloem.config import Budgets, MemoryLimits
from phloem.errors import ConversationFailed
from phloem.messages import ConversationState, Ending, HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import Organism
from phloem.primitives import TodoClosed, TodoComplete, TodoRegistered, TodoUntil
from support.auditing import open_audited
from support.flows import outcome_of
from support.listeners import BACK, Ask, Note, Reply, echo, listener
from support.sweeping import assert_nothing_is_remembered
from support.wire import message


class OwnUntil:
    """A listener's own class, called as ours is."""

    @dataclass
    class TodoUntil:
        words: str


def asker(*sends: Any, takes: tuple[type, ...] = (), seen: list[Any], **more: Any) -> Any:
    """Sends one thing after the other, whatever it hears; then responds."""
    script = list(sends)

    async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
        seen.append(payload)
        return script.pop(0) if script else HandlerResponse.respond(Reply("done"))

    return listener("asker", [Note, *takes], handler, **more)


@pytest.mark.parametrize("peers", [None, [], ["back"], ["system.todo"]])
@pytest.mark.parametrize("is_agent", [True, False])
@pytest.mark.parametrize("to", ["system.todo", "System.TODO", None])
async def test_a_listener_reaches_them_whatever_its_peers(
    peers: list[str] | None, is_agent: bool, to: str | None
) -> None:
    seen: list[Any] = []
    close = TodoComplete("no such todo")
    own = asker(
        HandlerResponse(TodoUntil("Reply", "back", "say so"), to=to),
        HandlerResponse(close, to=None if to is None else "system.todo-complete"),
        takes=(TodoRegistered, TodoClosed),
        seen=seen,
        peers=peers,
        is_agent=is_agent,
    )
    async with open_audited(own, BACK) as organism:
        assert await organism.ask(Note("x"), to="asker") == Reply("done")
    registered = seen[1]
    assert registered == TodoRegistered(registered.id, "Reply", "say so")
    assert seen[2] == TodoClosed("no such todo", was_raised=False)


@pytest.mark.parametrize(
    "returned",
    [
        b"<TodoUntil><WaitFor>Reply</WaitFor></TodoUntil>",
        b"<TodoUntil><WaitFor>Reply</WaitFor><FromListener>a</FromListener><Description>b</Description></TodoUntil>",
        message(
            '<TodoUntil xmlns=""><WaitFor>Reply</WaitFor></TodoUntil>',
            meta="<from>x</from><to>system.todo</to>",
        ).encode(),
    ],
)
async def test_a_handlers_bytes_reach_them(returned: bytes) -> None:
    seen: list[Any] = []
    own = asker(returned, takes=(TodoRegistered, Huh), seen=seen, is_agent=True, peers=[])
    async with open_audited(own) as organism:
        await organism.ask(Note("x"), to="asker")
    assert isinstance(seen[1], TodoRegistered)


async def test_a_bad_request_is_told_to_its_sender_as_any_other() -> None:
    seen: list[Any] = []
    own = asker(
        b"<TodoUntil><WaitFor/></TodoUntil>",
        f"<TodoUntil><WaitFor>{'x' * 129}</WaitFor></TodoUntil>".encode(),
        takes=(TodoRegistered, Huh),
        seen=seen,
    )
    async with open_audited(own) as organism:
        await organism.ask(Note("x"), to="asker")
        assert organism.report.rejected == 2
    assert [type(payload) for payload in seen] == [Note, Huh, Huh]


async def test_a_stranger_registers_and_closes_on_its_own_root() -> None:
    async with open_audited(BACK) as organism, organism.open_conversation(sender="someone") as block:
        opened = await block.ask(TodoUntil("Reply", "back"), to="system.todo")
        assert [(each.id, each.issuer) for each in organism.todos] == [(opened.id, "someone")]
        root = next(thread.id for thread in organism.threads if len(thread.chain) == 1)
        assert organism.todos[0].thread_id == root
        await block.ask(Ask("x"), to="back")
        assert organism.todos[0].eyebrow_raised
        assert await block.ask(TodoComplete(opened.id)) == TodoClosed(opened.id, was_raised=True)
        assert await block.ask(TodoComplete(opened.id)) == TodoClosed(opened.id, was_raised=False)
        assert organism.todos == ()


async def test_a_strangers_todo_goes_with_its_conversation_and_its_bytes_reach_them() -> None:
    async with open_audited() as organism:
        receipt = await organism.inject("<TodoUntil><WaitFor>Reply</WaitFor></TodoUntil>")
        (opened,) = (await organism.wait(receipt)).payloads
        assert isinstance(opened, TodoRegistered)
        assert opened.description == ""
        assert_nothing_is_remembered(organism)
        assert (await organism.ask(TodoComplete(opened.id))).was_raised is False


async def test_a_stranger_cannot_close_what_a_listener_has_open_nor_a_listener_a_strangers() -> None:
    seen: list[Any] = []

    async def opens(payload: Note, metadata: HandlerMetadata) -> Any:
        return HandlerResponse(TodoUntil("Never") if payload.text == "open" else TodoComplete(payload.text))

    own = listener("opener", [Note], opens)
    async with open_audited(own) as organism, organism.open_conversation(sender="mallory") as block:
        await organism.wait(await block.send(Note("open"), to="opener"))
        mine = await block.ask(TodoUntil("Never"), to="system.todo")
        theirs = next(each.id for each in organism.todos if each.issuer == "opener")
        assert await block.ask(TodoComplete(theirs)) == TodoClosed(theirs, was_raised=False)
        await organism.wait(await block.send(Note(mine.id), to="opener"))
        assert {each.id for each in organism.todos} == {theirs, mine.id}
        await organism.wait(await block.send(Note(theirs), to="opener"))
        assert [each.id for each in organism.todos] == [mine.id]
    assert seen == []


async def test_unseen_answers_are_booked_as_handled_and_the_conversation_goes_on() -> None:
    seen: list[Any] = []
    sends = [HandlerResponse(TodoUntil("Reply")), HandlerResponse(Ask("x"), to="back")]
    own = asker(sends, takes=(Reply,), seen=seen)
    async with open_audited(own, BACK) as organism:
        before = organism.report
        outcome = await outcome_of(organism, Note("x"), "asker")
        assert outcome.state is ConversationState.COMPLETED
        assert outcome.dead_letters == ()
        assert outcome.rejections == ()
        report = organism.report
        # Note, TodoUntil, its unseen answer, Ask, Reply
        assert report.accepted - before.accepted == report.handled - before.handled == 5
        counts = organism.statistics()["listeners"]["asker"]
        assert counts[Ending.HANDLED.value] == 3
        assert sum(counts[ending.value] for ending in Ending) == 3
    assert seen == [Note("x"), Reply("x")]


async def test_an_unseen_answer_counts_for_the_budget_of_messages() -> None:
    for most, state in ((3, ConversationState.COMPLETED), (2, ConversationState.OUT_OF_BUDGET)):
        own = asker(HandlerResponse(TodoUntil("Reply")), seen=[])
        async with open_audited(own, budgets=Budgets(messages=most)) as organism:
            assert (await outcome_of(organism, Note("x"), "asker")).state is state
            assert_nothing_is_remembered(organism)


async def test_they_cost_a_level_of_depth_as_any_other_call() -> None:
    for most, state in ((2, ConversationState.COMPLETED), (1, ConversationState.OUT_OF_BUDGET)):
        own = asker(HandlerResponse(TodoUntil("Reply")), seen=[])
        async with open_audited(own, budgets=Budgets(depth=most)) as organism:
            assert (await outcome_of(organism, Note("x"), "asker")).state is state
            assert_nothing_is_remembered(organism)


async def test_one_may_take_one_answer_and_not_the_other() -> None:
    seen: list[Any] = []
    own = asker(
        HandlerResponse(TodoUntil("Reply")),
        HandlerResponse(TodoComplete("x")),
        takes=(TodoClosed,),
        seen=seen,
    )
    async with open_audited(own) as organism:
        await organism.wait(await organism.send(Note("x"), to="asker"))
        assert seen == [Note("x")]  # the first answer is unseen, so nothing closes
        assert organism.report.in_flight == 0


async def test_too_many_todos_are_a_fault_of_the_call_and_told_as_one() -> None:
    seen: list[Any] = []
    until = HandlerResponse(TodoUntil("Never"))
    own = asker(until, until, takes=(TodoRegistered, SystemError), seen=seen)
    async with open_audited(own, memory=MemoryLimits(max_todos=1)) as organism:
        outcome = await outcome_of(organism, Note("x"), "asker")
        assert outcome.state is ConversationState.COMPLETED
        assert outcome.dead_letters[0].cause.exception == "TooManyTodos"
        assert_nothing_is_remembered(organism)
    assert [type(payload) for payload in seen] == [Note, TodoRegistered, SystemError]
    assert seen[2].code == "handler"


async def test_the_todo_is_its_callers_on_its_callers_thread() -> None:
    threads: list[str] = []

    async def opens(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        threads.append(metadata.thread_id)
        return HandlerResponse(TodoUntil("Never", description="wait"))

    async with (
        open_audited(listener("opener", Note, opens)) as organism,
        organism.open_conversation() as block,
    ):
        await organism.wait(await block.send(Note("x"), to="opener"))
        (todo,) = organism.todos
        assert (todo.thread_id, todo.issuer, todo.description) == (threads[0], "opener", "wait")
        (thread,) = [thread for thread in organism.threads if thread.id == todo.thread_id]
        assert (thread.state, thread.chain) == ("idle", ("outside", "opener"))


async def test_twins_have_todos_of_their_own_under_one_name() -> None:
    """Both are asked, each registers by the service; each is nudged of its own, and closes only that."""
    nudges: dict[int, list[str]] = {0: [], 1: []}

    def twin(number: int) -> Any:
        async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
            nudges[number].append(metadata.todo_nudge)
            if payload == Ask("open"):
                return HandlerResponse(TodoUntil("Note", description=f"of {number}"))
            return None

        return listener("twin", [Ask, Reply], handler, broadcast=True)

    async with (
        open_audited(twin(0), twin(1), listener("echo", Note, echo)) as organism,
        organism.open_conversation() as block,
    ):
        await organism.wait(await block.send(Ask("open"), to="twin"))
        assert [each.issuer for each in organism.todos] == ["twin", "twin"]
        assert len({each.thread_id for each in organism.todos}) == 2
        await block.ask(Note("x"), to="echo")
        await organism.wait(await block.send(Ask("look"), to="twin"))
    for number, (first, second) in nudges.items():
        assert first == ""
        assert f"of {number}" in second
        assert f"of {1 - number}" not in second


async def test_a_listeners_own_class_of_the_same_name_comes_before_phloems() -> None:
    async with open_audited(listener("own", OwnUntil.TodoUntil, echo)) as organism:
        assert await organism.ask(OwnUntil.TodoUntil("a"), to="own") == OwnUntil.TodoUntil("a")
        assert await organism.ask(OwnUntil.TodoUntil("a")) == OwnUntil.TodoUntil("a")
        assert isinstance(await organism.ask(TodoUntil("Reply"), to="system.todo"), TodoRegistered)


async def test_they_stay_reachable_while_the_organism_drains() -> None:
    async def opens(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, TodoRegistered):
            return HandlerResponse.respond(Reply(payload.wait_for))
        await trio.sleep(0.01)
        return HandlerResponse(TodoUntil("Never"))

    organisms: list[Organism] = []
    async with open_audited(listener("opener", [Note, TodoRegistered], opens)) as organism:
        organisms.append(organism)
        receipt = await organism.send(Note("x"), to="opener")
    assert organisms[0]._core.outcome(receipt).payloads == (Reply("Never"),)  # type: ignore[union-attr]


async def test_a_conversation_that_only_asks_for_a_todo_has_no_response() -> None:
    async with open_audited(asker(HandlerResponse(TodoUntil("Never")), seen=[])) as organism:
        outcome = await outcome_of(organism, Note("x"), "asker")
        assert (outcome.state, outcome.payloads) == (ConversationState.COMPLETED, ())
        assert_nothing_is_remembered(organism)


async def test_a_service_answers_a_caller_whose_own_class_has_that_name_by_that_class() -> None:
    @dataclass
    class TodoRegistered:
        id: int

    async with open_audited(
        asker(HandlerResponse(TodoUntil("Never")), takes=(TodoRegistered,), seen=[])
    ) as organism:
        with pytest.raises(ConversationFailed):
            await organism.ask(Note("x"), to="asker")
        assert_nothing_is_remembered(organism)
