"""Claims of testing/sim/leftovers.py: each thing left behind is told once, with the line that made it."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio

from phloem.errors import ResourceLeft
from phloem.testing.sim import simulate, sweep


def left_by(main: Callable[[], Awaitable[Any]], **more: Any) -> tuple[str, ...]:
    failure = simulate(main, resources=True, **more).failure
    if failure is None:
        return ()
    assert isinstance(failure, ResourceLeft), failure
    return failure.left


def clean(main: Callable[[], Awaitable[Any]], **more: Any) -> None:
    result = simulate(main, resources=True, **more)
    assert result.failure is None


# -- limiters -----------------------------------------------------------------------------------------


def test_a_borrowed_token_is_told_with_the_line_of_its_limiter() -> None:
    async def main() -> None:
        limiter = trio.CapacityLimiter(3)
        await limiter.acquire()
        await limiter.acquire_on_behalf_of("another")

    (told,) = left_by(main)
    assert told.startswith("2 token(s) of the limiter made at ")
    assert "test_leftovers.py:" in told


def test_a_run_that_leaves_something_behind_has_no_value() -> None:
    async def main() -> str:
        trio.CapacityLimiter(1).acquire_nowait()
        return "done"

    assert simulate(main).value == "done"
    result = simulate(main, resources=True)
    assert (result.value, type(result.failure)) == (None, ResourceLeft)


def test_one_that_waits_for_a_token_is_told() -> None:
    async def waits(limiter: trio.CapacityLimiter) -> None:
        await limiter.acquire_on_behalf_of("system")

    async def main() -> None:
        limiter = trio.CapacityLimiter(1)
        await limiter.acquire()
        trio.lowlevel.spawn_system_task(waits, limiter)
        await trio.testing.wait_all_tasks_blocked()

    told = left_by(main)
    assert any("token(s) of the limiter" in each for each in told)
    assert any("1 task(s) wait for the limiter" in each for each in told)
    assert any("the task" in each and "waits#" in each for each in told)


def test_an_anyio_limiter_is_watched_too() -> None:
    async def main() -> None:
        limiter = anyio.CapacityLimiter(1)
        await limiter.acquire()

    assert "1 token(s)" in left_by(main)[0]


def test_a_limiter_of_before_the_run_is_asked_for_what_the_run_has_borrowed() -> None:
    limiter = trio.CapacityLimiter(3)
    limiter.acquire_on_behalf_of_nowait("somebody outside")

    async def borrows() -> None:
        await limiter.acquire_on_behalf_of("the run")

    async def gives_back() -> None:
        async with limiter:
            await trio.sleep(1)

    clean(gives_back)
    for _ in range(4):  # given back each time: a run finds what the one before it has found
        (told,) = left_by(borrows)
        assert told.startswith("1 token(s) of the limiter first used at ")
        assert "test_leftovers.py:" in told
    assert limiter.statistics().borrowers == ["somebody outside"]


def test_a_token_given_back_is_nothing() -> None:
    async def main() -> None:
        for limiter in (trio.CapacityLimiter(1), anyio.CapacityLimiter(1)):
            async with limiter:
                await trio.sleep(1)
        await trio.to_thread.run_sync(len, "")
        await anyio.to_thread.run_sync(len, "")

    clean(main)


# -- channels -----------------------------------------------------------------------------------------


def kinds() -> list[Any]:
    return [
        pytest.param(lambda size: trio.open_memory_channel[int](size), id="trio"),
        pytest.param(lambda size: anyio.create_memory_object_stream[int](size), id="anyio"),
    ]


Open = Callable[[float], tuple[Any, Any]]


@pytest.mark.parametrize("open_", kinds())
def test_a_channel_closed_at_both_ends_is_nothing(open_: Open) -> None:
    async def main() -> None:
        send, receive = open_(1)
        with send, receive:
            await send.send(1)
            await receive.receive()

    clean(main)


@pytest.mark.parametrize("open_", kinds())
@pytest.mark.parametrize(("open_end", "other"), [("send", "receive"), ("receive", "send")])
def test_an_open_end_is_told_and_the_closed_one_is_not(open_: Open, open_end: str, other: str) -> None:
    held: list[object] = []

    async def main() -> None:
        send, receive = open_(1)
        held.extend((send, receive))
        (receive if open_end == "send" else send).close()

    told = left_by(main)
    assert len(told) == 1
    assert told[0].startswith(f"the {open_end} end of the channel made at ")
    for each in held:
        each.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("open_", kinds())
def test_an_item_unread_is_told_once(open_: Open) -> None:
    held: list[object] = []

    async def main() -> None:
        send, receive = open_(9)
        held.append(receive)
        with send:
            for number in range(3):
                await send.send(number)

    told = left_by(main)
    assert sum("3 item(s) unread" in each for each in told) == 1
    assert len(told) == 2
    held[0].close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("open_", kinds())
def test_of_several_clones_only_the_open_one_is_told_by_its_own_line(open_: Open) -> None:
    lines: list[int] = []
    held: list[Any] = []

    async def main() -> None:
        send, receive = open_(1)
        with send, receive:
            await trio.lowlevel.checkpoint()
            forgotten = send.clone()
            lines.append(main.__code__.co_firstlineno + 4)
            held.append(forgotten)
            with send.clone():
                pass

    told = left_by(main)
    assert len(told) == 1, told
    assert told[0].startswith("the send end of the channel made at ")
    assert told[0].split("test_leftovers.py:")[1].startswith(f"{lines[0]} ")
    held[0].close()


@pytest.mark.parametrize("open_", kinds())
def test_two_channels_made_at_one_line_are_two(open_: Open) -> None:
    held: list[Any] = []

    async def main() -> None:
        for _ in range(2):
            held.extend(open_(1))

    told = left_by(main)
    assert [each.endswith("(2 times)") for each in told] == [True, True], told
    for each in held:
        each.close()


@pytest.mark.parametrize("open_", kinds())
def test_ends_closed_by_their_aclose_or_their_block_are_closed(open_: Open) -> None:
    async def main() -> None:
        for _ in range(2):
            send, receive = open_(1)
            await send.aclose()
            async with receive:
                pass
            send.close()  # once more does no harm

    clean(main)


def test_an_anyio_stream_forgotten_by_all_is_told_and_makes_no_noise_of_its_own() -> None:
    async def main() -> None:
        anyio.create_memory_object_stream[int](1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = left_by(main)
        gc.collect()
    assert len(told) == 2


def test_channels_of_before_the_run_are_none_of_its_business() -> None:
    send, receive = trio.open_memory_channel[int](1)

    async def main() -> None:
        await send.send(1)

    clean(main)
    send.close()
    receive.close()


# -- tasks, threads, generators ---------------------------------------------------------------------


def test_a_system_task_left_is_told_with_where_it_stands() -> None:
    async def lingers() -> None:
        await trio.sleep(100)

    async def main() -> None:
        trio.lowlevel.spawn_system_task(lingers)
        await trio.sleep(1)

    (told,) = left_by(main)
    assert "lingers" in told
    assert "sleep" in told
    assert "test_leftovers.py:" in told


def test_a_job_left_is_told_once_as_a_thread_and_its_token() -> None:
    async def main() -> None:
        limiter = trio.CapacityLimiter(1)
        with trio.move_on_after(0.1):
            await trio.to_thread.run_sync(
                lambda: __import__("time").sleep(9), abandon_on_cancel=True, limiter=limiter
            )

    told = left_by(main)
    assert sorted(each.split()[1] for each in told) == ["thread(s)", "token(s)"]


def test_a_job_just_done_is_not_left() -> None:
    async def main() -> None:
        await trio.to_thread.run_sync(len, "")

    for seed in range(30):
        clean(main, seed=seed)


def test_a_generator_is_told_without_being_asked_for() -> None:
    async def generates() -> AsyncIterator[int]:
        yield 1

    async def main() -> None:
        await anext(generates())

    assert simulate(main).failure is not None
    assert "generates" in left_by(main)[0]


def test_without_resources_only_generators_are_looked_at() -> None:
    async def main() -> None:
        await trio.CapacityLimiter(1).acquire()

    assert simulate(main).failure is None


def test_everything_is_told_at_once() -> None:
    async def generates() -> AsyncIterator[int]:
        yield 1

    async def main() -> None:
        await trio.CapacityLimiter(1).acquire()
        send, receive = trio.open_memory_channel[int](1)
        send.send_nowait(1)
        trio.lowlevel.spawn_system_task(trio.sleep_forever)
        held.append((receive, generates()))
        await anext(held[0][1])

    held: list[Any] = []
    told = " ".join(left_by(main))
    for words in ("token(s)", "unread", "send end", "receive end", "task", "async generator"):
        assert words in told


def test_what_a_failure_left_is_its_note_and_the_failure_stays_the_failure() -> None:
    async def main() -> None:
        await trio.CapacityLimiter(1).acquire()
        raise LookupError("first")

    failure = simulate(main, resources=True).failure
    assert isinstance(failure, LookupError)
    assert "1 token(s)" in failure.__notes__[0]


def test_the_classes_are_as_before_afterwards() -> None:
    before = [each.__dict__.get("__init__") for each in (trio.CapacityLimiter, trio.MemorySendChannel)]
    left_by(trio.lowlevel.checkpoint)
    assert before == [
        each.__dict__.get("__init__") for each in (trio.CapacityLimiter, trio.MemorySendChannel)
    ]
    assert trio.MemorySendChannel.close.__qualname__ == "MemorySendChannel.close"


# -- what is another's ----------------------------------------------------------------------------------


def test_what_another_thread_makes_meanwhile_is_its_own() -> None:
    asked, made = SimpleQueue[None](), SimpleQueue[Any]()

    def elsewhere() -> None:
        asked.get()
        made.put(trio.open_memory_channel[int](1))

    async def main() -> None:
        asked.put(None)
        ends.extend(made.get(timeout=9))

    ends: list[Any] = []
    thread = Thread(target=elsewhere)
    thread.start()
    try:
        clean(main)
    finally:
        asked.put(None)
        thread.join()
    ends[0].send_nowait(1)
    assert ends[1].receive_nowait() == 1


def test_a_channel_that_trio_makes_for_itself_is_trios_to_close() -> None:
    @trio.as_safe_channel
    async def numbers() -> AsyncGenerator[int, None]:
        for number in range(3):
            yield number

    async def main() -> None:
        async with numbers() as channel:
            async for number in channel:
                assert number < 3

    assert sweep(main).passed  # cancelled as it is opened, too
