"""Todos in a whole organism: when a nudge is seen, by whom, until when, and what makes a todo go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from phloem.config import Budgets, ListenerConfig, MemoryLimits
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import Organism
from phloem.pump.within import get_todo_registry
from support.auditing import open_audited
from support.flows import outcome_of
from support.listeners import BACK, Ask, Note, Ping, Reply, drop, echo, listener
from support.sweeping import assert_nothing_is_remembered
from support.watching import unfit

ECHO = listener("echo", [Note, Ping], echo)


@dataclass
class Told:
    """What one listener was told, dispatch by dispatch."""

    nudges: list[str] = field(default_factory=list[str])
    payloads: list[Any] = field(default_factory=list[Any])
    threads: list[str] = field(default_factory=list[str])

    def note(self, payload: Any, metadata: HandlerMetadata) -> None:
        self.nudges.append(metadata.todo_nudge)
        self.payloads.append(payload)
        self.threads.append(metadata.thread_id)

    @property
    def nudged(self) -> list[bool]:
        return [bool(nudge) for nudge in self.nudges]


def waiter(told: Told, *sends: Any, wait_for: str = "Reply", sender: str = "", **more: Any) -> ListenerConfig:
    """Registers at its first dispatch; sends one thing after the other, then nothing."""
    script = list(sends)

    async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
        told.note(payload, metadata)
        if len(told.nudges) == 1:
            get_todo_registry().register(None, None, wait_for, sender, "go on")
        return script.pop(0) if script else None

    return listener("waiter", [Reply, Note], handler, **more)


def ask_back() -> HandlerResponse:
    return HandlerResponse(Ask("x"), to="back")


# -- the nudge ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduling", ["breadth-first", "depth-first"])
async def test_the_dispatch_that_the_match_causes_has_the_nudge(scheduling: str) -> None:
    told = Told()
    async with open_audited(waiter(told, ask_back()), BACK, thread_scheduling=scheduling) as organism:
        await outcome_of(organism, Note("x"), "waiter")
        assert_nothing_is_remembered(organism)
    assert told.payloads == [Note("x"), Reply("x")]
    assert told.nudges[0] == ""
    assert told.nudges[1].startswith(
        "[SYSTEM NOTE: The following todos appear complete:]\n- Reply from back: go"
    )


async def test_it_is_there_at_every_dispatch_until_it_is_closed_and_raised_by_the_first_only() -> None:
    told = Told()
    closed: list[bool] = []

    async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
        told.note(payload, metadata)
        todos = get_todo_registry()
        if len(told.nudges) == 1:
            todos.register(wait_for="Reply")
        if len(told.nudges) == 4:
            (raised,) = todos.get_raised_for()
            closed.append(todos.close(raised.id))
        if len(told.nudges) == 6:
            return HandlerResponse.respond(Reply("done"))
        return HandlerResponse(Ask("x"), to=("back", "other")[len(told.nudges) % 2])

    other = listener("other", Ask, BACK.handler)
    async with open_audited(listener("own", [Note, Reply], handler), BACK, other) as organism:
        assert await organism.ask(Note("x"), to="own") == Reply("done")
    assert told.nudged == [False, True, True, True, False, False]
    assert {nudge.split(":")[1] for nudge in told.nudges if nudge} == {told.nudges[1].split(":")[1]}
    assert "Reply from other" in told.nudges[3]
    assert closed == [True]


async def test_another_thread_of_the_same_issuer_is_nudged() -> None:
    """The issuer asks itself: the child thread hears of what the parent waits for, and may close it."""
    told = Told()

    async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
        told.note(payload, metadata)
        todos = get_todo_registry()
        if payload == Note("first"):
            todos.register(wait_for="Ping")
            return [HandlerResponse(Ping("x"), to="echo"), HandlerResponse(Note("second"), to="own")]
        if payload == Note("second"):
            assert todos.close(todos.get_raised_for()[0].id)
            return HandlerResponse.respond(Reply("closed"))
        return HandlerResponse.respond(payload) if isinstance(payload, Reply) else None

    async with open_audited(listener("own", [Note, Reply, Ping], handler), ECHO) as organism:
        assert await organism.ask(Note("first"), to="own") == Reply("closed")
    told_of = {str(payload): nudge for payload, nudge in zip(told.payloads, told.nudges, strict=True)}
    assert "Ping" in told_of[str(Note("second"))]
    assert len(set(told.threads)) == 2


async def test_nobody_else_is_nudged_nor_another_conversation_of_the_issuer() -> None:
    told, others = Told(), Told()

    async def other(payload: Any, metadata: HandlerMetadata) -> Any:
        others.note(payload, metadata)
        return HandlerResponse.respond(Reply("x"))

    sends = HandlerResponse(Ask("x"), to="other")
    async with open_audited(waiter(told, sends), listener("other", Ask, other)) as organism:
        await outcome_of(organism, Note("x"), "waiter")
        await organism.ask(Ask("x"), to="other")
        await outcome_of(organism, Note("x"), "waiter")
    assert told.nudged == [False, True, False]
    assert others.nudged == [False] * 2


@pytest.mark.parametrize(
    ("wait_for", "sender", "raised"),
    [
        ("Reply", "back", True),
        ("REPLY", "BACK", True),
        ("Reply", "", True),
        ("Reply", "echo", False),
        ("Reply", "waiter", False),
        ("Rep", "back", False),
        ("Ask", "waiter", True),
        ("ask", "outside", False),
        ("Note", "outside", False),  # it had come before anybody waited
    ],
)
async def test_name_and_sender_both_count_without_case(wait_for: str, sender: str, raised: bool) -> None:
    told = Told()
    own = waiter(told, ask_back(), wait_for=wait_for, sender=sender)
    async with open_audited(own, BACK) as organism:
        await outcome_of(organism, Note("x"), "waiter")
    assert told.nudged == [False, raised]


async def test_faults_from_system_raise_as_any_message_does() -> None:
    told = Told()

    async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
        told.note(payload, metadata)
        todos = get_todo_registry()
        if isinstance(payload, Note):
            todos.register(wait_for="SystemError", from_listener="system")
            todos.register(wait_for="Huh", from_listener="echo")
            return HandlerResponse(Ask("x"), to="nobody")
        return None

    async with open_audited(listener("own", [Note, SystemError, Huh], handler)) as organism:
        await outcome_of(organism, Note("x"), "own")
    assert told.nudged == [False, True]


async def test_an_answer_at_the_root_raises_for_the_next_turn() -> None:
    told = Told()
    own = waiter(told, HandlerResponse.respond(Reply("first")), sender="waiter")
    async with open_audited(own) as organism, organism.open_conversation() as block:
        await block.ask(Note("x"), to="waiter")
        (todo,) = organism.todos
        assert (todo.eyebrow_raised, todo.triggered_from) == (True, "waiter")
        await organism.wait(await block.send(Note("y"), to="waiter"))
    assert told.nudged == [False, True]


async def test_a_message_that_was_refused_raises_nothing() -> None:
    told = Told()
    own = waiter(told, b"<Ask><Words>x</Words></Ask>", wait_for="Ask")
    async with open_audited(own, BACK) as organism, organism.open_conversation() as block:
        await organism.wait(await block.send(Note("x"), to="waiter"))
        assert organism.report.rejected == 1
        assert [todo.eyebrow_raised for todo in organism.todos] == [False]


async def test_a_handlers_own_forward_may_be_what_it_waits_for() -> None:
    """It is booked after the todo was registered, so it counts."""
    told = Told()
    async with open_audited(waiter(told, ask_back(), wait_for="Ask"), BACK) as organism:
        await outcome_of(organism, Note("x"), "waiter")
    assert told.nudged == [False, True]


async def test_broadcast_twins_raise_under_their_name() -> None:
    told = Told()
    twin = listener("twin", Ask, BACK.handler, broadcast=True)
    own = waiter(told, HandlerResponse(Ask("x"), to="twin"), sender="twin")
    async with open_audited(own, twin, twin) as organism:
        await outcome_of(organism, Note("x"), "waiter")
    assert told.nudged == [False, True, True]


# -- when a todo goes ------------------------------------------------------------------------------


async def test_it_goes_when_its_thread_is_pruned_by_a_respond() -> None:
    counts: list[int] = []

    async def opens(payload: Ask, metadata: HandlerMetadata) -> Any:
        get_todo_registry().register(wait_for="Never")
        return HandlerResponse.respond(Reply("x"))

    async def looks(payload: Any, metadata: HandlerMetadata) -> Any:
        counts.append(len(organism.todos))
        return HandlerResponse(Ask("x"), to="opener") if isinstance(payload, Note) else None

    async with open_audited(
        listener("looker", [Note, Reply], looks), listener("opener", Ask, opens)
    ) as organism:
        await outcome_of(organism, Note("x"), "looker")
    assert counts == [0, 0]


async def test_an_idle_thread_with_a_todo_stays_and_is_nudged_on_another_one() -> None:
    """Its issuer returned nothing and nothing is below it: without the todo it would be gone."""
    told = Told()

    async def opens(payload: Note, metadata: HandlerMetadata) -> Any:
        told.note(payload, metadata)
        todos = get_todo_registry()
        if payload == Note("open"):
            todos.register(wait_for="Ping")
        if payload == Note("close"):
            assert [todos.close(todo.id) for todo in todos.get_raised_for()] == [True]
        return None

    async def passes(payload: Note, metadata: HandlerMetadata) -> Any:
        return HandlerResponse(payload, to="opener")

    async with (
        open_audited(listener("opener", Note, opens), listener("pass", Note, passes), ECHO) as organism,
        organism.open_conversation() as block,
    ):

        async def say(text: str) -> list[str]:
            await organism.wait(await block.send(Note(text), to="pass"))
            assert unfit(organism) == []
            return [thread.listener for thread in organism.threads]

        assert await say("nothing") == ["outside", "pass"]
        assert await say("open") == ["outside", "pass", "opener"]
        assert await say("nothing") == ["outside", "pass", "opener"]
        await block.ask(Ping("x"), to="echo")
        assert await say("close") == ["outside", "pass", "echo"]
        assert organism.todos == ()
    assert told.nudged == [False, False, False, True]


async def test_idle_ancestors_go_with_the_last_todo_below_them() -> None:
    async def opens(payload: Note, metadata: HandlerMetadata) -> Any:
        todos = get_todo_registry()
        if payload == Note("open"):
            todos.register(wait_for="Never")
        else:
            assert todos.close(todos.get_pending_for()[0].id)
        return None

    def passes(to: str) -> Any:
        async def handler(payload: Note, metadata: HandlerMetadata) -> Any:
            return HandlerResponse(payload, to=to)

        return handler

    chain = [listener(name, Note, passes(to)) for name, to in (("a", "b"), ("b", "c"), ("c", "opener"))]
    async with (
        open_audited(*chain, listener("opener", Note, opens)) as organism,
        organism.open_conversation() as block,
    ):
        await organism.wait(await block.send(Note("open"), to="a"))
        assert [thread.listener for thread in organism.threads] == ["outside", "a", "b", "c", "opener"]
        await organism.wait(await block.send(Note("close"), to="opener"))
        assert [thread.listener for thread in organism.threads] == ["outside", "a", "opener"]
        assert unfit(organism) == []


async def test_lasting_threads_keep_them_over_turns_and_the_block_ends_them() -> None:
    told = Told()
    answers = [HandlerResponse.respond(Reply("x"))] * 3
    async with open_audited(waiter(told, *answers, wait_for="Ping"), ECHO) as organism:
        async with organism.open_conversation() as block:
            await block.ask(Note("x"), to="waiter")
            await block.ask(Note("x"), to="waiter")
            await block.ask(Ping("x"), to="echo")
            assert len(organism.todos) == 1
            await block.ask(Note("x"), to="waiter")
            assert len(organism.todos) == 1
        assert_nothing_is_remembered(organism)
    assert told.nudged == [False, False, True]


async def test_a_conversation_of_one_turn_ends_them() -> None:
    told = Told()
    async with open_audited(waiter(told)) as organism:
        await outcome_of(organism, Note("x"), "waiter")
        assert_nothing_is_remembered(organism)


@pytest.mark.parametrize("how", ["raise", "cancel", "kill"])
async def test_a_block_that_is_left_in_another_way_ends_them(how: str) -> None:
    told = Told()
    async with open_audited(waiter(told)) as organism:
        with trio.CancelScope() as scope:
            try:
                async with organism.open_conversation() as block:
                    await organism.wait(await block.send(Note("x"), to="waiter"))
                    assert len(organism.todos) == 1
                    if how == "raise":
                        raise KeyError
                    if how == "kill":
                        await organism.kill(block.id)
                    else:
                        scope.cancel()
                        await trio.lowlevel.checkpoint()
            except KeyError:
                pass
        assert_nothing_is_remembered(organism)


async def test_a_spent_budget_ends_them_whatever_is_in_flight() -> None:
    for budgets in (Budgets(messages=2), Budgets(depth=1), Budgets(hops=1)):
        told = Told()
        async with open_audited(waiter(told, ask_back()), BACK, budgets=budgets) as organism:
            outcome = await outcome_of(organism, Note("x"), "waiter")
            if outcome.state is not ConversationState.OUT_OF_BUDGET:
                assert budgets.messages == 2
            assert_nothing_is_remembered(organism)


async def test_views_of_todos_are_safe_to_hold() -> None:
    told = Told()
    async with open_audited(waiter(told)) as organism:
        async with organism.open_conversation() as block:
            await organism.wait(await block.send(Note("x"), to="waiter"))
            held = organism.todos
            with pytest.raises(AttributeError):
                held[0].description = "mine"  # type: ignore[misc]
            assert organism.statistics()["memory"]["todos"] == 1
        assert len(held) == 1
        assert held[0].description == "go on"
        assert organism.todos == ()


async def test_many_todos_in_a_conversation_are_kept_apart() -> None:
    """Each waits for its own, each is raised and closed once, and none is left."""
    many = 50
    closed: list[str] = []

    async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
        todos = get_todo_registry()
        if isinstance(payload, Note):
            for number in range(many):
                todos.register(None, None, "Reply", f"back{number}", str(number))
            return [HandlerResponse(Ask(str(number)), to=f"back{number}") for number in range(many)]
        closed.extend(each.description for each in todos.get_raised_for() if todos.close(each.id))
        return None

    backs = [listener(f"back{number}", Ask, BACK.handler) for number in range(many)]
    limits = MemoryLimits(max_todos=many)
    async with open_audited(listener("own", [Note, Reply], handler), *backs, memory=limits) as organism:
        await outcome_of(organism, Note("x"), "own")
        assert_nothing_is_remembered(organism)
    assert sorted(closed, key=int) == [str(number) for number in range(many)]


async def test_what_nobody_handles_any_more_still_ends() -> None:
    """A todo keeps a thread, never a conversation."""
    told = Told()
    organisms: list[Organism] = []
    async with open_audited(waiter(told), listener("sink", Ask, drop)) as organism:
        organisms.append(organism)
        receipts = [await organism.send(Note("x"), to="waiter") for _ in range(20)]
        await organism.wait_idle()
        for receipt in receipts:
            assert (await organism.wait(receipt)).state is ConversationState.COMPLETED
        assert_nothing_is_remembered(organism)
