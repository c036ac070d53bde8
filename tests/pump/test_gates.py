"""``pace``, ``rate`` and ``limit`` before ``dispatch``: exact times, and nobody who waits holds anything."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets
from phloem.errors import ConversationFailed
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.pump.gates import Gates, Spacing
from phloem.pump.ready_made import limit, pace, rate, tap
from support.listeners import Ask, Note, Reply, answer, drop, listener
from support.pipelines import DEFAULT, counts, open_piped, quick, timed

Log = list[tuple[str, float]]
Clock = trio.testing.MockClock


def since(log: Log, begun: float) -> list[float]:
    return [round(at - begun, 6) for _, at in log]


async def send_all(organism: Any, count: int, to: str = "back") -> list[Any]:
    return [await organism.send(Ask(str(number)), to=to) for number in range(count)]


async def test_four_messages_paced_by_a_tenth_are_a_tenth_apart(autojump_clock: Clock) -> None:
    log: Log = []
    async with open_piped(DEFAULT.before("dispatch", pace(0.1)), quick(log)) as organism:
        begun = trio.current_time()
        await send_all(organism, 4)
        await organism.wait_idle()
        assert counts(organism, "pace(0.1)") == {"seen": 4}
    assert since(log, begun) == [0.0, 0.1, 0.2, 0.3]
    assert [text for text, _ in log] == ["0", "1", "2", "3"]


async def test_pace_is_over_the_whole_organism_and_not_over_one_listener(autojump_clock: Clock) -> None:
    log: Log = []
    listeners = [listener(name, Ask, timed(log)) for name in ("a", "b")]
    async with open_piped(DEFAULT.before("dispatch", pace(0.1)), *listeners) as organism:
        begun = trio.current_time()
        for name in ("a", "b", "a", "b"):
            await organism.send(Ask(name), to=name)
        await organism.wait_idle()
    assert since(log, begun) == [0.0, 0.1, 0.2, 0.3]


async def test_pace_holds_for_what_handlers_send_and_for_notices_too(autojump_clock: Clock) -> None:
    log: Log = []

    async def relay(payload: Any, metadata: HandlerMetadata) -> Any:
        log.append((type(payload).__name__, trio.current_time()))
        return HandlerResponse(Note("x"), to="bench") if isinstance(payload, Ask) else None

    async def bench(payload: Any, metadata: HandlerMetadata) -> Any:
        log.append((type(payload).__name__, trio.current_time()))
        return HandlerResponse.respond(Reply("x"))

    listeners = listener("relay", [Ask, Reply], relay), listener("bench", Note, bench)
    async with open_piped(DEFAULT.before("dispatch", pace(1)), *listeners) as organism:
        begun = trio.current_time()
        await organism.send(Ask("x"), to="relay")
        await organism.wait_idle()
    assert [(name, at - begun) for name, at in log] == [("Ask", 0.0), ("Note", 1.0), ("Reply", 2.0)]


async def test_a_pause_is_no_credit(autojump_clock: Clock) -> None:
    log: Log = []
    async with open_piped(DEFAULT.before("dispatch", pace(1)), quick(log)) as organism:
        await organism.ask(Ask("first"))
        await trio.sleep(10)
        begun = trio.current_time()
        await send_all(organism, 3)
        await organism.wait_idle()
    assert since(log, begun)[1:] == [0.0, 1.0, 2.0]


async def test_one_that_is_killed_while_it_waits_leaves_no_gap(autojump_clock: Clock) -> None:
    log: Log = []
    async with open_piped(DEFAULT.before("dispatch", pace(1)), quick(log)) as organism:
        begun = trio.current_time()
        receipts = await send_all(organism, 4)
        assert await organism.kill(receipts[1].conversation)
        await organism.wait_idle()
    assert [text for text, _ in log] == ["0", "2", "3"]
    assert since(log, begun) == [0.0, 1.0, 2.0]


async def test_who_waits_for_its_pace_holds_no_slot(autojump_clock: Clock) -> None:
    log: Log = []
    listeners = quick(log, max_concurrent=1), listener("other", Ask, drop)
    async with open_piped(DEFAULT.before("dispatch", pace(1)), *listeners) as organism:
        await send_all(organism, 3)
        await trio.sleep(0.5)
        found = organism.statistics()
        assert (found["queued"], found["handlers_running"]) == (2, 0)
        assert organism._pump.slots.borrowed() == 0


async def test_a_burst_goes_at_once_and_then_evenly(autojump_clock: Clock) -> None:
    log: Log = []
    async with open_piped(DEFAULT.before("dispatch", rate(4, 3)), quick(log)) as organism:
        begun = trio.current_time()
        await send_all(organism, 6)
        await organism.wait_idle()
    assert since(log, begun) == [0.0, 0.0, 0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(("idle", "at_once"), [(0.25, 1), (0.5, 2), (60.0, 3)])
async def test_a_bucket_fills_again_while_nothing_comes(
    idle: float, at_once: int, autojump_clock: Clock
) -> None:
    log: Log = []
    async with open_piped(DEFAULT.before("dispatch", rate(4, 3)), quick(log)) as organism:
        await send_all(organism, 3)
        await organism.wait_idle()
        log.clear()
        await trio.sleep(idle)
        begun = trio.current_time()
        await send_all(organism, 4)
        await organism.wait_idle()
    wanted = [0.0] * at_once + [0.25 * number for number in range(1, 5 - at_once)]
    assert since(log, begun) == wanted


async def test_of_two_the_slower_decides(autojump_clock: Clock) -> None:
    log: Log = []
    pipeline = DEFAULT.before("dispatch", rate(10, 2)).after("decode", pace(0.5))
    async with open_piped(pipeline, quick(log)) as organism:
        begun = trio.current_time()
        await send_all(organism, 3)
        await organism.wait_idle()
    assert since(log, begun) == [0.0, 0.5, 1.0]


async def test_at_most_so_many_handlers_are_at_work_at_once_and_never_fewer_while_more_wait(
    autojump_clock: Clock,
) -> None:
    log: Log = []
    running: list[int] = []
    at_work = 0

    async def work(payload: Any, metadata: HandlerMetadata) -> None:
        nonlocal at_work
        at_work += 1
        running.append(at_work)
        log.append((payload.text, trio.current_time()))
        await trio.sleep(1)
        at_work -= 1

    listeners = [listener(name, Ask, work) for name in ("a", "b")]
    async with open_piped(DEFAULT.before("dispatch", limit(3)), *listeners) as organism:
        begun = trio.current_time()
        for number in range(10):
            await organism.send(Ask(str(number)), to="ab"[number % 2])
        await trio.sleep(0.5)
        found = organism.statistics()
        assert (found["handlers_running"], found["queued"]) == (3, 7)
        await organism.wait_idle()
    assert max(running) == 3
    assert since(log, begun) == [0.0] * 3 + [1.0] * 3 + [2.0] * 3 + [3.0]


async def test_a_limit_is_given_back_by_what_fails_is_killed_and_tries_again(autojump_clock: Clock) -> None:
    async def bad(payload: Any, metadata: HandlerMetadata) -> None:
        await trio.sleep(1)
        if payload.text == "fall":
            raise ValueError("x")
        await trio.sleep_forever()

    back_off: Any = {"retries": 2, "retry_base_delay": 10.0, "retry_max_delay": 10.0}
    listeners = listener("bad", Ask, bad, handler_timeout=5, **back_off), listener("back", Ask, answer)
    async with open_piped(DEFAULT.before("dispatch", limit(1)), *listeners) as organism:
        await organism.send(Ask("fall"), to="bad")
        await trio.sleep(2)  # in its back-off it has no token
        with trio.fail_after(0.1):
            assert await organism.ask(Ask("x"), to="back") == Reply("x")
        await organism.wait_idle()
        killed = await organism.send(Ask("hang"), to="bad")
        await trio.sleep(2)
        await organism.kill(killed.conversation)
        with trio.fail_after(0.1):
            assert await organism.ask(Ask("y"), to="back") == Reply("y")


async def test_what_waits_for_a_gate_ends_with_its_conversations_time(autojump_clock: Clock) -> None:
    log: Log = []
    async with open_piped(DEFAULT.before("dispatch", pace(10)), quick(log)) as organism:
        await organism.ask(Ask("first"))
        with pytest.raises(ConversationFailed) as failed:
            await organism.ask(Ask("second"), budgets=Budgets(seconds=3))
        assert failed.value.outcome.state is ConversationState.TIMED_OUT


async def test_what_waits_for_a_gate_is_drained_as_far_as_the_grace_goes(autojump_clock: Clock) -> None:
    log: Log = []
    async with open_piped(DEFAULT.before("dispatch", pace(1)), quick(log)) as organism:
        await send_all(organism, 5)
        report = await organism.shutdown(grace=2.5)
    assert len(log) == 3
    assert [row.state for row in report.abandoned_messages] == ["queued", "queued"]


async def test_boot_is_handled_before_the_gates_are_shut(autojump_clock: Clock) -> None:
    log: Log = []
    begun = trio.current_time()
    async with open_piped(DEFAULT.before("dispatch", pace(60)), quick(log)) as organism:
        await organism.ask(Ask("x"))
    assert since(log, begun) == [0.0]


async def test_a_gate_leaves_no_task_behind(autojump_clock: Clock) -> None:
    log: Log = []
    async with open_piped(DEFAULT.before("dispatch", pace(0.01)), quick(log)) as organism:
        await organism.ask(Ask("x"))
        await trio.sleep(1)
        before = trio.lowlevel.current_statistics().tasks_living
        await send_all(organism, 100)
        await organism.wait_idle()
        await trio.sleep(1)
        assert trio.lowlevel.current_statistics().tasks_living == before


async def test_a_tap_before_dispatch_runs_when_it_is_let_through(autojump_clock: Clock) -> None:
    seen: list[float] = []
    pipeline = DEFAULT.before("dispatch", tap(lambda _: seen.append(trio.current_time())))
    log: Log = []
    async with open_piped(pipeline.before("dispatch", pace(1)), quick(log)) as organism:
        await send_all(organism, 3)
        await organism.wait_idle()
    assert seen == [at for _, at in log]


def test_spacing_lets_out_exactly_a_buckets_worth_and_then_one_an_interval() -> None:
    spacing = Spacing(rate(2, 3))
    taken: list[float] = []
    now = 100.0
    for _ in range(6):
        now = max(now, spacing.due)
        spacing.take(now)
        taken.append(now)
    assert taken == [100.0, 100.0, 100.0, 100.5, 101.0, 101.5]
    assert Spacing(pace(2)).due < 0  # the first one may go at any time


async def test_gates_say_when_to_ask_again_only_if_time_is_what_is_missing() -> None:
    asked: list[float] = []
    gates = Gates([pace(5), limit(1)], asked.append)
    assert gates.open()
    gates.enter()
    assert not gates.open()
    assert asked == []  # full: whoever leaves asks again
    gates.leave()
    assert not gates.open()
    assert len(asked) == 1
