"""What a handler has of the bus: its own conversation's events, for as long as that lives."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import pytest
import trio
import trio.testing

from phloem import get_context_buffer, get_event_bus, get_todo_registry
from phloem.config import Budgets, OrganismConfig
from phloem.errors import AccessRefused, ConversationFailed, EventBusClosed, NoDispatch
from phloem.events import AgentEvent, ScopedBus
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.organism import Organism, open_organism
from phloem.pump.listening import SWEEP_AT
from support.auditing import running
from support.gates import settled
from support.listeners import BACK, Ask, Handle, Reply, listener


def keeps(kept: dict[str, Any], then: Handle | None = None) -> Handle:
    """A handler that leaves its bus and its metadata to the test; then it does ``then``, or responds."""

    async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
        kept.setdefault("buses", []).append(get_event_bus())
        kept.setdefault("metadata", []).append(metadata)
        return HandlerResponse.respond(Reply("x")) if then is None else await then(payload, metadata)

    return handler


def noting(seen: list[AgentEvent]) -> Any:
    async def note(event: AgentEvent) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(event)

    return note


def subscribes(seen: list[AgentEvent], **manner: Any) -> Handle:
    async def handler(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        get_event_bus().subscribe(None, noting(seen), **manner)
        return HandlerResponse.respond(Reply(payload.text))

    return handler


def live(organism: Organism) -> int:
    return len(organism.events.subscriptions)


# -- who may have it ------------------------------------------------------------------------------
async def test_outside_of_a_handler_there_is_none() -> None:
    async with running(BACK):
        with pytest.raises(NoDispatch):
            get_event_bus()


async def test_in_another_thread_there_is_none() -> None:
    refused: list[Any] = []

    async def threaded(payload: Ask, metadata: HandlerMetadata) -> None:
        with pytest.raises(NoDispatch) as caught:
            await trio.to_thread.run_sync(get_event_bus)
        refused.append(caught.value)

    async with running(listener("threaded", Ask, threaded)) as organism:
        await organism.wait(await organism.send(Ask("x"), to="threaded"))
    assert len(refused) == 1


async def test_a_handler_called_by_a_handler_of_another_organism_has_its_own_organisms_bus() -> None:
    kept: dict[str, Any] = {}
    async with open_organism(OrganismConfig("inner", [listener("in", Ask, keeps(kept))])) as inner:

        async def calls(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse.respond(await inner.ask(payload, to="in"))

        outer = listener("out", Ask, keeps(kept, calls))
        async with open_organism(OrganismConfig("outer", [outer])) as organism:
            await organism.ask(Ask("x"), to="out")
    assert [bus.stream_id for bus in kept["buses"]] == ["outer", "inner"]


# -- what is published through it -----------------------------------------------------------------
async def test_what_a_handler_tells_carries_its_place_and_the_message_it_handles() -> None:
    kept: dict[str, Any] = {}

    async def tells(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        bus = get_event_bus()
        await bus.emit_goal_progress(0.5, {"found": True})
        bus.emit(AgentEvent("custom", bus.stream_id, data={"n": 1}))
        await bus.publish(AgentEvent("custom", bus.stream_id, data={"n": 2}, correlation_id="mine"))
        return HandlerResponse.respond(Reply("x"))

    async with running(
        listener("teller", Ask, keeps(kept, tells), broadcast=True),
        listener("teller", Reply, tells, broadcast=True),
    ) as organism:
        await organism.ask(Ask("x"), to="teller")
        await organism.ask(Reply("x"), to="teller")
        progress, *_ = organism.events.get_history("goal_progress")[::-1]
        first, second, third, _ = organism.events.get_history("custom")[::-1]
    (metadata,) = kept["metadata"]
    assert (progress.node_id, progress.data["progress"]) == ("teller", 0.5)
    assert (first.stream_id, first.node_id, first.execution_id) == (
        "front door",
        "teller",
        metadata.conversation,
    )
    assert first.correlation_id == first.cause_id == metadata.message_id
    assert (second.correlation_id, second.cause_id) == ("mine", metadata.message_id)
    assert third.node_id == "teller#2"


async def test_nobody_speaks_in_anothers_name_or_conversation() -> None:
    async def lies(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        bus = get_event_bus()
        for event in (
            AgentEvent("custom", "another organism"),
            AgentEvent("custom", bus.stream_id, "back"),
            AgentEvent("custom", bus.stream_id, execution_id="another"),
        ):
            with pytest.raises(AccessRefused):
                bus.emit(event)
        return HandlerResponse.respond(Reply("x"))

    async with running(listener("lies", Ask, lies)) as organism:
        assert await organism.ask(Ask("x"), to="lies") == Reply("x")
        assert organism.events.get_history("custom") == []


async def test_who_was_left_behind_may_still_tell_but_no_longer_listen(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A task of the application that a handler gave its bus to."""
    give, take = trio.open_memory_channel[ScopedBus](9)

    async def gives(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        give.send_nowait(get_event_bus())
        return HandlerResponse.respond(Reply(metadata.message_id))

    async with running(listener("gives", Ask, gives)) as organism:
        answer = await organism.ask(Ask("x"), to="gives")
        bus = await take.receive()
        bus.emit(AgentEvent("custom", bus.stream_id))
        (late,) = organism.events.get_history("custom")
        assert (late.node_id, late.correlation_id) == ("gives", answer.text)
        with pytest.raises(NoDispatch):
            bus.subscribe(None, noting([]))
        with pytest.raises(NoDispatch):
            bus.scoped(node_id="gives").subscribe(None, noting([]))
        assert live(organism) == 0
    with pytest.raises(EventBusClosed):
        bus.emit(AgentEvent("custom", bus.stream_id))


async def test_the_bus_of_an_attempt_that_is_over_subscribes_nobody_in_the_next_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    kept: dict[str, Any] = {}

    async def again(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        first = kept["buses"][0]
        if metadata.attempt == 1:
            raise ValueError("once more")
        with pytest.raises(NoDispatch):
            first.subscribe(None, noting([]))
        return HandlerResponse.respond(Reply("x"))

    async with running(listener("again", Ask, keeps(kept, again), retries=1)) as organism:
        assert await organism.ask(Ask("x"), to="again") == Reply("x")


# -- what is read through it ----------------------------------------------------------------------
async def test_fifty_conversations_side_by_side_hear_nothing_of_each_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    heard: dict[str, list[AgentEvent]] = {}

    async def spy(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        bus, own = get_event_bus(), metadata.conversation
        bus.subscribe(None, noting(heard.setdefault(own, [])))
        bus.emit_node_internal_output(f"secret of {own}")
        await trio.sleep(1)
        for other in heard:
            if other != own:
                with pytest.raises(AccessRefused):
                    bus.subscribe(None, noting([]), filter_execution=other)
                with pytest.raises(AccessRefused):
                    bus.get_history(execution_id=other)
        assert {event.execution_id for event in bus.get_history(limit=10_000)} == {own}
        return HandlerResponse.respond(Reply("x"))

    async with running(listener("spy", Ask, spy)) as organism:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(lambda: organism.ask(Ask("x"), to="spy"))
        await settled()
        assert live(organism) == 0
    assert len(heard) == 50
    for own, events in heard.items():
        assert {event.execution_id for event in events} == {own}
        assert [event.data["content"] for event in events if "content" in event.data] == [f"secret of {own}"]


# -- how long a subscription lives ----------------------------------------------------------------
async def test_a_subscription_hears_of_the_end_of_its_conversation_and_of_nothing_after() -> None:
    seen: list[AgentEvent] = []
    async with running(listener("sub", Ask, subscribes(seen)), BACK) as organism:
        await organism.ask(Ask("x"), to="sub")
        await settled()
        assert [event.type for event in seen] == ["node_loop_completed", "execution_completed"]
        own = seen[0].execution_id
        organism.events.emit(AgentEvent("custom", seen[0].stream_id, execution_id=own))
        await organism.ask(Ask("x"), to="back")
        await settled()
        assert len(seen) == 2
        assert live(organism) == 0


async def test_in_a_block_it_outlives_its_turn_and_ends_with_the_block() -> None:
    seen: list[AgentEvent] = []
    async with running(listener("sub", Ask, subscribes(seen)), BACK) as organism:
        async with organism.open_conversation() as conversation:
            await conversation.ask(Ask("x"), to="sub")
            await conversation.ask(Ask("x"), to="back")
            assert live(organism) == 1
        await settled()
        assert live(organism) == 0
    assert [event.node_id for event in seen if event.type == "node_loop_started"] == ["back"]
    assert seen[-1].type == "execution_completed"


@pytest.mark.parametrize("cut", ["kill", "time", "budget", "error", "shutdown"])
async def test_whatever_ends_the_conversation_ends_it_and_is_heard(
    cut: str, autojump_clock: trio.testing.MockClock
) -> None:
    seen: list[AgentEvent] = []

    async def sub(payload: Ask, metadata: HandlerMetadata) -> Any:
        get_event_bus().subscribe(["execution_failed"], noting(seen))
        if cut == "error":
            raise ValueError("x")
        if cut == "budget":
            return [HandlerResponse(Ask("x"), to="back")] * 9
        return await trio.sleep_forever()

    budgets = {"time": Budgets(seconds=3.0), "budget": Budgets(messages=5)}.get(cut)
    async with running(listener("sub", Ask, sub), BACK) as organism:
        receipt = await organism.send(Ask("x"), to="sub", budgets=budgets)
        await settled()
        if cut == "kill":
            await organism.kill(receipt.conversation)
        if cut == "shutdown":
            await organism.shutdown(0)
        await organism.wait(receipt)
        await settled()
        assert live(organism) == 0
    (end,) = seen
    assert end.execution_id == receipt.conversation


async def test_a_watcher_that_hangs_holds_up_neither_its_conversation_nor_its_forgetting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def hangs(event: AgentEvent) -> None:
        await trio.sleep_forever()

    async def sub(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        get_event_bus().subscribe(None, hangs, cancel_after=5.0)
        return HandlerResponse.respond(Reply("x"))

    async with running(listener("sub", Ask, sub)) as organism:
        began = trio.current_time()
        for _ in range(5):
            assert await organism.ask(Ask("x"), to="sub") == Reply("x")
        assert (trio.current_time(), live(organism)) == (began, 5)
        await trio.sleep(20)
        assert live(organism) == 0


async def test_a_failed_attempts_subscription_stays_until_the_conversation_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen: list[AgentEvent] = []

    async def sub(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        get_event_bus().subscribe("execution_completed", noting(seen))
        if metadata.attempt == 1:
            raise ValueError("once more")
        return HandlerResponse.respond(Reply("x"))

    async with running(listener("sub", Ask, sub, retries=1)) as organism:
        await organism.ask(Ask("x"), to="sub")
        await settled()
        assert live(organism) == 0
    assert len(seen) == 2


async def test_a_handler_ends_what_it_subscribed_itself_and_nobody_elses() -> None:
    ids: list[str] = []

    async def sub(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        bus = get_event_bus()
        assert not any(bus.unsubscribe(id) for id in ids)
        ids.append(bus.subscribe(None, noting([])))
        gone = bus.subscribe(None, noting([]))
        assert (bus.unsubscribe(gone), bus.unsubscribe(gone)) == (True, False)
        return HandlerResponse.respond(Reply("x"))

    async with running(listener("sub", Ask, sub)) as organism, organism.open_conversation() as conversation:
        for expected in (1, 2):
            await conversation.ask(Ask("x"), to="sub")
            assert live(organism) == expected
        (own,) = organism._core.conversations.values()
        assert list(own.subscriptions or ()) == ids


async def test_a_long_block_keeps_no_list_of_what_has_ended_by_itself() -> None:
    async def sub(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        bus = get_event_bus()
        for _ in range(10):
            bus.subscribe("custom", noting([]), once=True)
        bus.emit(AgentEvent("custom", bus.stream_id))
        return HandlerResponse.respond(Reply("x"))

    async with running(listener("sub", Ask, sub)) as organism:
        async with organism.open_conversation() as conversation:
            for _ in range(100):
                await conversation.ask(Ask("x"), to="sub")
                await settled()
            (own,) = organism._core.conversations.values()
            assert own.subscriptions is not None
            assert len(own.subscriptions) <= SWEEP_AT
        assert live(organism) == 0


# -- where a watcher stands -----------------------------------------------------------------------
tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


async def test_a_watcher_stands_outside_of_the_dispatch_that_subscribed_it() -> None:
    found: list[Any] = []

    async def sub(payload: Ask, metadata: HandlerMetadata) -> Any:
        tenant.set("set by the handler")

        async def watcher(event: AgentEvent) -> None:
            for get in (get_event_bus, get_todo_registry, get_context_buffer):
                with pytest.raises(NoDispatch):
                    get()
            with pytest.raises(NoDispatch):
                bus.subscribe(None, noting([]))
            found.append(await organism.ask(Ask("from the watcher"), to="back"))
            found.append(tenant.get())

        bus = get_event_bus()
        bus.subscribe("custom", watcher)
        bus.emit(AgentEvent("custom", bus.stream_id))
        await settled()
        return HandlerResponse.respond(Reply("x"))

    async with running(listener("sub", Ask, sub), BACK) as organism:
        assert await organism.ask(Ask("x"), to="sub") == Reply("x")
        stats = organism.events.get_stats()
    assert found == [Reply("from the watcher"), "set by the handler"]
    assert stats["events_by_type"]["execution_completed"] == 3


async def test_a_watcher_may_kill_the_conversation_that_it_watches(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As one that holds a budget of its own would."""

    async def spends(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        bus = get_event_bus()

        async def judge(event: AgentEvent) -> None:
            if event.data["progress"] > 2:
                await organism.kill(metadata.conversation)

        if metadata.is_self_call:
            await trio.sleep(1)
        else:
            bus.subscribe("goal_progress", judge)
        bus.emit_goal_progress(int(payload.text), {})
        return HandlerResponse(Ask(str(int(payload.text) + 1)), to="spends")

    async with running(listener("spends", Ask, spends)) as organism:
        with pytest.raises(ConversationFailed) as failed:
            await organism.ask(Ask("0"), to="spends")
        assert failed.value.outcome.state is ConversationState.CANCELLED
        await settled()
        assert live(organism) == 0
