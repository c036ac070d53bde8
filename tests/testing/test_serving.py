"""Claims of testing/sim/serving.py: what is a program by its name, and what is said of all else."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from phloem.testing.sim import simulate
from phloem.testing.sim.serving import program

PROGRAMS = """
    import functools

    async def plain():
        return 3

    async def with_arguments(number):
        pass

    def plain_function():
        return 3

    def gives_something_to_await():
        return plain()

    async def gives_many():
        yield 3

    number = 3

    class Scenarios:
        async def of_an_instance(self):
            return 3

    class Callable:
        async def __call__(self):
            return 3

    an_object = Callable()
    bound = Scenarios().of_an_instance
    with_its_argument = functools.partial(with_arguments, 3)
"""


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What a fresh interpreter does on its own can be done here, and quicker."""
    (tmp_path / "programs.py").write_text(textwrap.dedent(PROGRAMS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("programs", "json_", "broken", "lacking", "leaving"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "name", ["plain", "gives_something_to_await", "an_object", "bound", "with_its_argument"]
)
def test_whatever_gives_something_to_await_is_a_program(at_home: Path, name: str) -> None:
    result = simulate(program(f"programs.py:{name}"))
    assert result.failure is None
    assert result.value in (3, None)


def test_a_program_is_found_in_a_module_as_well_as_in_its_file(at_home: Path) -> None:
    sys.path.insert(0, str(at_home))
    assert program("programs:plain") is program("programs.py:plain")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("nothing", "found no 'nothing' in programs, expected an async function without arguments"),
        ("Scenarios.nothing", "found no 'nothing' in Scenarios"),
        ("number", "found int, expected an async function without arguments"),
        ("with_arguments", "found a function with arguments (missing a required argument: 'number')"),
        ("Scenarios.of_an_instance", "found a function with arguments"),
        ("plain_function", "found a function that gives int, expected an async function"),
        ("gives_many", "found a function that gives async_generator, expected an async function"),
    ],
)
def test_what_is_no_program_is_said_so(at_home: Path, function: str, said: str) -> None:
    with pytest.raises(Exception, match=re.escape(said)):
        simulate(program(f"programs.py:{function}")).unwrap()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("no_such_module:main", "found no module 'no_such_module' on sys.path"),
        ("os.path.nothing:main", "found no module 'os.path.nothing'"),
        ("no_such_file.py:main", "found no file 'no_such_file.py'"),
        ("broken.py:main", "ZeroDivisionError: division by zero"),
        ("lacking.py:main", "ModuleNotFoundError: No module named 'not_installed_here'"),
        ("leaving.py:main", "SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_had_is_said_so(at_home: Path, target: str, said: str) -> None:
    (at_home / "broken.py").write_text("1 / 0\n")
    (at_home / "lacking.py").write_text("import not_installed_here\n")
    (at_home / "leaving.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(Exception, match=re.escape(said)):
        program(target)
