"""A loop that is closed around its guest says so, and leaves a thread that is free."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from typing import Any

import pytest
import trio

from phloem import (
    HostGone,
    open_organism,
)
from phloem.embedding import guests
from phloem.embedding.hosting import EmbeddingHost
from support.embedded import CONFIG, Place, each_loop, leave_open, new_loop, opened, until
from support.listeners import BACK, Ask, Reply, listener

# -- a loop that is closed around its guest -----------------------------------------------------------


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@each_loop
def test_a_loop_closed_with_a_guest_alive_says_so_and_cleans_up(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    loop, place = new_loop(backend), Place(turns=3)
    kept: list[Any] = []

    async def main() -> None:
        await leave_open(kept, place.listener(Ask))
        await kept[0].send(Ask("x"), to="place")
        await until(lambda: place.entered)

    loop.run_until_complete(main())
    with pytest.raises(HostGone, match=r"closed while 1 organism\(s\) were open"):
        loop.close()
    assert loop.is_closed()
    assert (place.entered, place.left) == (1, 1), "it was cancelled, and cleaned up"
    trio.run(trio.sleep, 0)

    async def elsewhere() -> None:
        with pytest.raises(HostGone, match="closed while"):
            await kept[0].ask(Ask("x"), to="place")

    asyncio.run(elsewhere())
    loop.close()  # a second one is nothing
    del kept[:]
    gc.collect()
    caplog.clear()  # asyncio's own complaint of the tasks that it destroyed


@each_loop
def test_a_loop_closed_within_a_call_of_the_host_is_told_too(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    loop = new_loop(backend)
    seen: list[BaseException] = []
    kept: list[Any] = []

    async def never(payload: Any, metadata: Any) -> None:
        await asyncio.sleep(1_000)

    async def handler(payload: Any, metadata: Any) -> None:
        host = EmbeddingHost(next(iter(guests._guests.values())))
        for shield in (False, True, True):  # waiting, waiting in its cleanup, and asking for more
            with trio.CancelScope(shield=shield):
                try:
                    await host.call(never, payload, metadata)
                except (HostGone, trio.Cancelled) as error:
                    seen.append(error)

    async def main() -> None:
        await leave_open(kept, listener("calls", Ask, handler))
        await kept[0].send(Ask("x"), to="calls")
        await until(lambda: any(task.get_name() == "phloem host call" for task in asyncio.all_tasks()))

    loop.run_until_complete(main())
    with pytest.raises(HostGone):
        loop.close()
    assert [type(error) for error in seen] == [trio.Cancelled, HostGone, HostGone]
    del kept[:]
    gc.collect()
    caplog.clear()


@each_loop
def test_a_loop_closed_behind_our_back_is_noticed_by_the_next_organism(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    loop, place = new_loop(backend), Place()
    kept: list[Any] = []

    async def main() -> None:
        await leave_open(kept, place.listener(Ask))
        await kept[0].send(Ask("x"), to="place")
        await until(lambda: place.entered)

    loop.run_until_complete(main())
    type(loop).close(loop)

    async def again() -> None:
        async with opened(BACK) as organism:
            assert await organism.ask(Ask("x"), to="back") == Reply("x")

    with caplog.at_level(logging.ERROR, "phloem"):
        asyncio.run(again())
    assert caplog.text.count("closed while 1 organism(s) were open") == 1
    assert place.left == 1
    del kept[:]
    gc.collect()
    caplog.clear()


@each_loop
def test_closing_a_running_loop_is_refused_as_ever_and_harms_nobody(backend: str) -> None:
    async def main() -> None:
        async with opened(BACK) as organism:
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop().close()
            assert await organism.ask(Ask("x"), to="back") == Reply("x")
        assert "close" not in vars(asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=lambda: new_loop(backend)) as runner:
        runner.run(main())


@each_loop
def test_a_loop_that_stands_still_for_a_while_goes_on(backend: str) -> None:
    loop = new_loop(backend)
    kept: list[Any] = []
    loop.run_until_complete(leave_open(kept))
    time.sleep(0.01)
    assert loop.run_until_complete(kept[0].ask(Ask("x"), to="back")) == Reply("x")
    loop.run_until_complete(kept[1].__aexit__(None, None, None))  # in another task than it was opened in
    loop.close()


# Their threads are gone; collected here they would take this thread's Trio run for their own.
RUNS_OF_OTHERS: list[guests.Guest] = []


@each_loop
def test_a_loop_may_be_closed_in_another_thread(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    loop = new_loop(backend)
    kept: list[Any] = []
    thread = threading.Thread(target=loop.run_until_complete, args=(leave_open(kept),))
    thread.start()
    thread.join()
    with pytest.raises(HostGone):
        loop.close()
    assert loop.is_closed()
    RUNS_OF_OTHERS.append(guests._guests.pop(loop))
    caplog.clear()


@each_loop
def test_a_loop_closed_while_its_guest_is_about_to_end_is_closed_quietly(backend: str) -> None:
    loop = new_loop(backend)

    async def main() -> None:
        block = open_organism(CONFIG)
        await block.__aenter__()
        thrown_away = block.__aexit__(GeneratorExit, GeneratorExit(), None)
        with pytest.raises(StopIteration):
            thrown_away.send(None)

    loop.run_until_complete(main())
    loop.close()
    assert loop.is_closed()
