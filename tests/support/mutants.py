"""Mutants: copies of phloem with one deliberate fault each, and whether phloem's promises find them out.

Decides how a fault gets in (one text of one module is replaced as it is imported, in a process that has
not imported phloem yet) and what kills a mutant: a short exploration or a sweep of one of the programs
fails. A text that does not occur exactly once is an error, so no mutant goes stale unnoticed. As a
script it tries the mutants it is named, each in a process forked from one that has imported the rest.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

HERE: Final = Path(__file__).resolve()
TESTS, SOURCE = HERE.parents[1], HERE.parents[2] / "src"
RUNS: Final = 40  # explored of each; where a mutant is not found by them, the sweep finds it
LONGEST: Final = 60  # seconds for one mutant; it takes a few
SEED: Final = 3
STEPS: Final = 5_000  # of one run; the longest takes some hundred, and a mutant may go round for ever
HEAVY: Final = ("anyio", "lxml.etree", "pytest", "trio", "trio.testing", "yaml")  # for all of them at once


@dataclass(frozen=True)
class Mutant:
    """``old`` becomes ``new`` in ``module``; ``program`` is a module of ``support`` and a function there."""

    name: str
    module: str
    old: str
    new: str
    program: str = "reference:reference"


@dataclass(frozen=True)
class Verdict:
    """What came of one mutant. ``by`` is what killed it, as the search tells; empty if it survived."""

    name: str
    killed: bool
    by: str
    seconds: float


class Mutating(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed text, as long as it is in ``sys.meta_path``."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant, self.loaded = mutant, False

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != self.mutant.module:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert found is not None
        assert found.origin is not None
        return importlib.util.spec_from_file_location(fullname, found.origin, loader=self)

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        file = Path(str(module.__file__))
        text = mutated(self.mutant, file.read_text("utf-8"))
        exec(compile(text, str(file), "exec"), module.__dict__)
        self.loaded = True


def mutated(mutant: Mutant, text: str) -> str:
    """The module's text with the fault in it. Raises LookupError unless there is one place for it."""
    count = text.count(mutant.old)
    if count != 1:
        raise LookupError(f"{mutant.name}: {mutant.module} has its text {count} times; expected once")
    return text.replace(mutant.old, mutant.new)


def run(mutant: Mutant) -> Verdict:
    """Explore and sweep its program on it. In a process that has imported nothing of phloem."""
    assert "phloem" not in sys.modules
    mutating = Mutating(mutant)
    if mutant.module:
        sys.meta_path.insert(0, mutating)
    module, _, function = mutant.program.partition(":")
    program = getattr(importlib.import_module(f"support.{module}"), function)
    assert mutating.loaded or not mutant.module, f"{mutant.module} was not imported"
    errors: Any = importlib.import_module("phloem.errors")
    _tell_at_once(errors.ScheduleFailure)
    started = time.monotonic()
    by = ""
    try:
        _search(program, module)
    except errors.ScheduleFailure as failure:
        by = " ".join(str(failure).split())[:200]
    return Verdict(mutant.name, bool(by), by, time.monotonic() - started)


def _tell_at_once(error: Any) -> None:
    """A mutant is killed by the first failure; to shrink it would take longer than to find it."""
    searching: Any = importlib.import_module("phloem.testing.sim.searching")

    def tell(search: Any, result: Any, failure: BaseException, signature: Any) -> Any:
        run = f"run {search.report.runs} of its {search.report.kind}: {type(failure).__name__}: {failure}"
        if isinstance(failure, BaseExceptionGroup):
            run += f" {failure.exceptions}"
        return error(
            run,
            seed=result.seed,
            token=result.token,
            schedule=result.schedule,
            failure=failure,
            result=result,
        )

    searching.Search._tell = tell


def _search(program: Any, module: str) -> None:
    sim: Any = importlib.import_module("phloem.testing.sim")
    invariants: Any = importlib.import_module("phloem.testing.invariants")
    faults: Any = importlib.import_module("phloem.testing.faults")
    undisturbed = getattr(importlib.import_module(f"support.{module}"), "UNDISTURBED", None)
    plan = faults.plan("handler=raise,hang:0.5:0.1") if module == "delegations" else None

    def check(result: Any) -> None:
        invariants.check_pump(result)
        if undisturbed is not None and result.cut is None:
            wrong = {name: came for name, came in result.value.items() if came not in undisturbed[name]}
            assert not wrong, wrong

    sim.explore(program, runs=RUNS, check=check, faults=plan, max_steps=STEPS)
    sim.sweep(
        program,
        cancel="every-site",
        timeouts=True,
        check=check,
        seed=SEED,
        strategy="walk",
        resources=False,
        max_steps=STEPS,
    )


def _forked(mutant: Mutant) -> dict[str, Any]:
    """Its verdict, from a child of this process; what else the child says is in ``by``."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(LONGEST)
        try:
            said = asdict(run(mutant))
        except BaseException as error:
            said = {"name": mutant.name, "error": f"{type(error).__name__}: {error}"[:500]}
        with os.fdopen(write, "w") as pipe:
            json.dump(said, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    said = json.loads(text) if text else {"name": mutant.name, "error": f"no word of it after {LONGEST} s"}
    return dict(said)


def verdicts(mutants: Sequence[Mutant], processes: int = 2) -> dict[str, Verdict]:
    """What comes of them, by name, tried in so many interpreters side by side. Raises for one that broke."""
    tasks = [
        subprocess.Popen(
            [sys.executable, str(HERE), *(mutant.name for mutant in mutants[start::processes])],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(TESTS)])},
            text=True,
        )
        for start in range(min(processes, len(mutants)))
    ]
    found: dict[str, Verdict] = {}
    for task in tasks:
        output, _ = task.communicate()
        assert task.returncode == 0
        for line in output.splitlines():
            said = json.loads(line)
            assert "error" not in said, said
            found[said["name"]] = Verdict(**said)
    return found


def main(names: Sequence[str]) -> None:
    for heavy in HEAVY:
        importlib.import_module(heavy)
    logging.disable(logging.CRITICAL)
    known = {mutant.name: mutant for mutant in importlib.import_module("support.pump_mutants").EVERY}
    for name in names or known:
        sys.stdout.write(json.dumps(_forked(known[name])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
