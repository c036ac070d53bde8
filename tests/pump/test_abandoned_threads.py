"""Plain handlers past their deadline: named, kept apart from the books, and never waited for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from phloem.config import ListenerConfig
from phloem.errors import ConversationFailed
from phloem.messages import HandlerMetadata
from phloem.organism import Organism, open_organism
from phloem.pump.calling import HandlerThreads
from support.held import LONGEST, Held, config_of, one, until
from support.listeners import Ask, Reply


@pytest.fixture
def held() -> Iterator[Held]:
    handler = Held()
    yield handler
    handler.released.release(20)


@contextmanager
def unchanged(organism: Organism) -> Iterator[None]:
    """The books at the end are those at the beginning."""
    before = organism._core.ledger.report()
    yield
    assert organism._core.ledger.report() == before


async def test_a_thread_past_its_deadline_is_named_and_what_it_returns_is_dropped(held: Held) -> None:
    async with open_organism(one(held, handler_timeout=0.01)) as organism:
        with pytest.raises(ConversationFailed, match=r"overran its deadline of 0\.01 s"):
            await organism.ask(Ask("x"))
        assert organism.report.abandoned_threads == ("one",)
        assert organism.statistics()["threads"] == {"busy": 1, "abandoned": 1, "waiting": 0}
        with unchanged(organism):
            await held.let_go()
            await until(lambda: not organism.statistics()["threads"]["busy"])
        assert not organism.report.abandoned_threads


async def test_a_handler_that_is_not_past_it_is_not_named(held: Held) -> None:
    async with open_organism(one(held)) as organism, trio.open_nursery() as nursery:
        nursery.start_soon(organism.ask, Ask("x"))
        await held.wait_entered()
        assert organism.report.abandoned_threads == ()
        held.released.release()


async def test_an_abandoned_thread_keeps_its_token_until_it_ends(held: Held) -> None:
    config = config_of(ListenerConfig("one", Ask, held, handler_timeout=0.02), max_sync_handlers=1)
    async with open_organism(config) as organism:
        for text in "ab":
            with pytest.raises(ConversationFailed, match="overran"):
                await organism.ask(Ask(text))
        assert held.calls == ["a"]
        await held.let_go()
        await until(lambda: not organism.statistics()["threads"]["busy"])
        held.released.release()
        await organism.wait(await organism.send(Ask("c")))
    assert held.calls == ["a", "c"]


async def test_a_retry_runs_beside_the_attempt_it_replaces(held: Held) -> None:
    settings: dict[str, Any] = {"retries": 1, "retry_base_delay": 0.0}
    async with open_organism(one(held, handler_timeout=0.02, **settings)) as organism:
        with pytest.raises(ConversationFailed, match="overran"):
            await organism.ask(Ask("x"))
        assert organism.report.abandoned_threads == ("one", "one")
    assert held.calls == ["x", "x"]


@pytest.mark.parametrize("error", [None, ValueError("too late"), KeyboardInterrupt(), SystemExit(1)])
async def test_what_comes_of_it_later_is_told_at_debug_level_and_to_nobody_else(
    held: Held, error: BaseException | None, caplog: pytest.LogCaptureFixture
) -> None:
    held.raises = error
    async with open_organism(one(held)) as organism, trio.open_nursery() as nursery:
        receipt = await organism.send(Ask("x"))
        await held.wait_entered()
        nursery.start_soon(organism.kill, receipt.conversation)
        await organism.wait(receipt)
        caplog.clear()
        with caplog.at_level(logging.DEBUG), unchanged(organism):
            await held.let_go()
            await until(lambda: not organism.statistics()["threads"]["busy"])
    how = "returned" if error is None else "raised"
    (told,) = [record for record in caplog.records if "abandoned" in record.getMessage()]
    assert (told.levelno, told.getMessage()) == (logging.DEBUG, f"one {how} after it had been abandoned")
    assert bool(told.exc_info) is (error is not None)


async def test_the_report_names_the_threads_that_outlive_the_block(held: Held) -> None:
    async with open_organism(one(held, max_concurrent=None)) as organism:
        receipts = [await organism.send(Ask(text)) for text in "ab"]
        await held.wait_entered()
        await held.wait_entered()
        report = await organism.shutdown(grace=0)
        assert report.abandoned_threads == ("one", "one")
        assert [row.state for row in report.abandoned_messages] == ["running", "running"]
    assert organism.report.abandoned_threads == ("one", "one")
    await held.let_go()
    await until(lambda: len(organism.report.abandoned_threads) == 1)
    await held.let_go()
    await until(lambda: organism.report.abandoned_threads == ())
    assert organism.report.abandoned == len(receipts)


async def test_cancelling_an_ask_leaves_its_thread_behind_and_the_organism_usable(held: Held) -> None:
    async with open_organism(one(held)) as organism:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(organism.ask, Ask("x"))
                await held.wait_entered()
                scope.cancel()
        await organism.wait_idle()
        assert organism.report.abandoned == 1
        assert organism.report.abandoned_threads == ("one",)
        held.released.release(2)
        assert await organism.ask(Ask("y")) == Reply("y")


async def test_a_handler_killed_before_it_has_a_thread_never_runs(held: Held) -> None:
    config = config_of(ListenerConfig("one", Ask, held, responds_with=Reply), max_sync_handlers=1)
    async with open_organism(config) as organism, trio.open_nursery() as nursery:
        nursery.start_soon(organism.ask, Ask("first"))
        await held.wait_entered()
        second = await organism.send(Ask("second"))
        await until(lambda: organism.statistics()["threads"]["waiting"])
        await organism.kill(second.conversation)
        assert organism.statistics()["threads"] == {"busy": 1, "abandoned": 0, "waiting": 0}
        held.released.release()
    assert held.calls == ["first"]


async def test_a_job_that_is_late_to_begin_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, ran = HandlerThreads(1), list[Any]()
    start = threads._work

    def slowly(job: Any, *args: Any) -> Any:
        begun.wait(LONGEST)
        return start(job, *args)

    begun = threading.Event()
    monkeypatch.setattr(threads, "_work", slowly)
    with trio.move_on_after(0.01) as scope:
        await threads.run("one", lambda *args: ran.append(args), Ask("x"), HandlerMetadata("t", "f"))
    assert scope.cancelled_caught
    begun.set()
    await until(lambda: not threads.statistics()["busy"])
    assert ran == []
