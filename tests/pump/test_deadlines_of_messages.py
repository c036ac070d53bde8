"""``deadline``: at that very second a message has been handled, or it has failed; wherever it is by then."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio
import trio.testing

from phloem.errors import ConversationFailed, MessageRejected
from phloem.messages import Cause, ConversationState, HandlerMetadata, HandlerResponse, SystemError
from phloem.pump.pipeline import Pipeline
from phloem.pump.ready_made import deadline, limit, pace, tap
from support.listeners import BACK, HANG, ONE, Ask, Note, Reply, drop, hang, listener
from support.pipelines import ASK, DEFAULT, Told, open_piped, quick

Clock = trio.testing.MockClock
NEVER: Final = "the deadline of its message passed before one was reached"


async def failed(organism: Any, to: str) -> tuple[float, Cause, str]:
    """Ask it: after how many seconds that failed, its cause, and the reason of its one dead letter."""
    begun = trio.current_time()
    with pytest.raises(ConversationFailed) as error:
        await organism.ask(Ask("x"), to=to)
    outcome = error.value.outcome
    assert outcome.state is ConversationState.FAILED
    (letter,) = outcome.dead_letters
    assert outcome.cause is not None
    return round(trio.current_time() - begun, 6), outcome.cause, letter.reason


@pytest.mark.parametrize(
    "pipeline",
    [
        DEFAULT.before("admit", deadline(2)),
        DEFAULT.after("admit", deadline(2)),
        DEFAULT.before("parse", deadline(2)),
        DEFAULT.before("thread", deadline(2)),
        DEFAULT.before("route", deadline(2)),
        DEFAULT.after("route", deadline(2)),
        DEFAULT.before("decode", deadline(2)),
        DEFAULT.after("decode", deadline(2)),
        DEFAULT.before("dispatch", deadline(2)),
        DEFAULT.before("dispatch", deadline(3)).before("route", deadline(2)).before("admit", deadline(9)),
    ],
    ids=lambda pipeline: "; ".join(f"{each.name} {each.place}" for each in pipeline.placed),
)
async def test_what_runs_is_cut_and_what_waits_ends_at_that_very_second(
    pipeline: Pipeline, autojump_clock: Clock
) -> None:
    async def stubborn(payload: Any, metadata: HandlerMetadata) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)

    async with open_piped(pipeline, HANG, listener("one", Ask, stubborn, max_concurrent=1)) as organism:
        after, cause, reason = await failed(organism, "hang")
        assert (after, cause.text, reason) == (2.0, "hang overran the deadline of its message", "deadline")
        await organism.send(Ask("first"), to="one")
        await trio.sleep(0.5)
        after, cause, reason = await failed(organism, "one")  # in the queue behind the first
        assert (after, cause.text, reason) == (2.0, NEVER, "deadline")
        await organism.wait_idle()
        assert organism.report.failed == 2
        assert organism._pump.slots.borrowed() == 0


@pytest.mark.parametrize("xml", [True, False])
async def test_who_gets_no_seat_in_time_is_refused_and_nothing_was_accepted(
    xml: bool, autojump_clock: Clock
) -> None:
    async with open_piped(DEFAULT.before("admit", deadline(2)), BACK, max_in_flight=1) as organism:
        async with organism.open_conversation():
            accepted, begun = organism.report.accepted, trio.current_time()
            with pytest.raises(MessageRejected) as rejected:
                await (organism.inject(ASK) if xml else organism.send(Ask("x")))
            assert trio.current_time() - begun == 2.0
            huh = rejected.value.huh
            assert (huh.code, huh.found) == ("deadline", "no way in before its deadline")
            assert huh.original == (ASK if xml else "")
            assert organism.report.accepted == accepted
        assert organism.statistics()["seats"] == {"free": 1, "waiting": 0}
        assert await organism.ask(Ask("x")) == Reply("x")


async def test_a_deadline_at_admit_counts_what_waits_behind_it(autojump_clock: Clock) -> None:
    pipeline = DEFAULT.before("admit", deadline(2)).before("parse", pace(5))
    async with open_piped(pipeline, BACK) as organism:
        await organism.inject(ASK)
        begun = trio.current_time()
        with pytest.raises(MessageRejected) as rejected:
            await organism.inject(ASK)
        assert (rejected.value.huh.code, trio.current_time() - begun) == ("deadline", 2.0)
        assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight


async def test_a_deadline_is_for_all_attempts_and_the_pauses_between(autojump_clock: Clock) -> None:
    attempts: list[float] = []

    async def fall(payload: Any, metadata: HandlerMetadata) -> None:
        attempts.append(trio.current_time())
        await trio.sleep(1)
        raise ValueError("x")

    back_off: Any = {"retries": 9, "retry_base_delay": 2.0, "retry_max_delay": 2.0}
    told = Told()
    bad = listener("bad", Ask, fall, **back_off)
    async with open_piped(DEFAULT.before("dispatch", deadline(4)), bad, observer=told) as organism:
        after, cause, reason = await failed(organism, "bad")
    assert 3.0 < after <= 4.0  # as soon as it is known that there is no time for another pause
    assert len(attempts) == 2
    assert told.retries == 1
    assert (cause.exception, reason) == ("ValueError", "handler")


async def test_a_retry_is_cut_where_the_first_attempt_would_have_been(autojump_clock: Clock) -> None:
    async def second_hangs(payload: Any, metadata: HandlerMetadata) -> None:
        if metadata.attempt == 1:
            raise ValueError("x")
        await trio.sleep_forever()

    back_off: Any = {"retries": 9, "retry_base_delay": 1.0, "retry_max_delay": 1.0}
    async with open_piped(
        DEFAULT.before("dispatch", deadline(4)), listener("bad", Ask, second_hangs, **back_off)
    ) as organism:
        after, cause, reason = await failed(organism, "bad")
    assert (after, cause.text, reason) == (4.0, "bad overran the deadline of its message", "deadline")


async def test_a_retry_that_waits_for_its_listener_ends_at_the_deadline(autojump_clock: Clock) -> None:
    async def first_falls(payload: Any, metadata: HandlerMetadata) -> None:
        if payload.text == "x":
            raise ValueError("x")
        await trio.sleep(20)

    back_off: Any = {"retries": 9, "retry_base_delay": 1.0, "retry_max_delay": 1.0}
    one = listener("one", Ask, first_falls, max_concurrent=1, **back_off)
    pipeline = DEFAULT.before("route", deadline(4))
    async with open_piped(pipeline, one) as organism, trio.open_nursery() as nursery:

        async def long() -> None:
            await trio.sleep(0.1)  # the first one is in its back-off
            await organism.send(Ask("long"), to="one")

        nursery.start_soon(long)
        assert await failed(organism, "one") == (4.0, Cause("deadline", NEVER, "one", None), "deadline")


async def test_the_shorter_of_deadline_and_handler_timeout_holds(autojump_clock: Clock) -> None:
    quick_to_end = listener("hang", Ask, hang, handler_timeout=1)
    async with open_piped(DEFAULT.before("dispatch", deadline(2)), quick_to_end) as organism:
        after, cause, reason = await failed(organism, "hang")
    assert (after, cause.text, reason) == (1.0, "hang overran its deadline of 1 s", "deadline")


async def test_what_a_handler_sends_has_a_deadline_of_its_own(autojump_clock: Clock) -> None:
    log: list[tuple[str, float]] = []

    async def slow_relay(payload: Any, metadata: HandlerMetadata) -> Any:
        await trio.sleep(1.5)
        return HandlerResponse(Note(payload.text), to="bench")

    async def bench(payload: Any, metadata: HandlerMetadata) -> None:
        log.append((payload.text, trio.current_time()))
        await trio.sleep(1.5)
        log.append(("done", trio.current_time()))

    listeners = listener("relay", Ask, slow_relay), listener("bench", Note, bench)
    async with open_piped(DEFAULT.before("dispatch", deadline(2)), *listeners) as organism:
        begun = trio.current_time()
        await organism.send(Ask("x"), to="relay")
        await organism.wait_idle()
        assert [(text, at - begun) for text, at in log] == [("x", 1.5), ("done", 3.0)]
        assert organism.report.failed == 0


async def test_a_callers_message_that_fails_at_its_deadline_is_told_to_the_caller(
    autojump_clock: Clock,
) -> None:
    told: list[Any] = []

    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return HandlerResponse(Note("x"), to="hang")
        told.append((payload, trio.current_time()))
        return HandlerResponse.respond(Reply("gave up"))

    def is_note(message: Any) -> Any:
        return None

    listeners = listener("front", [Ask, SystemError], front), listener("hang", Note, hang)
    pipeline = DEFAULT.before("dispatch", tap(is_note)).before("dispatch", deadline(3))
    async with open_piped(pipeline, *listeners) as organism:
        begun = trio.current_time()
        assert await organism.ask(Ask("x"), to="front") == Reply("gave up")
    ((notice, at),) = told
    assert (notice.code, at - begun) == ("handler", 3.0)


async def test_an_answer_that_cannot_be_taken_in_time_fails_as_its_callers_call(
    autojump_clock: Clock,
) -> None:
    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return [HandlerResponse(Note("1"), to="bench"), HandlerResponse(Note("2"), to="bench")]
        await trio.sleep(10)  # the second answer waits behind the first
        return None

    async def bench(payload: Any, metadata: HandlerMetadata) -> Any:
        return HandlerResponse.respond(Reply(payload.text))

    listeners = listener("front", [Ask, Reply], front), listener("bench", Note, bench)
    async with open_piped(DEFAULT.before("dispatch", deadline(3)), *listeners) as organism:
        after, cause, _ = await failed_all(organism)
        assert (after, cause.reason) == (3.0, "deadline")


async def failed_all(organism: Any) -> tuple[float, Any, Any]:
    begun = trio.current_time()
    with pytest.raises(ConversationFailed) as error:
        await organism.ask(Ask("x"), to="front")
    outcome = error.value.outcome
    return round(trio.current_time() - begun, 6), outcome.cause, outcome.dead_letters


async def test_a_deadline_and_a_gate_together_end_it_in_the_queue(autojump_clock: Clock) -> None:
    log: list[tuple[str, float]] = []
    pipeline = (
        DEFAULT.before("dispatch", deadline(2)).before("dispatch", pace(5)).before("dispatch", limit(1))
    )
    async with open_piped(pipeline, quick(log)) as organism:
        await organism.ask(Ask("first"))
        after, cause, reason = await failed(organism, "back")
        assert (after, reason) == (2.0, "deadline")
        assert cause.text == "the deadline of its message passed before back was reached"
        await trio.sleep(3)
        assert await organism.ask(Ask("third")) == Reply("third")  # it left no gap
        assert [text for text, _ in log] == ["first", "third"]


async def test_a_deadline_that_is_met_leaves_no_task_behind(autojump_clock: Clock) -> None:
    async with open_piped(DEFAULT.before("dispatch", deadline(3600)), BACK, ONE) as organism:
        await organism.ask(Ask("x"), to="back")
        before = trio.lowlevel.current_statistics().tasks_living
        for _ in range(100):
            await organism.ask(Ask("x"), to="back")
        receipts = [await organism.send(Ask("x"), to="one") for _ in range(20)]  # all but one wait
        for receipt in receipts:
            await organism.kill(receipt.conversation)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living <= before + 1


async def test_the_very_second_of_its_deadline_is_too_late_and_one_before_is_not(
    autojump_clock: Clock,
) -> None:
    async def take(payload: Any, metadata: HandlerMetadata) -> Any:
        await trio.sleep(float(payload.text))
        return HandlerResponse.respond(Reply("in time"))

    async with open_piped(DEFAULT.before("dispatch", deadline(2)), listener("take", Ask, take)) as organism:
        assert await organism.ask(Ask("1.999"), to="take") == Reply("in time")
        with pytest.raises(ConversationFailed):
            await organism.ask(Ask("2.001"), to="take")


async def test_a_shutdown_that_drains_ends_what_waits_at_its_deadline(autojump_clock: Clock) -> None:
    async with open_piped(
        DEFAULT.before("dispatch", deadline(5)), ONE, listener("x", Note, drop)
    ) as organism:
        await organism.send(Ask("first"), to="one")
        await organism.send(Ask("second"), to="one")
        begun = trio.current_time()
        report = await organism.shutdown(grace=60)
        assert trio.current_time() - begun == 5.0
    assert (report.failed, report.abandoned, report.in_flight) == (2, 0, 0)
