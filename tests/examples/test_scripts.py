"""docs/examples that are programs: run as their user runs them, on each loop there is, and interrupted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from support.kitchens import EXAMPLES, edited
from support.servers import LONGEST, Server, environment, open_server, soon

ON_UVLOOP = "import uvloop, {0}; uvloop.run({0}.main())"

Open = Callable[..., AbstractContextManager[Server]]


def run(*arguments: str, folder: Path = EXAMPLES) -> list[str]:
    """The lines that a program prints; it must end well, and say nothing else."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    *lines, last = done.stdout.splitlines()
    assert last.startswith("every message accounted for: ShutdownReport(accepted=")
    return [*lines, last.partition("(")[2]]


@pytest.mark.parametrize(
    "words", [("asyncio_script.py",), ("-c", ON_UVLOOP.format("asyncio_script"))], ids=["asyncio", "uvloop"]
)
def test_the_asyncio_script_prints_what_its_comments_promise(words: tuple[str, ...]) -> None:
    *lines, books = run(*words)
    assert lines == [
        "Plate(text='soup, with a Riesling')",
        "3 soups more",
        "/Order/Dish: expected one of 'soup', 'roast'",
        "no roast today",
    ]
    # Boot, four soups of three messages each (the order, the wine, the bottle), a pizza, a roast.
    assert books.startswith("accepted=15, handled=13, rejected=1, undeliverable=0, failed=0, abandoned=1")


@pytest.mark.parametrize(
    "words",
    [("anyio_script.py", "trio"), ("anyio_script.py", "asyncio"), ("-c", ON_UVLOOP.format("anyio_script"))],
    ids=["trio", "asyncio", "uvloop"],
)
def test_the_anyio_script_prints_the_same_on_every_backend(words: tuple[str, ...]) -> None:
    *lines, books = run(*words)
    assert sorted(lines) == ["no roast within 0.5 s", "soup after 0.0 minutes", "tea after 0.001 minutes"]
    assert books.startswith("accepted=4, handled=3, rejected=0, undeliverable=0, failed=0, abandoned=1")


@pytest.mark.parametrize(
    "words", [("anyio_script.py", "trio"), ("anyio_script.py", "asyncio")], ids=["trio", "asyncio"]
)
def test_the_anyio_script_truly_runs_on_the_backend_it_is_told(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    told = "    import sniffio\n    print(sniffio.current_async_library())\n"
    folder = edited(
        EXAMPLES / "anyio_script.py",
        tmp_path / "x",
        "async def main() -> None:\n",
        "async def main() -> None:\n" + told,
    )
    assert run(*words, folder=folder)[0] == words[1]


@pytest.mark.parametrize(
    "words",
    [
        ("asyncio_script.py",),
        ("-c", ON_UVLOOP.format("asyncio_script")),
        ("anyio_script.py", "trio"),
        ("anyio_script.py", "asyncio"),
    ],
    ids=["asyncio", "asyncio-uvloop", "anyio-trio", "anyio-asyncio"],
)
def test_ctrl_c_ends_a_script_at_once_and_as_python_does(words: tuple[str, ...], tmp_path: Path) -> None:
    name = "asyncio_script" if "asyncio_script" in words[-1] else "anyio_script"
    opened = "async with open_organism(KITCHEN) as organism"
    waits = {
        "asyncio_script": ("asyncio.timeout(0.5)", "asyncio.timeout(3600)"),
        "anyio_script": ('Order("roast", 90.0), 0.5)', 'Order("roast", 90.0), 3600)'),
    }
    folder = edited(EXAMPLES / f"{name}.py", tmp_path / "x", *waits[name])
    with open_server([sys.executable, "-u", *words], folder, tmp_path / "logs") as script:
        marker = {"asyncio_script": "/Order/Dish", "anyio_script": "tea after"}[name]
        soon(lambda: marker in script.out or None, "the script to come to its roast")
        time.sleep(0.2)  # so that the roast is in the oven
        begun = time.monotonic()
        script.interrupt()
        script.ended()
        assert time.monotonic() - begun < 5
    assert script.process.returncode in (-2, 1)  # by the signal, as Python ends of a KeyboardInterrupt
    assert "KeyboardInterrupt" in script.err
    assert opened in (folder / f"{name}.py").read_text("utf-8")
    for word in (
        "Exception ignored",
        "never awaited",
        "Warning",
        "was destroyed",
        "InternalError",
        "GuestRun",
    ):
        assert word not in script.err, script.err
