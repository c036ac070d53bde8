"""How an organism fills up, closes and comes to rest: seats, drains, errors of the body.

After the block is left nothing of it runs, whichever way it was left.
"""

from __future__ import annotations

import pytest
import trio
import trio.testing

from phloem.errors import ConversationFailed, OrganismClosed
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, ShutdownReport
from phloem.organism import Organism, open_organism
from support.auditing import ended, report_of
from support.listeners import Note, hang
from support.resting import organism_of


def adds_up(report: ShutdownReport) -> bool:
    return report.accepted == ended(report) and report.in_flight == 0


# -- shutting down ----------------------------------------------------------------------------
async def test_shutdown_with_a_full_queue_and_a_hung_handler_ends_at_its_grace_and_lists_all(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_organism(organism_of(hang)) as organism:
        receipts = [await organism.send(Note(str(number)), to="one") for number in range(50)]
        began = trio.current_time()
        report = await organism.shutdown(grace=5)
        assert trio.current_time() - began == 5
        assert adds_up(report)
        assert report.abandoned == len(report.abandoned_messages) == 50
        assert len({row.id for row in report.abandoned_messages}) == 50
        assert sorted(row.state for row in report.abandoned_messages) == ["queued"] * 49 + ["running"]
        assert {(row.listener, row.payload) for row in report.abandoned_messages} == {("one", "Note")}
        assert {(await organism.wait(receipt)).state for receipt in receipts} == {ConversationState.DRAINED}
        with pytest.raises(OrganismClosed):
            await organism.send(Note("late"), to="echo")
        assert await organism.shutdown(grace=100) == report


async def test_a_drain_lets_what_is_queued_finish_and_ends_as_soon_as_it_has(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(1)
        return HandlerResponse.respond(payload)

    began = trio.current_time()
    async with open_organism(organism_of(slow)) as organism:
        for number in range(7):
            await organism.send(Note(str(number)), to="one")
    assert trio.current_time() - began == 7
    assert report_of(organism) == ShutdownReport(
        7, handled=7, rejected=0, undeliverable=0, failed=0, abandoned=0
    )


async def test_the_shortest_grace_asked_for_holds(autojump_clock: trio.testing.MockClock) -> None:
    async with open_organism(organism_of(hang)) as organism:
        await organism.send(Note("x"), to="one")
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(organism.shutdown, 100)
            await trio.sleep(1)
            nursery.start_soon(organism.shutdown, 3)
            await trio.sleep(1)
            nursery.start_soon(organism.shutdown, 50)
        assert trio.current_time() - began == 4


async def test_cancelling_a_shutdown_ends_the_waiting_only(autojump_clock: trio.testing.MockClock) -> None:
    async with open_organism(organism_of(hang)) as organism:
        receipt = await organism.send(Note("x"), to="one")
        with trio.move_on_after(2) as scope:
            await organism.shutdown(5)
        assert scope.cancelled_caught
        began = trio.current_time()
        assert (await organism.wait(receipt)).state is ConversationState.DRAINED
        assert trio.current_time() - began == 3


async def test_an_idle_block_holds_up_no_drain_and_takes_no_turn_during_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_organism(organism_of(hang)) as organism:
        async with organism.open_conversation() as block, trio.open_nursery() as nursery:
            assert await block.ask(Note("x"), to="echo") == Note("x")
            began = trio.current_time()
            await organism.send(Note("hung"), to="one")
            nursery.start_soon(organism.shutdown, 5)
            await trio.sleep(1)
            with pytest.raises(OrganismClosed):
                await block.ask(Note("y"), to="echo")
        assert trio.current_time() - began == 5  # the hung one's grace
    assert report_of(organism).accepted == 2


async def test_an_idle_organism_with_an_open_block_shuts_down_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_organism(organism_of(hang)) as organism, organism.open_conversation() as block:
        await block.ask(Note("x"), to="echo")
        began = trio.current_time()
        report = await organism.shutdown(5)
        assert trio.current_time() == began
        assert report == organism.report
        assert report_of(organism).handled == report_of(organism).accepted == 1


# -- leaving by an error ----------------------------------------------------------------------
class Own(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        Own("x"),
        ExceptionGroup("x", [Own("y")]),
        SystemExit(3),
        KeyboardInterrupt(),
        BaseExceptionGroup("x", [SystemExit(3)]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_of_the_body_arrives_as_it_was_raised(
    error: BaseException, autojump_clock: trio.testing.MockClock
) -> None:
    caught: BaseException | None = None
    organisms: list[Organism] = []
    began = trio.current_time()
    try:
        async with open_organism(organism_of(hang)) as organism:
            organisms.append(organism)
            await organism.send(Note("x"), to="one")
            await organism.send(Note("y"), to="one")
            raise error
    except BaseException as arrived:
        caught = arrived
    assert caught is error
    assert trio.current_time() == began, "an error drains nothing"
    assert adds_up(organisms[0].report)
    assert sorted(row.state for row in organisms[0].report.abandoned_messages) == ["queued", "running"]


async def test_an_error_of_the_body_is_not_lost_to_a_cancellation_from_outside() -> None:
    async def fail() -> None:
        with trio.CancelScope() as outer:
            async with open_organism(organism_of(hang)) as organism:
                await organism.send(Note("x"), to="one")
                outer.cancel()
                raise Own

    with pytest.raises(Own):
        await fail()


@pytest.mark.parametrize("how", ["normally", "error", "cancelled", "shutdown"])
async def test_nothing_runs_after_the_block_is_left(how: str, autojump_clock: trio.testing.MockClock) -> None:
    log: list[float] = []

    async def tick(payload: Note, metadata: HandlerMetadata) -> None:
        async def tock() -> None:
            while True:
                log.append(trio.current_time())
                await trio.sleep(0.1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tock)
            await trio.sleep_forever()

    tasks = trio.lowlevel.current_statistics().tasks_living
    organisms: list[Organism] = []
    with trio.CancelScope() as scope:
        try:
            async with open_organism(organism_of(tick, shutdown_grace=2, handler_timeout=1.5)) as organism:
                organisms.append(organism)
                for number in range(3):
                    await organism.send(Note(str(number)), to="one")
                await trio.sleep(1)
                if how == "error":
                    raise Own
                if how == "cancelled":
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
                if how == "shutdown":
                    await organism.shutdown(0)
        except Own:
            pass
    left = trio.current_time()
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    await trio.sleep(1_000)
    assert log
    assert max(log) <= left
    assert adds_up(organisms[0].report)


# -- seats ------------------------------------------------------------------------------------
async def test_the_1001st_stranger_waits_for_a_seat_and_has_the_next_one_that_is_free() -> None:
    go: dict[str, trio.Event] = {str(number): trio.Event() for number in range(1_000)}

    async def hold(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        await go[payload.text].wait()
        return HandlerResponse.respond(payload)

    let_in: list[int] = []
    async with open_organism(organism_of(hold)) as organism:
        receipts = [await organism.send(Note(str(number)), to="one") for number in range(1_000)]
        assert organism.statistics()["seats"] == {"free": 0, "waiting": 0}

        async def late(number: int) -> None:
            await organism.ask(Note("late"), to="echo")
            let_in.append(number)

        async def too_late() -> None:
            with pytest.raises(OrganismClosed):
                await organism.ask(Note("too late"), to="echo")
            let_in.append(-1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(late, 1)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0) as impatient:
                await organism.ask(Note("x"), to="echo")
            assert impatient.cancelled_caught
            assert organism.statistics()["seats"] == {"free": 0, "waiting": 1}
            assert report_of(organism).accepted == 1_000
            assert let_in == []

            go["0"].set()
            await organism.wait(receipts[0])
            await trio.testing.wait_all_tasks_blocked()
            assert let_in == [1]

            await organism.send(Note("1"), to="one")  # takes the seat that is free again
            nursery.start_soon(too_late)
            await trio.testing.wait_all_tasks_blocked()
            assert organism.statistics()["seats"] == {"free": 0, "waiting": 1}
            await organism.shutdown(0)
        assert let_in == [1, -1]
    assert adds_up(organism.report)
    assert report_of(organism).accepted == 1_002


async def test_a_seat_that_comes_free_as_the_intake_closes_lets_nobody_in(
    autojump_clock: trio.testing.MockClock,
) -> None:
    told: list[str] = []

    async def open_block(organism: Organism) -> None:
        try:
            async with organism.open_conversation():
                told.append("let in")
        except OrganismClosed:
            told.append("closed")

    async with open_organism(organism_of(hang, max_in_flight=2)) as organism:
        await organism.send(Note("hung"), to="one")
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1):
                nursery.start_soon(open_block, organism)
                await organism.ask(
                    Note("queued"), to="one"
                )  # cut where it waits, so its seat is free at once…
            await organism.shutdown(0)  # …and in the same breath the intake closes
    assert told == ["closed"]
    assert adds_up(organism.report)


async def test_cancelled_asks_leave_nothing_in_the_queue_of_a_hung_listener(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_organism(organism_of(hang, shutdown_grace=0)) as organism:
        await organism.send(Note("hung"), to="one")
        for number in range(100):
            with trio.move_on_after(0.01):
                await organism.ask(Note(str(number)), to="one")
        assert organism.statistics()["conversations"]["live"] == 1
        assert organism.statistics()["queued"] == 0
        assert len(organism.threads) == 2


# -- who still waits ---------------------------------------------------------------------------
async def test_a_failed_ask_says_so_after_the_organism_has_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    errors: list[ConversationFailed] = []

    async def ask(organism: Organism) -> None:
        with pytest.raises(ConversationFailed) as failed:
            await organism.ask(Note("x"), to="one")
        errors.append(failed.value)

    config = organism_of(hang, shutdown_grace=1)
    async with trio.open_nursery() as nursery, open_organism(config) as organism:
        nursery.start_soon(ask, organism)  # noqa: ASYNC111 - it outlives the block on purpose
        await trio.testing.wait_all_tasks_blocked()
    assert errors[0].outcome.state is ConversationState.DRAINED


@pytest.mark.parametrize("call", ["send", "inject", "ask", "open_conversation"])
async def test_a_stranger_who_gives_up_waiting_for_a_seat_leaves_no_trace(
    call: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_organism(organism_of(hang, max_in_flight=1, shutdown_grace=0)) as organism:
        first = await organism.send(Note("x"), to="one")

        async def open_block() -> None:
            async with organism.open_conversation():
                pytest.fail("there was no seat")

        with trio.move_on_after(1) as scope:
            match call:
                case "send":
                    await organism.send(Note("y"), to="echo")
                case "inject":
                    await organism.inject("<Note><Text>y</Text></Note>")
                case "ask":
                    await organism.ask(Note("y"), to="echo")
                case _:
                    await open_block()
        assert scope.cancelled_caught
        assert report_of(organism).accepted == 1
        assert organism.statistics()["seats"] == {"free": 0, "waiting": 0}
        assert [thread.conversation for thread in organism.threads] == [first.conversation] * 2
        await organism.kill(first.conversation)
        assert await organism.ask(Note("y"), to="echo") == Note("y")
        assert organism.statistics()["seats"] == {"free": 1, "waiting": 0}


async def test_cancelling_who_only_waits_changes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(60)
        return HandlerResponse.respond(payload)

    async with open_organism(organism_of(slow, shutdown_grace=100)) as organism:
        receipt = await organism.send(Note("x"), to="one")
        for wait in (lambda: organism.wait(receipt), organism.wait_idle, organism.shutdown):
            with trio.move_on_after(1) as scope:
                await wait()
            assert scope.cancelled_caught
            assert organism.report.in_flight == 1
        assert (await organism.wait(receipt)).payloads == (Note("x"),)
    assert report_of(organism) == ShutdownReport(
        1, handled=1, rejected=0, undeliverable=0, failed=0, abandoned=0
    )


async def test_cancelling_a_kill_kills_all_the_same(autojump_clock: trio.testing.MockClock) -> None:
    async def stubborn(payload: Note, metadata: HandlerMetadata) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(10)

    async with open_organism(organism_of(stubborn)) as organism:
        receipt = await organism.send(Note("x"), to="one")
        await trio.sleep(1)
        with trio.move_on_after(1) as scope:
            await organism.kill(receipt.conversation)
        assert scope.cancelled_caught
        assert organism.report.in_flight == 1
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED
        assert not await organism.kill(receipt.conversation)
