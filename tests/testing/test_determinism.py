"""Claims of testing/sim/determinism.py: fresh interpreters, and the first difference."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phloem.errors import NotDeterministic, SimulationError
from phloem.testing import check_determinism
from phloem.testing.sim import FaultKind, FaultPlan, Point, simulate
from phloem.testing.sim.determinism import shortened

PROGRAMS = """
    import datetime, os, random, sys, time, uuid
    import trio
    from phloem.testing.sim import current_run

    def note(text):
        current_run().note(text)

    async def plain():
        print("to standard output, which is nobody's")
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(trio.sleep, random.random())
        return {"a", "b", "c"}, uuid.uuid4(), time.time()

    async def many_ways():
        async def step(number):
            for _ in range(9):
                note(number)
                await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            for number in "abcd":
                nursery.start_soon(step, number)

    async def ordered_by_a_set():
        for number in range(7):
            note(f"before {number}")
        for each in {"a", "b", "c", "d"}:
            note(each)

    async def gives_a_list_of_a_set():
        return list({"a", "b", "c", "d"})

    async def own_number():
        return "x" * 5_000 + str(os.getpid()) + "y" * 5_000

    async def hash_of_a_text():
        return hash("a text")

    async def real_time():
        return str(datetime.datetime.now())

    cache = {}

    async def cached():
        if "it" not in cache:
            await trio.sleep(1)
            cache["it"] = True

    async def wider():
        cache["spaces"] = cache.get("spaces", "") + " "
        return f"a{cache['spaces']}b"

    async def wider_note():
        cache["spaces"] = cache.get("spaces", "") + " "
        note(f"a{cache['spaces']}b")

    async def fails():
        raise LookupError("each time")

    async def dies():
        print("last words", file=sys.stderr)
        sys.stderr.flush()
        os._exit(7)

    async def hangs():
        while True:
            pass

    def plain_function():
        return 3

    def gives_something_to_await():
        return plain()

    class Scenarios:
        @staticmethod
        async def nested():
            await trio.sleep(1)

    async def faulty():
        async def work():
            return 3
        return [await current_run().faults.visit("handler", "it", work) for _ in range(5)]

    def garbage():
        return "nonsense"
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with programs, which is the working directory and not on ``sys.path``."""
    (tmp_path / "programs.py").write_text(textwrap.dedent(PROGRAMS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def importable(programs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The programs as a module of this process."""
    monkeypatch.syspath_prepend(programs)
    monkeypatch.delitem(sys.modules, "programs", raising=False)
    yield importlib.import_module("programs")
    sys.modules.pop("programs", None)


def said_of(function: str, *, file: str = "programs.py", **more: Any) -> str:
    with pytest.raises(SimulationError) as caught:
        check_determinism(f"{file}:{function}", hash_seeds=more.pop("hash_seeds", (0,)), **more)
    return str(caught.value)


# -- what is alike ----------------------------------------------------------------------------------


def test_a_program_that_does_the_same_everywhere_gives_its_digest(importable: Any) -> None:
    digest = check_determinism("programs:plain")
    assert digest == check_determinism("programs.py:plain", hash_seeds=(7,))
    assert digest == check_determinism(importable.plain, hash_seeds=(7,))
    assert digest == simulate(importable.plain).digest


def test_each_hash_seed_that_is_asked_for_is_the_one_there(programs: Path) -> None:
    one = check_determinism("programs.py:hash_of_a_text", hash_seeds=(7, 7))
    assert one == check_determinism("programs.py:hash_of_a_text", hash_seeds=(7,))
    assert one != check_determinism("programs.py:hash_of_a_text", hash_seeds=(8,))
    assert "PYTHONHASHSEED=8" in said_of("hash_of_a_text", hash_seeds=(7, 8))


def test_seed_and_strategy_are_those_of_the_run(importable: Any) -> None:
    digest = check_determinism("programs:many_ways", seed=3, strategy="shuffle", hash_seeds=(0,))
    assert digest == simulate(importable.many_ways, seed=3, strategy="shuffle").digest
    assert digest != simulate(importable.many_ways, seed=3).digest
    assert digest != simulate(importable.many_ways, strategy="shuffle").digest


def test_a_program_may_fail_as_long_as_it_fails_alike(importable: Any) -> None:
    digest = check_determinism("programs:fails", hash_seeds=(0, 1))
    assert digest == simulate(importable.fails).digest


def test_a_function_in_a_class_and_one_that_gives_something_to_await_will_do(importable: Any) -> None:
    assert check_determinism("programs:Scenarios.nested", hash_seeds=(0,))
    assert check_determinism(importable.Scenarios.nested, hash_seeds=(0,))
    assert check_determinism("programs:gives_something_to_await", hash_seeds=(0,))


def test_faults_are_handed_over_with_the_functions_in_them(importable: Any) -> None:
    plan = FaultPlan({"handler": Point((FaultKind.GARBAGE,), 1.0, 0.5, garbage=(importable.garbage,))})
    result = simulate(importable.faulty, faults=plan)
    assert "nonsense" in result.unwrap()
    assert check_determinism("programs:faulty", faults=plan, hash_seeds=(0,)) == result.digest


def test_a_file_of_a_package_may_import_its_neighbours(programs: Path) -> None:
    package = programs / "outer" / "inner"
    package.mkdir(parents=True)
    (programs / "outer" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "neighbour.py").write_text("async def main():\n    return __name__\n")
    (package / "scenario.py").write_text("from .neighbour import main\n")
    assert check_determinism(f"{package / 'scenario.py'}:main", hash_seeds=(0,))


def test_a_file_called_like_a_module_that_is_there_already_is_still_the_file(programs: Path) -> None:
    (programs / "json.py").write_text("async def main():\n    return 3\n")
    assert check_determinism("json.py:main", hash_seeds=(0,))


# -- what is not ------------------------------------------------------------------------------------


def test_the_order_of_a_set_is_found_at_its_first_event(programs: Path) -> None:
    with pytest.raises(NotDeterministic) as caught:
        check_determinism("programs.py:ordered_by_a_set", hash_seeds=(0, 1))
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "programs.py:ordered_by_a_set is not deterministic (seed 0, walk): what it does with "
        "PYTHONHASHSEED=1 is not what it does with PYTHONHASHSEED=0"
    )
    assert "event 7 is the first that differs" in lines[1] or "event 8 is" in lines[1]
    assert "note    before 6" in "\n".join(lines[2:7])
    assert not any("before 1" in line for line in lines)  # some context, not all of it
    at = lines.index("    PYTHONHASHSEED=0:")
    assert lines[at + 2] == "    PYTHONHASHSEED=1:"
    assert lines[at + 1] != lines[at + 3]
    assert "a set" in lines[-1]
    assert "audit(main)" in lines[-1]


def test_a_value_that_differs_is_shown_around_its_first_difference(programs: Path) -> None:
    with pytest.raises(NotDeterministic) as caught:
        check_determinism("programs.py:own_number", hash_seeds=(0, 0))
    text = str(caught.value)
    assert "how it ends differs" in text
    assert "…xxx" in text
    assert "yyy…" in text
    assert len(text) < 2_000


def test_what_a_module_keeps_is_found_in_the_second_run_of_one_process(programs: Path) -> None:
    with pytest.raises(NotDeterministic) as caught:
        check_determinism("programs.py:cached", hash_seeds=(0,))
    text = str(caught.value)
    assert "its second run in one process (PYTHONHASHSEED=0) is not its first" in text
    assert "event 0 is the first that differs" in text
    assert "clock   1" in text.partition("first run:")[2].partition("second run:")[0]
    assert "cache" in text


def test_real_time_is_found_in_the_second_run_of_one_process(programs: Path) -> None:
    with pytest.raises(NotDeterministic, match="stays real, which audit") as caught:
        check_determinism("programs.py:real_time", hash_seeds=(0,))
    assert "how it ends differs" in str(caught.value)


def test_what_a_line_of_a_trace_does_not_show_is_told_all_the_same(programs: Path) -> None:
    with pytest.raises(NotDeterministic, match="second run:\n      returned 'a  b'"):
        check_determinism("programs.py:wider", hash_seeds=(0,))
    with pytest.raises(NotDeterministic, match="white space"):
        check_determinism("programs.py:wider_note", hash_seeds=(0,))


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("a", "b", ("a", "b")),
        ("", "", ("", "")),
        ("x" * 999 + "a", "x" * 999 + "b", ("…" + "x" * 60 + "a", "…" + "x" * 60 + "b")),
        ("x" * 999, "x" * 999 + "b", ("…" + "x" * 60, "…" + "x" * 60 + "b")),
        ("a" + "x" * 999, "b", ("a" + "x" * 119 + "…", "b")),
    ],
)
def test_long_texts_are_cut_to_what_is_around_their_difference(
    one: str, other: str, told: tuple[str, str]
) -> None:
    assert shortened(one, other) == told


# -- other interpreters -----------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell for an interpreter of another name")
def test_a_further_interpreter_runs_it_too_and_is_named(programs: Path) -> None:
    other = programs / "other-python"
    other.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    other.chmod(0o755)
    assert check_determinism("programs.py:plain", hash_seeds=(0,), python=[str(other)])
    other.write_text(f'#!/bin/sh\nPYTHONHASHSEED=1 exec "{sys.executable}" "$@"\n')
    with pytest.raises(NotDeterministic, match=f"PYTHONHASHSEED=0 of {other}"):
        check_determinism("programs.py:gives_a_list_of_a_set", hash_seeds=(0,), python=[str(other)])


def test_an_interpreter_that_is_none_is_said_so(programs: Path) -> None:
    assert "found '/nowhere/python' that does not start" in said_of("plain", python=["/nowhere/python"])


# -- what cannot be run -----------------------------------------------------------------------------


def test_what_the_fresh_interpreter_finds_wrong_is_said_here(programs: Path) -> None:
    assert said_of("plain_function") == (
        "programs.py:plain_function: found a function that gives int, expected an async function"
    )
    (programs / "broken.py").write_text("1 / 0\n")
    text = said_of("main", file="broken.py")
    assert text.startswith("broken.py:main: found an error when broken.py was imported:\nTraceback")
    assert f'File "{programs / "broken.py"}", line 1' in text
    assert "ZeroDivisionError: division by zero" in text


def test_an_interpreter_that_dies_is_told_with_its_last_words(programs: Path) -> None:
    text = said_of("dies")
    assert "found the interpreter dead before it was done (PYTHONHASHSEED=0, exit code 7)" in text
    assert text.endswith("last words")


def test_an_interpreter_that_hangs_is_ended_and_told(programs: Path) -> None:
    started = time.monotonic()
    text = said_of("hangs", timeout=1.5)
    assert "found it not done after 1.5 real seconds (PYTHONHASHSEED=0)" in text
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("target", "more", "said"),
    [
        ("main", {}, "found 'main', expected \"module:function\""),
        ("module:", {}, "found 'module:'"),
        (":main", {}, "found ':main'"),
        ("a:b", {"hash_seeds": ()}, "hash_seeds: found none"),
        ("a:b", {"hash_seeds": (-1,)}, "hash_seeds: found -1"),
        ("a:b", {"hash_seeds": (2**32,)}, "hash_seeds: found 4294967296"),
        ("a:b", {"hash_seeds": ("random",)}, "hash_seeds: found 'random'"),
        ("a:b", {"strategy": "nonsense"}, "strategy: found 'nonsense'"),
        ("a:b", {"timeout": 0}, "timeout: found 0"),
        ("a:b", {"python": "python3"}, "python: found the string 'python3'"),
    ],
)
def test_arguments_that_cannot_be_are_refused_before_anything_starts(
    target: str, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError) as caught:
        check_determinism(target, **more)
    assert said in str(caught.value)


def test_a_function_that_nobody_else_can_import_is_refused() -> None:
    async def local() -> None:
        pass

    unnamed: list[Callable[[], Any]] = [local, lambda: local(), Local().method]
    for each in unnamed:
        with pytest.raises(ValueError, match="which no other process can import"):
            check_determinism(each)


class Local:
    async def method(self) -> None:
        """Of an instance: its name alone finds something else."""


def test_garbage_that_nobody_else_can_import_is_refused() -> None:
    plan = FaultPlan({"handler": Point((FaultKind.GARBAGE,), garbage=(lambda: 3,))})
    with pytest.raises(ValueError, match="found garbage or errors that cannot be handed"):
        check_determinism("a:b", faults=plan)


def test_nothing_is_left_behind(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = programs / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    check_determinism("programs.py:plain", hash_seeds=(0,))
    said_of("dies")
    assert os.listdir(scratch) == []
