"""Claims of testing/sim/coverage.py: an await that no task has waited at is named, and no other.

Each program is written to a file, run, and asked what it never waited at. A line that ends with ``# never``
is one that must be told.
"""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path
from typing import Any

import pytest

from phloem.testing.sim import Result, Site, explore, simulate
from phloem.testing.sim.coverage import unreached

HEAD = """\
import trio
from contextlib import asynccontextmanager
from functools import partial, wraps

async def step(value=None):
    await trio.lowlevel.checkpoint()
    return value

async def many(count):
    for number in range(count):
        await step()
        yield number

"""


def program(folder: Path, body: str) -> tuple[Any, list[int]]:
    """The module with this ``main``, and the lines that are marked."""
    file = folder / "shop.py"
    text = HEAD + textwrap.dedent(body)
    file.write_text(text, "utf-8")
    spec = importlib.util.spec_from_file_location("shop", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    marked = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# never")]
    return module, marked


def sites_of(result: Result) -> set[Site]:
    assert result.failure is None
    return {site for each in result.stood for site in each.stack}


def lines(told: list[str]) -> list[int]:
    return sorted(int(each.rpartition(" in ")[0].rpartition(":")[2]) for each in told)


BODIES = {
    "one of two awaits": """
        async def choose(first):
            if first:
                await step()
            else:
                await step()  # never

        async def main():
            await choose(True)
        """,
    "a loop that is left early": """
        async def main():
            for number in range(3):
                await step()
                if number == 0:
                    break
                await step()  # never
            else:
                await step()  # never
        """,
    "what an error skips": """
        async def main():
            try:
                await step()
                raise ValueError
                await step()  # never
            except ValueError:
                await step()
            except KeyError:
                await step()  # never
            finally:
                await step()
        """,
    "an await in the arguments of one that never came": """
        async def main():
            try:
                await step(  # never
                    (await step(1))
                    / 0
                )
            except ZeroDivisionError:
                pass
        """,
    "a call of many lines": """
        async def main():
            value = (
                await step(
                    1,
                )
            )
            if not value:
                value = (
                    await step(  # never
                        1,
                    )
                )
        """,
    "methods": """
        class Shop:
            async def open(self, really):
                await step()
                if really:
                    await step()  # never

            @classmethod
            async def found(cls):
                await step()
                if not cls:
                    await step()  # never

            @staticmethod
            async def close():
                await step()

            class Till:
                async def ring(self):
                    return await step() or self or await step()

        async def main():
            await Shop().open(False)
            await Shop.found()
            await Shop.close()
            await Shop.Till().ring()
        """,
    "a function that never ran is not known": """
        async def never_called():
            await step()

        async def main():
            await step()
        """,
    "functions in functions": """
        async def main():
            async def inner(go):
                await step()
                if not go:
                    await step()  # never

            class Here:
                async def method(self):
                    await step()
                    if not self:
                        await step()  # never

            await inner(True)
            await Here().method()
        """,
    "decorated and partial": """
        def twice(function):
            @wraps(function)
            async def around(*args):
                await function(*args)
                if not args:
                    await function(*args)  # never
            return around

        @twice
        async def work(value):
            await step()
            if not value:
                await step()  # never

        async def main():
            await partial(work, 1)()
        """,
    "contexts on lines of their own that wait only as they are entered": """
        @asynccontextmanager
        async def opened():
            await step()
            yield

        async def main():
            async with (
                opened(),
                opened(),
            ):
                pass
        """,
    "async with": """
        @asynccontextmanager
        async def opened():
            await step()
            try:
                yield
            finally:
                await step()

        async def main():
            async with (
                opened(),
                opened(),
            ):
                await step()
            async with opened(): await step()
            if not step:
                async with opened():  # never
                    pass
                async with (  # never
                    opened() as one,
                    opened() as two,
                ):
                    await step()  # never
        """,
    "async for": """
        async def main():
            async for number in many(2):
                await step()
                if number > 5:
                    await step()  # never
            async for number in many(
                2
            ):
                pass
            async for number in many(0):  # never
                await step()  # never
        """,
    "comprehensions": """
        async def main():
            one = [await step(each) for each in range(2)]
            two = {await step(each) for each in range(2)}
            three = {
                each: await step(each)
                for each in range(2)
            }
            four = [each async for each in many(2)]
            five = [
                each
                async for each
                in many(2)
                if await step(True)
            ]
            six = [each async for each in (await step(x) for x in range(2))]
            if not one:
                seven = [await step(each) for each in range(2)]  # never
                eight = [each async for each in many(2)]  # never
        """,
    "a comprehension of many lines that is never come to": """
        async def main():
            await step()
            if not step:
                print([
                    await step(each)  # never
                    for each in range(2)
                ])
        """,
    "generators": """
        async def some(count):
            for number in range(count):
                await step()
                yield number
            else:
                if count > 9:
                    await step()  # never

        async def main():
            async for _ in some(2):
                pass
        """,
    "lambdas": """
        async def main():
            later = lambda: step()
            await later()
            each = lambda: (await step(x) for x in range(2))
            async for _ in each():
                pass
        """,
    "two awaits of one line are one": """
        async def main():
            await step() if step else await step()
        """,
    "nurseries": """
        async def child(go):
            await step()
            if not go:
                await step()  # never

        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child, True)
                nursery.start_soon(child, 1)
        """,
    "unusual letters": """
        async def größe(über):
            await step()
            if not über:
                await step()  # never

        async def main():
            await größe("🦊")
        """,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_exactly_the_awaits_that_nobody_waited_at_are_told(tmp_path: Path, body: str) -> None:
    module, marked = program(tmp_path, body)
    told = [each for each in unreached(sites_of(simulate(module.main))) if "shop.py" in each]
    assert [number for number in lines(told) if number > HEAD.count("\n")] == marked


def test_a_line_says_where_and_in_which_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module, (line,) = program(tmp_path, BODIES["one of two awaits"])
    assert list(unreached(sites_of(simulate(module.main)))) == [f"shop.py:{line} in choose"]


def test_what_one_run_reaches_is_reached(tmp_path: Path) -> None:
    module, _ = program(
        tmp_path,
        """
        import phloem.testing.sim as sim

        async def main():
            if sim.current_run().random.random() < 0.5:
                await step()
            else:
                await step()
        """,
    )
    report = explore(module.main, runs=10)
    assert report.passed
    assert report.not_covered == ()


@pytest.mark.parametrize(
    "file", ["<stdin>", "/nowhere/at/all.py", "", "notebook.ipynb", "bad.py", "null.py", "."]
)
def test_a_file_that_cannot_be_read_has_no_awaits(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notebook.ipynb").write_text("%matplotlib inline\nawait x\n")
    Path("bad.py").write_bytes(b"# coding: nothing\nasync def f(): await x\n")
    Path("null.py").write_bytes(b"async def f():\n    await x\0\n")
    assert list(unreached([Site(file, 1, "f")])) == []


def test_an_await_of_a_module_belongs_to_no_function(tmp_path: Path) -> None:
    file = tmp_path / "cells.py"
    file.write_text("await x\n\nasync def f():\n    await x\n", "utf-8")
    assert lines(list(unreached([Site(str(file), 3, "f")]))) == [4]
    assert list(unreached([Site(str(file), 4, "f")])) == []


def test_the_order_is_that_of_files_functions_and_lines(tmp_path: Path) -> None:
    sites = list[Site]()
    for name in ("b.py", "a.py"):
        text = "async def f():\n    await x\n    await x\n\nasync def e():\n    await x\n"
        (tmp_path / name).write_text(text, "utf-8")
        sites += [Site(str(tmp_path / name), 1, "f"), Site(str(tmp_path / name), 1, "e")]
    told = [each.replace(str(tmp_path), "") for each in unreached(sites)]
    assert [each.rpartition("/")[2] for each in told] == [
        "a.py:6 in e", "a.py:2 in f", "a.py:3 in f", "b.py:6 in e", "b.py:2 in f", "b.py:3 in f",
    ]  # fmt: skip
