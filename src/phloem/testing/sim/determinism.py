"""The same program under the same seed, in fresh interpreters: does it do the same everywhere?

Decides which interpreters run it, what counts as a difference, and how the first one is told. Each runs the
program twice: what it keeps in its modules from one run to the next is found before its hash seed is
blamed. Called by users; the program itself never runs in this process. ``serving`` is the other half.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import sys
import sysconfig
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final, cast, final

from phloem.errors import NotDeterministic, SimulationError

from .injecting import FaultPlan
from .result import TraceEvent
from .running import Main, recipe_of

__all__ = ["check_determinism"]

TIMEOUT: Final = 60.0  # real seconds; two runs of 100,000 steps each, with their stacks, take about ten
LARGEST: Final = 2**32 - 1  # of the seeds that PYTHONHASHSEED takes
CONTEXT: Final = 5  # events before the first that differs: enough to see who ran and what for
LONG: Final = 300  # characters of an event, three lines of a terminal; of a longer one only a part is told:
AROUND: Final = 60  # so many before its first difference, and twice as many after it
TOLD: Final = 4_000  # characters of what a child that died has written: a long traceback's end

_Event = tuple[int, str, str]  # step, kind, text

_BOOTSTRAP: Final = (
    "import json, sys; job = json.load(sys.stdin); "
    "sys.path[:] = [*(() if job['whole'] else sys.path), *job['path']]; "
    "from phloem.testing.sim.serving import serve; serve(job)"
)
_STATE: Final = (
    "the program keeps something from one run to the next: look for a cache, a counter or an instance in a "
    "module or a class, or for a call that stays real, which audit(main) lists by line"
)
_PROCESS: Final = (
    "look for the order of a set, for hash() or id(), and for what each process has of its own; "
    "audit(main) lists by line the calls that stay real"
)


@final
@dataclass(frozen=True, slots=True)
class _Child:
    """One interpreter to run the program in."""

    python: str
    hash_seed: int

    def __str__(self) -> str:
        other = "" if self.python == sys.executable else f" of {self.python}"
        return f"PYTHONHASHSEED={self.hash_seed}{other}"


@final
@dataclass(frozen=True, slots=True)
class _Told:
    """What one run told: its digest, how it ended, and the file with its trace."""

    python: str  # its version
    digest: str
    ending: str
    trace: str

    def events(self) -> Iterator[_Event]:
        """The trace, from its file."""
        with open(self.trace, encoding="utf-8") as lines:
            for line in lines:
                step, kind, text = json.loads(line)
                yield step, kind, text


def check_determinism(
    target: str | Main,
    *,
    seed: int = 0,
    strategy: str = "walk",
    hash_seeds: Sequence[int] = (0, 1, 42),
    faults: FaultPlan | None = None,
    python: Sequence[str] = (),
    timeout: float = TIMEOUT,
) -> str:
    """The digest of a program that does the same in every process; twice in each of several fresh ones.

    ``target`` is ``module:function`` or ``path/to/file.py:function`` (dotted where it is in a class), or
    the function itself if it can be imported; an async function without arguments. It is run with ``seed``,
    ``strategy`` and ``faults`` once for each of ``hash_seeds`` (PYTHONHASHSEED), and by each further
    interpreter of ``python`` with the first of them; those need Trio and phloem's dependencies of
    their own. The working directory, the environment and ``sys.path`` are this process's. ``timeout`` is in
    real seconds, for each interpreter.

    A program that fails may do so: its failure is part of the digest. Raises NotDeterministic with the
    first event that differs; SimulationError for a program that cannot be had there, or an
    interpreter that died or was not done in time; ValueError for arguments that cannot be. Not async.
    """
    name = target if isinstance(target, str) else _name_of(target)
    children = _children(name, hash_seeds, python)
    recipe_of(seed, strategy)  # a strategy that is none is said here
    if not timeout > 0:
        raise ValueError(f"timeout: found {timeout!r}, expected real seconds above 0")
    job = {"target": name, "seed": seed, "strategy": str(strategy), "faults": _packed(faults)}
    with tempfile.TemporaryDirectory(prefix="phloem-determinism-") as directory:
        places = [os.path.join(directory, str(number)) for number in range(len(children))]
        with ThreadPoolExecutor(min(len(children), os.cpu_count() or 1)) as pool:
            running = [
                pool.submit(_run, child, place, job, timeout)
                for child, place in zip(children, places, strict=True)
            ]
            try:
                told = [each.result() for each in running]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # nobody asks any more
                raise
        heading = f"{name} is not deterministic (seed {seed}, {strategy})"
        for child, (first, second) in zip(children, told, strict=True):
            if first.digest != second.digest:
                raise NotDeterministic(
                    f"{heading}: its second run in one process ({child}) is not its first\n"
                    f"{_difference(first, second, ('first run', 'second run'))}\n  {_STATE}"
                )
        for child, (other, _) in zip(children[1:], told[1:], strict=True):
            if other.digest != told[0][0].digest:
                raise NotDeterministic(
                    f"{heading}: what it does with {child} is not what it does with {children[0]}\n"
                    f"{_difference(told[0][0], other, (children[0], child))}\n  {_PROCESS}"
                )
        return told[0][0].digest


def _children(name: str, hash_seeds: Sequence[int], python: Sequence[str]) -> list[_Child]:
    module, colon, function = name.rpartition(":")
    if not (module and colon and function):
        raise ValueError(f'target: found {name!r}, expected "module:function" or "path/to/file.py:function"')
    if not hash_seeds:
        raise ValueError("hash_seeds: found none, expected one number or more")
    for each in hash_seeds:
        if not isinstance(cast("object", each), int) or not 0 <= each <= LARGEST:
            raise ValueError(f"hash_seeds: found {each!r}, expected a number from 0 to {LARGEST}")
    if isinstance(python, str):
        raise ValueError(f"python: found the string {python!r}, expected a sequence of interpreters' paths")
    return [
        *(_Child(sys.executable, each) for each in hash_seeds),
        *(_Child(os.fspath(each), hash_seeds[0]) for each in python),
    ]


def _name_of(main: Any) -> str:
    """``module:qualname`` under which a fresh interpreter finds the same function."""
    module_name, name = getattr(main, "__module__", None), getattr(main, "__qualname__", None)
    if isinstance(module_name, str) and isinstance(name, str):
        module = sys.modules.get(module_name)
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is main or (found is not None and found == main):
            file = getattr(module, "__file__", None)
            if module_name != "__main__":
                return f"{module_name}:{name}"
            if file is not None:
                return f"{file}:{name}"
    told = f"{module_name}:{name}" if name else repr(main)
    raise ValueError(
        f"target: found {told}, which no other process can import by that name; expected a function "
        'at the top of a module, or "module:function"'
    )


def _packed(faults: FaultPlan | None) -> str | None:
    """A plan as text. Its garbage and errors are functions, so ``str`` does not say it all."""
    if faults is None:
        return None
    try:
        return base64.b64encode(pickle.dumps(dict(faults.points))).decode()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"faults: found garbage or errors that cannot be handed to another process ({error}), "
            "expected functions at the top of a module"
        ) from None


def _path(python: str) -> tuple[bool, list[str]]:
    """Whether the child's ``sys.path`` is replaced, and by what. Another Python keeps its own libraries."""
    entries = [os.path.abspath(entry) if entry else os.getcwd() for entry in sys.path]
    if python == sys.executable:
        return True, entries
    stock = [os.path.realpath(each) for each in sysconfig.get_paths().values() if each]
    stock += [os.path.realpath(os.path.dirname(os.__file__))]
    return False, [
        entry
        for entry in entries
        if not entry.endswith(".zip")
        and not any(f"{os.path.realpath(entry)}{os.sep}".startswith(f"{lib}{os.sep}") for lib in stock)
    ]


def _run(child: _Child, place: str, job: dict[str, Any], timeout: float) -> tuple[_Told, _Told]:
    """Run both runs of one child. Raises SimulationError."""
    whole, path = _path(child.python)
    given = json.dumps({**job, "place": place, "whole": whole, "path": path})
    command = [child.python, "-P", "-c", _BOOTSTRAP]
    environment = {**os.environ, "PYTHONHASHSEED": str(child.hash_seed)}
    name = job["target"]
    with open(f"{place}.err", "w+b") as errors:
        try:
            done = subprocess.run(
                command, input=given.encode(), stdout=subprocess.DEVNULL, stderr=errors, timeout=timeout,
                env=environment, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise SimulationError(
                f"{name}: found it not done after {timeout:g} real seconds ({child}), expected two runs of "
                f"it within that time; give it longer with timeout=, or look for what blocks{_tail(errors)}"
            ) from None
        except OSError as error:
            raise SimulationError(
                f"{name}: found {child.python!r} that does not start ({error}), expected an interpreter"
            ) from None
        try:
            with open(f"{place}.json", encoding="utf-8") as file:
                told = json.load(file)
        except FileNotFoundError:
            how = f"exit code {done.returncode}" if done.returncode >= 0 else f"signal {-done.returncode}"
            raise SimulationError(
                f"{name}: found the interpreter dead before it was done ({child}, {how}), expected two runs "
                f"of it{_tail(errors)}"
            ) from None
    if "problem" in told:
        raise SimulationError(f"{name}: {told['problem']}")
    first, second = (
        _Told(told["python"], run["digest"], run["ending"], run["trace"]) for run in told["runs"]
    )
    return first, second


def _tail(errors: Any) -> str:
    errors.seek(0)
    text = errors.read().decode("utf-8", "replace").rstrip()
    return f"; it has written:\n{text[-TOLD:]}" if text else ""


def _difference(one: _Told, other: _Told, names: tuple[object, object]) -> str:
    """The first event of two traces that differs, with those before it."""
    exact = one.python == other.python
    before = deque[_Event](maxlen=CONTEXT)
    for index, (left, right) in enumerate(zip_longest(one.events(), other.events())):
        if left is None or right is None or not _alike(left, right, exact=exact):
            kinds = {each and each[1] for each in (left, right)}
            what = "how it ends differs" if kinds == {"end"} else f"event {index} is the first that differs"
            lines = [f"  {what}; before it:" if before else f"  {what}:"]
            lines += [f"      {_line(event)}" for event in before]
            pair = shortened(*("" if each is None else each[2] for each in (left, right)))
            for name, event, text in zip(names, (left, right), pair, strict=True):
                told = "nothing more" if event is None else _line((event[0], event[1], text))
                lines.append(f"    {name}:\n      {told}")
            return "\n".join(lines)
        before.append(left)
    if one.ending == other.ending:
        return "  the traces are alike as a line is told: look for white space within a note or a task's name"
    pair = shortened(one.ending, other.ending)
    ends = [f"    {name}:\n      {text}" for name, text in zip(names, pair, strict=True)]
    return "\n".join(("  the traces are alike; how it ends differs:", *ends))


def _alike(left: _Event, right: _Event, *, exact: bool) -> bool:
    """True if two events are one. Pythons differ in which line of a long statement they call its own."""
    if exact or left[1] != "switch":
        return left == right
    return left[0] == right[0] and left[2].partition(" ")[0] == right[2].partition(" ")[0]


def _line(event: _Event) -> str:
    return str(TraceEvent(*event))


def shortened(one: str, other: str) -> tuple[str, str]:
    """Two texts, of each what is around their first difference if one is long."""
    if max(len(one), len(other)) <= LONG:
        return one, other
    pairs = enumerate(zip(one, other, strict=False))
    start = next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))
    begin, end = max(0, start - AROUND), start + 2 * AROUND

    def part(text: str) -> str:
        return ("…" if begin else "") + text[begin:end] + ("…" if end < len(text) else "")

    return part(one), part(other)
