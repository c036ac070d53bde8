"""What an organism tells on its bus: of each happening one event, in its place, with its cause."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest
import trio
import trio.testing

from phloem.config import EventLimits, ListenerConfig, OrganismConfig
from phloem.errors import EventBusClosed, MessageRejected
from phloem.events import AgentEvent, EventBus, EventType
from phloem.messages import BOOT, HandlerMetadata, HandlerResponse
from phloem.organism import Organism, open_organism
from phloem.pump import Observer
from phloem.pump.ports import SeededIds
from phloem.pump.telling import PumpEvent
from support.auditing import assert_all_was_told
from support.flows import step
from support.gates import settled
from support.listeners import BACK, HANG, ONE, SLOW, Ask, Note, fall, listener
from support.told import MOST, data, told
from support.wire import message


@asynccontextmanager
async def opened(*listeners: ListenerConfig, **settings: Any) -> AsyncIterator[Organism]:
    config = OrganismConfig("org", listeners, **settings)
    async with open_organism(config, ids=SeededIds(b"told")) as organism:
        yield organism


# -- a conversation -----------------------------------------------------------------------------
async def test_an_ask_is_an_execution_with_one_loop_in_it() -> None:
    async with opened(BACK) as organism:
        await organism.ask(Ask("a secret"), to="back", sender="console")
        started, loop, iteration, done, completed = told(organism)[-5:]
    assert [event.type for event in (started, loop, iteration, done, completed)] == [
        EventType.EXECUTION_STARTED,
        EventType.NODE_LOOP_STARTED,
        EventType.NODE_LOOP_ITERATION,
        EventType.NODE_LOOP_COMPLETED,
        EventType.EXECUTION_COMPLETED,
    ]
    execution = started.execution_id
    assert {event.execution_id for event in (loop, iteration, done, completed)} == {execution}
    assert (started.node_id, loop.node_id, completed.node_id) == (None, "back", None)
    assert {event.stream_id for event in (started, loop, completed)} == {"org"}
    assert loop.correlation_id == iteration.correlation_id == done.correlation_id
    assert (started.correlation_id, completed.correlation_id) == (None, None)
    assert dict(started.data) == {"input": None, "sender": "console", "lasting": False}
    assert dict(completed.data) == {"output": ("Reply",), "answers": 1, "state": "completed"}
    assert dict(done.data) == {"iterations": 1, "ending": "handled", "reason": None}
    assert "secret" not in repr(organism.events.get_history(limit=MOST))


async def test_boot_is_an_execution_like_any_other() -> None:
    async with opened(BACK) as organism:
        events = organism.events.get_history(limit=MOST)[::-1]
    kinds = [event.type for event in events[:3]]
    assert kinds == ["stream_started", "state_changed", "execution_started"]
    assert events[2].data["sender"] == "system"
    assert [event.node_id for event in events[3:6]] == [BOOT] * 3


async def test_the_cause_of_a_message_is_the_message_that_led_to_it() -> None:
    async with opened(step("front", "back"), BACK) as organism:
        await organism.ask(Ask("x"), to="front")
        first, second, answer = told(organism, "node_loop_started")
    assert [event.node_id for event in (first, second, answer)] == ["front", "back", "front"]
    assert (first.cause_id, second.cause_id, answer.cause_id) == (
        None,
        first.correlation_id,
        second.correlation_id,
    )
    assert data([first, second], "from") == [("outside",), ("front",)]


async def test_the_turns_of_a_block_are_one_execution() -> None:
    async with opened(BACK) as organism:
        async with organism.open_conversation("console") as conversation:
            for text in "abc":
                await conversation.ask(Ask(text), to="back")
            assert told(organism, "execution_completed") == []
        (started,) = told(organism, "execution_started")
        (completed,) = told(organism, "execution_completed", "execution_failed")
    assert (started.execution_id, started.data["lasting"]) == (conversation.id, True)
    assert (completed.execution_id, completed.data["state"]) == (conversation.id, "completed")


async def test_ids_begin_with_the_organisms_own_and_times_are_its_clocks() -> None:
    class Clock:
        def monotonic(self) -> float:
            return 0.0

        def wall(self) -> float:
            return 86_400.0

    ids = SeededIds(b"told")
    async with open_organism(OrganismConfig("org", [BACK]), clock=Clock(), ids=ids) as organism:
        event = organism.events.latest("state_changed")
    assert organism.events.id == ids.conversation(0)
    assert event is not None
    assert event.id == f"{ids.conversation(0)}-{event.seq}"
    assert event.timestamp == datetime(1970, 1, 2, tzinfo=UTC)


# -- what goes wrong ----------------------------------------------------------------------------
async def test_a_handler_that_fails_is_told_by_attempt_by_letter_and_by_cause(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with opened(listener("fall", Ask, fall, retries=2)) as organism:
        receipt = await organism.send(Ask("x"), to="fall")
        await organism.wait(receipt)
        kinds = [event.type for event in told(organism, execution_id=receipt.conversation)]
        retries = told(organism, PumpEvent.RETRY_SCHEDULED)
        (letter,) = told(organism, PumpEvent.DEAD_LETTER)
        (done,) = told(organism, "node_loop_completed")
        (failed,) = told(organism, "execution_failed")
    attempt = ["node_loop_iteration", "retry_scheduled"]
    assert kinds == [
        *["execution_started", "node_loop_started", *attempt, *attempt, "node_loop_iteration"],
        *["dead_letter", "node_loop_completed", "execution_failed"],
    ]
    assert data(retries, "attempt", "reason") == [(1, "handler"), (2, "handler")]
    assert data([letter], "from", "to", "reason") == [("outside", "fall", "handler")]
    assert (letter.correlation_id, letter.cause_id) == (done.correlation_id, done.cause_id)
    assert letter.data["error"] == failed.data["error"] == "fall raised ValueError: x"
    assert (done.data["iterations"], done.data["ending"], done.data["reason"]) == (3, "failed", "handler")
    assert data([failed], "state", "reason", "listener", "exception") == [
        ("failed", "handler", "fall", "ValueError")
    ]


async def test_a_stranger_who_is_wrong_is_rejected_in_a_conversation_of_its_own() -> None:
    async with opened(BACK) as organism:
        with pytest.raises(MessageRejected):
            await organism.inject("<Ask><Txt>x</Txt></Ask>")
        started, rejected, failed = told(organism)[-3:]
    assert (started.type, failed.type) == ("execution_started", "execution_failed")
    assert (rejected.type, rejected.execution_id) == (PumpEvent.MESSAGE_REJECTED, started.execution_id)
    assert data([rejected], "sender", "path", "attempts_left") == [("outside", "/Ask/Txt", 2)]
    assert (failed.data["state"], failed.data["reason"]) == ("rejected", "rejected")


async def test_an_agent_that_addresses_no_peer_of_its_own_has_broken_a_constraint() -> None:
    async def reach(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(Ask("x"), to="back")

    agent = listener("agent", Ask, reach, is_agent=True, peers=[])
    async with opened(agent, BACK) as organism:
        await organism.wait(await organism.send(Ask("x"), to="agent"))
        (broken,) = told(organism, "constraint_violation")
        (loop,) = told(organism, "node_loop_started")
        letters = told(organism, PumpEvent.DEAD_LETTER)
    description = "'back' is not among its peers"
    assert dict(broken.data) == {"constraint_id": "peers", "description": description}
    assert (broken.node_id, broken.cause_id) == ("agent", loop.correlation_id)
    assert data(letters, "from", "to", "reason") == [
        ("agent", "back", "routing"),
        ("system", "agent", "unheard"),
    ]
    assert [letter.node_id for letter in letters] == ["agent", "agent"]
    assert {letter.cause_id for letter in letters} == {loop.correlation_id}


async def test_what_was_mended_and_claimed_is_told_before_the_conversation_begins() -> None:
    document = message("<Ask xmlns=''><Text>x & y</Text></Ask>", meta="<from>boss</from><to>back</to>")
    async with opened(BACK) as organism:
        await organism.wait(await organism.inject(document, sender="console"))
        mended, claim, started = told(organism)[-7:-4]
    assert mended.type == PumpEvent.MESSAGE_MENDED
    assert (mended.data["sender"], mended.data["count"]) == ("console", 1)
    assert mended.data["mends"][0].startswith("ampersand at ")
    assert (claim.type, claim.data["constraint_id"]) == ("constraint_violation", "sender")
    assert "'boss'" in claim.data["description"]
    assert (mended.execution_id, claim.execution_id) == (None, None)
    assert started.type == "execution_started"


async def test_what_is_mended_of_a_handlers_bytes_is_its_nodes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def write(payload: Ask, metadata: HandlerMetadata) -> bytes:
        return b"```xml\n<Note><Text>x & y</Text></Note>\n```"

    async def read(payload: Note, metadata: HandlerMetadata) -> None: ...

    async with opened(listener("write", Ask, write), listener("read", Note, read)) as organism:
        await organism.wait(await organism.send(Ask("x"), to="write"))
        (mended,) = told(organism, PumpEvent.MESSAGE_MENDED)
        (loop, _) = told(organism, "node_loop_started")
    assert (mended.node_id, mended.execution_id) == ("write", loop.execution_id)
    assert mended.cause_id == loop.correlation_id
    assert mended.data["count"] == 2


async def test_what_a_kill_cuts_in_the_queue_was_never_in_a_loop() -> None:
    async with opened(ONE) as organism:
        first = await organism.send(Ask("x"), to="one")
        second = await organism.send(Ask("x"), to="one")
        await settled()
        await organism.kill(second.conversation)
        await organism.kill(first.conversation)
        (cut,) = told(organism, PumpEvent.MESSAGE_ABANDONED)
        (done,) = told(organism, "node_loop_completed")
        failed = told(organism, "execution_failed")
    assert (cut.node_id, cut.execution_id) == ("one", second.conversation)
    assert data([cut], "payload", "from", "reason") == [("Ask", "outside", "killed")]
    assert (done.execution_id, done.data["ending"], done.data["reason"]) == (
        first.conversation,
        "abandoned",
        "killed",
    )
    assert data(failed, "state") == [("cancelled",), ("cancelled",)]


# -- stalling ------------------------------------------------------------------------------------
async def test_a_handler_that_holds_on_past_its_deadline_has_stalled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def stubborn(payload: Ask, metadata: HandlerMetadata) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(30)

    async with opened(listener("stubborn", Ask, stubborn, handler_timeout=2.0)) as organism:
        await organism.wait(await organism.send(Ask("x"), to="stubborn"))
        await organism.send(Ask("x"), to="stubborn")
        await settled()
        await organism.shutdown(0)
    stalls = told(organism, "node_stalled")
    first, *between, last = data(stalls, "reason")
    assert (first, set(between), last) == (("overslept",), {("held_up",)}, ("overslept",))
    assert len(between) in (5, 6), "every five seconds, of which the last is that in which it leaves"
    assert {stall.node_id for stall in stalls} == {"stubborn"}
    assert (stalls[0].data["seconds"], stalls[0].data["limit"]) == (30.0, 2.0)


# -- the organism -------------------------------------------------------------------------------
async def test_phases_and_the_books_are_told_to_whoever_watches_until_the_very_end() -> None:
    seen: list[AgentEvent] = []
    async with opened(BACK, SLOW) as organism:

        async def note(event: AgentEvent) -> None:
            await trio.lowlevel.checkpoint()
            seen.append(event)

        organism.events.subscribe(["state_changed", "stream_stopped", "execution_failed"], note)
        await organism.ask(Ask("x"), to="back")
        await organism.send(Ask("x"), to="slow")
        await organism.shutdown(0)
    phases = [event.data["new_value"] for event in seen if event.type == "state_changed"]
    assert phases == ["draining", "stopping", "closed"]
    assert [event.data["state"] for event in seen if event.type == "execution_failed"] == ["drained"]
    assert seen[-1].type == "stream_stopped"
    assert dict(seen[-1].data) == {
        "accepted": 3,
        "handled": 2,
        "rejected": 0,
        "undeliverable": 0,
        "failed": 0,
        "abandoned": 1,
    }


async def test_history_and_statistics_can_be_read_when_the_block_is_left() -> None:
    async with opened(BACK) as organism:
        await organism.ask(Ask("x"), to="back")
    assert organism.events.get_history("stream_stopped")
    assert organism.events.get_stats()["events_by_type"]["execution_completed"] == 2
    with pytest.raises(EventBusClosed):
        organism.events.subscribe(None, print)


class Own(Exception):
    """An error of the body."""


async def hangs(event: AgentEvent) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize("watched", [True, False])
async def test_an_error_of_the_body_arrives_as_it_was_raised(watched: bool) -> None:
    bus: EventBus | None = None
    with pytest.raises(Own) as caught:  # noqa: PT012 - the block is what raises
        async with opened(HANG) as organism:
            bus = organism.events
            if watched:
                organism.events.subscribe(None, hangs)
            await organism.send(Ask("x"), to="hang")
            await settled()
            raise Own
    assert type(caught.value) is Own
    assert bus is not None
    assert bus.get_stats()["events_by_type"]["stream_stopped"] == 1


async def test_a_body_that_is_cancelled_is_cancelled_and_all_is_told() -> None:
    organism: Organism | None = None
    with trio.CancelScope() as scope:
        async with opened(HANG) as organism:
            organism.events.subscribe(None, hangs)
            await organism.send(Ask("x"), to="hang")
            await settled()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert organism is not None
    assert told(organism, "execution_failed")[0].data["state"] == "drained"
    assert told(organism, "stream_stopped")


async def test_the_limits_of_the_configuration_are_those_of_the_bus(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(BACK, events=EventLimits(max_history=0)) as organism:
        await organism.ask(Ask("x"), to="back")
        assert organism.events.get_history() == []
        assert organism.events.get_stats()["total_events"] > 5
    limits = EventLimits(
        max_history=9, max_history_bytes=3_000, max_concurrent_handlers=1, buffer=2, slow_after=7.0
    )
    async with opened(BACK, events=limits) as organism:
        for _ in range(2):
            organism.events.subscribe("custom", hangs, name="hangs")
        await organism.ask(Ask("x"), to="back")
        for _ in range(4):
            organism.events.emit(AgentEvent("custom", "org"))
        await trio.sleep(6)
        stats = organism.events.get_stats()
        assert (stats["handlers_running"], caplog.messages) == (1, [])
        assert 3 < stats["history"]["events"] < 9
        assert stats["history"]["bytes"] <= 3_000
        lagged = [own["lagged"] for own in stats["subscription_stats"].values()]
        assert sorted(lagged) == [2, 2]
        await trio.sleep(2)
        assert "hangs" in "".join(caplog.messages)
    async with opened(BACK, events=EventLimits(max_history=9)) as organism:
        await organism.ask(Ask("x"), to="back")
        await organism.ask(Ask("x"), to="back")
        assert organism.events.get_stats()["history"]["events"] == 9


class Raises:
    """A user's observer with a bug, at one happening of the listener ``back``."""

    def __init__(self, happening: str) -> None:
        self._happening = happening

    def __getattr__(self, name: str) -> Any:
        def hear(subject: Any, *_: Any, **__: Any) -> None:
            if name == self._happening and subject.listener.key == "back":
                raise ZeroDivisionError

        return hear


@pytest.mark.parametrize("happening", ["dispatched", "ended"])
async def test_what_an_observer_raises_at_has_been_told_and_so_is_all_that_follows(happening: str) -> None:
    organism: Organism | None = None
    observer = cast("Observer", Raises(happening))
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with open_organism(OrganismConfig("org", [BACK]), observer=observer) as organism:
            await organism.ask(Ask("x"), to="back")
    assert organism is not None
    assert_all_was_told(organism)
    assert len(told(organism, "node_loop_started", node_id="back")) == 1


async def test_two_organisms_share_no_bus() -> None:
    async with opened(BACK) as one, open_organism(OrganismConfig("other", [BACK])) as other:
        before = other.events.get_stats()["total_events"]
        await one.ask(Ask("x"), to="back")
        assert other.events.get_stats()["total_events"] == before
        assert {event.stream_id for event in other.events.get_history()} == {"other"}
