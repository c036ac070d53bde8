"""Claims of testing/sim/sites.py: which frames are the program's own, and where a task is said to stand."""

from __future__ import annotations

import contextlib
import functools
import linecache
import os
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from phloem.testing.sim.sites import Places, Site, is_own, scrubbed, stack_of, waits_for

HERE = os.path.basename(__file__)


@contextlib.asynccontextmanager
async def blocked(main: Callable[[], Awaitable[object]]) -> AsyncIterator[trio.lowlevel.Task]:
    """The task of ``main``, once all that can run has run."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(main)
        await trio.testing.wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        yield task
        nursery.cancel_scope.cancel()


async def functions(main: Callable[[], Awaitable[object]]) -> list[str]:
    async with blocked(main) as task:
        return [site.function for site in stack_of(task)]


async def told(main: Callable[[], Awaitable[object]]) -> str:
    async with blocked(main) as task:
        return waits_for(task)


def line_of(text: str) -> int:
    """The line of this file that ends with this comment."""
    lines = Path(__file__).read_text("utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {text}"))


# -- whose code it is ----------------------------------------------------------------------------

STDLIB = os.path.dirname(os.__file__)
SITE = os.path.dirname(os.path.dirname(trio.__file__))
SIM = os.path.dirname(os.path.abspath(stack_of.__code__.co_filename))


@pytest.mark.parametrize(
    "file",
    [
        __file__, "/home/me/app.py", "app.py", "./app.py", "C:\\work\\app.py", "/tmp/ipykernel_77/123.py",
        f"{SITE}/shop/carts.py", "/x/lib/python3.12/site-packages/shop/carts.py",
        "/x/site-packages/trio_websocket/a.py",
        "C:\\Python\\Lib\\site-packages\\shop\\carts.py", "/usr/lib/python3/dist-packages/shop.py",
        "/home/me/trio/app.py", "/home/me/site-packages.py", f"{STDLIB}-mine/app.py",
        f"{os.path.dirname(SIM)}s/app.py", f"{os.path.dirname(SIM)}.py", "<stdin>", "<stdin-3>", "<console>",
        "<ipython-input-3-0123abcd>", "<python-input-0>", "<doctest shop[0]>",
        "/x/site-packages/a/site-packages/shop.py", "",
    ],
)  # fmt: skip
def test_a_program_is_its_files_the_packages_it_uses_and_what_is_typed_in(file: str) -> None:
    assert is_own(file)


@pytest.mark.parametrize(
    "file",
    [
        trio.__file__, trio.run.__code__.co_filename, anyio.run.__code__.co_filename, contextlib.__file__,
        f"{SIM}/running.py", f"{os.path.dirname(SIM)}/pytest_items.py", f"{STDLIB}/asyncio/tasks.py",
        "/x/lib/python3.12/site-packages/trio/_core/_run.py",
        "/usr/lib/python3/dist-packages/trio/_core/_run.py",
        "C:\\Python\\Lib\\site-packages\\anyio\\_core\\a.py",
        "/x/site-packages/outcome/_impl.py", "/x/site-packages/shop/site-packages/trio/a.py", "<string>",
        "<frozen importlib._bootstrap>", "<attrs generated init shop.Cart>", "<__array_function__ internals>",
    ],
)  # fmt: skip
def test_libraries_the_standard_one_and_generated_code_are_not_the_program(file: str) -> None:
    assert not is_own(file)


@pytest.mark.parametrize("folder", ["/somewhere/vendored", "C:/code/vendored"])
def test_trio_is_known_wherever_it_is_installed(folder: str) -> None:
    """The real one lies in site-packages here: what decides otherwise is where it was imported from."""
    assert not is_own(f"{SITE}/trio/_sync.py")
    assert not is_own(f"{SITE}\\anyio\\_core.py")
    assert is_own(f"{folder}/trionic/_sync.py")


# -- where a task stands -------------------------------------------------------------------------


class Shop:
    async def open(self) -> None:
        await self.wait()

    async def wait(self) -> None:
        await trio.sleep_forever()  # in a method

    @classmethod
    async def of_class(cls) -> None:
        await trio.sleep_forever()

    @staticmethod
    async def of_nobody() -> None:
        await trio.sleep_forever()


async def with_argument(_argument: int) -> None:
    await trio.sleep_forever()


def decorated(function: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    @functools.wraps(function)
    async def around() -> None:
        await function()

    return around


@decorated
async def plain() -> None:
    await trio.sleep_forever()


@types.coroutine
def old() -> Generator[Any, Any, None]:
    yield from trio.sleep_forever().__await__()  # noqa: ASYNC105


async def of_old() -> None:
    await old()


async def numbers() -> AsyncIterator[int]:
    yield 1
    await trio.sleep_forever()


async def of_generator() -> None:
    async for _ in numbers():
        pass


async def of_comprehension() -> list[int]:
    return [each async for each in numbers()]


async def of_nested() -> None:
    async def inner() -> None:
        await (lambda: trio.sleep_forever())()  # noqa: ASYNC105

    await inner()


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[None]:
    try:
        yield
    finally:
        await trio.sleep_forever()  # noqa: ASYNC102 - it is to be found there


async def of_manager() -> None:
    async with opened():
        pass


async def closing() -> None:
    generator = numbers_closing()
    async for _ in generator:
        break
    await generator.aclose()  # type: ignore[attr-defined]


async def numbers_closing() -> AsyncIterator[int]:
    try:
        yield 1
    finally:
        await trio.sleep_forever()  # noqa: ASYNC102 - likewise


async def of_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plain, name="shop.clerk")
        nursery.start_soon(plain, name="shop.baker")


@pytest.mark.parametrize(
    ("main", "stack"),
    [
        (Shop().open, ["Shop.open", "Shop.wait"]),
        (Shop.of_class, ["Shop.of_class"]),
        (Shop.of_nobody, ["Shop.of_nobody"]),
        (functools.partial(with_argument, 1), ["with_argument"]),
        (plain, ["decorated.<locals>.around", "plain"]),
        (of_old, ["of_old", "old"]),
        (of_generator, ["of_generator", "numbers"]),
        (of_nested, ["of_nested", "of_nested.<locals>.inner"]),
        (of_manager, ["of_manager", "opened"]),
        (closing, ["closing", "numbers_closing"]),
        (of_nursery, ["of_nursery"]),
        (trio.sleep_forever, []),
    ],
)
async def test_a_stack_is_what_the_program_called(
    main: Callable[[], Awaitable[object]], stack: list[str]
) -> None:
    assert await functions(main) == stack


async def test_a_comprehension_stands_in_its_function() -> None:
    found = await functions(of_comprehension)
    assert (found[0], found[-1]) == ("of_comprehension", "numbers")


async def test_frames_of_anyio_are_left_out() -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.Event().wait)
            await anyio.sleep_forever()

    (name,) = await functions(main)
    assert name.endswith("main")


async def test_a_site_is_the_line_that_waits() -> None:
    async with blocked(Shop().open) as task:
        site = stack_of(task)[-1]
    assert site == Site(__file__, line_of("in a method"), "Shop.wait")
    assert str(site) == f"{HERE}:{site.line} in Shop.wait"
    assert len({site, Site(site.file, site.line, site.function)}) == 1


async def test_places_that_are_remembered_are_the_same() -> None:
    places = Places()
    async with blocked(of_generator) as one, blocked(Shop().open) as other:
        for task in (one, other, one, other):
            assert places.stack_of(task) == stack_of(task)


async def test_a_task_that_has_not_begun_and_one_that_runs_stand_somewhere() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(plain)
        (task,) = nursery.child_tasks
        assert [site.function for site in stack_of(task)] == ["decorated.<locals>.around"]
        assert waits_for(task)
        nursery.cancel_scope.cancel()
    assert stack_of(trio.lowlevel.current_task())  # whatever runs this test


@pytest.mark.parametrize(
    ("file", "seen"), [("<stdin>", True), ("<ipython-input-1-aa>", True), ("<string>", False)]
)
async def test_code_that_was_typed_in_stands_at_its_line(file: str, seen: bool) -> None:
    space: dict[str, Any] = {"trio": trio}
    exec(compile("async def main():\n    await trio.sleep_forever()\n", file, "exec"), space)
    async with blocked(space["main"]) as task:
        stack = stack_of(task)
    assert stack == ((Site(file, 2, "main"),) if seen else ())
    assert linecache.getline(file, 2) == ""  # and nobody minds
    assert [site.place for site in stack] == ([f"{file}:2"] if seen else [])


# -- how a place is written ------------------------------------------------------------------------


def test_a_place_below_the_working_directory_is_told_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(os.path.dirname(__file__))
    assert Site(__file__, 3, "f").place == f"{HERE}:3"
    assert Site("/elsewhere/a.py", 3, "f").place == "/elsewhere/a.py:3"
    assert Site("<stdin>", 3, "f").place == "<stdin>:3"
    assert Site("a.py", 3, "f").place == "a.py:3"


def test_a_place_can_be_told_when_the_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert Site("/elsewhere/a.py", 3, "f").place == "/elsewhere/a.py:3"


def test_a_place_on_another_drive_is_told_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    def relpath(path: str) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    assert Site("/d/a.py", 3, "f").place == "/d/a.py:3"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("<Shop object at 0x7f3a2b1c9d10>", "<Shop object>"),
        ("<Shop object at 0x0000023FABCDEF12>", "<Shop object>"),
        ("0x7f3a2b1c9d10", "0x…"),
        ("0xff", "0xff"),
        ("trio.to_thread.run_sync-12, Thread-3 (work)", "trio.to_thread.run_sync-…, Thread-… (work)"),
        ("2024-01-01", "2024-01-01"),
        ("", ""),
    ],
)
def test_what_differs_between_processes_is_scrubbed(text: str, clean: str) -> None:
    assert scrubbed(text) == clean
    assert scrubbed(clean) == clean


# -- what it waits for -----------------------------------------------------------------------------


async def test_what_is_waited_for_is_what_the_program_called() -> None:
    full, empty = trio.open_memory_channel[int](0), trio.open_memory_channel[int](3)
    limiter, lock = trio.CapacityLimiter(1), trio.Lock()

    async def with_limiter() -> None:
        async with limiter:
            await trio.Event().wait()

    async def with_lock() -> None:
        async with lock:
            await trio.Event().wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(with_limiter, name="owner of the limiter")
        nursery.start_soon(with_lock, name="owner of the lock")
        await trio.testing.wait_all_tasks_blocked()
        assert await told(trio.Event().wait) == "Event.wait (tasks waiting 1)"
        assert (await told(lambda: full[0].send(1))).startswith(
            "MemorySendChannel.send (current buffer used 0, max"
        )
        assert "open send channels 1" in await told(empty[1].receive)
        assert "borrowers owner of the limiter" in await told(limiter.acquire)
        assert "owner owner of the lock" in await told(lock.acquire)
        assert await told(trio.sleep_forever) == "sleep_forever"
        nursery.cancel_scope.cancel()


async def test_who_waits_for_its_children_says_which() -> None:
    text = await told(of_nursery)
    assert text.startswith("NurseryManager.__aexit__ (children: ")
    assert text.endswith("shop.baker, shop.clerk)")


@pytest.mark.parametrize(
    "statistics", [7, lambda _self, _more: None, property(lambda _: 1 / 0)], ids=["7", "call", "get"]
)
async def test_a_strangers_statistics_do_no_harm(statistics: object) -> None:
    kind = type("Strange", (contextlib.AsyncExitStack,), {"statistics": statistics})

    async def main() -> None:
        async with kind() as stack:
            nursery = await stack.enter_async_context(trio.open_nursery())
            nursery.start_soon(trio.sleep_forever)

    assert await told(main) == "AsyncExitStack.__aexit__ of a Nursery (children: trio.sleep_forever)"


async def test_what_a_library_waits_for_on_behalf_of_the_program_is_told() -> None:
    limiter = trio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("somebody")

    async def main() -> None:
        await trio.to_thread.run_sync(print, limiter=limiter)

    assert "borrowed tokens 1, total tokens 1" in await told(main)
