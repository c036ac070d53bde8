"""The report of a failed run, for people: what failed, how to have it again, who ran when.

Decides the words, and which part of a long trace is shown. Pure.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, cast, final

from phloem.errors import ConfigurationError

from .injecting import FaultPlan
from .report import Report
from .result import Result, ending, leaves
from .sites import is_own, scrubbed

__all__ = ["Found", "preemptions", "text_of"]

SHOWN: Final = 60  # lines of an interleaving, from its end: what led to the failure stands there
LONGEST: Final = 10_000  # characters of a failure's text: a deadlock of some hundred tasks
CAUSES: Final = 5  # of an error, each the cause of the one before it; a circle of them has no end
WIDEST: Final = 300  # characters of a line of an interleaving


@final
@dataclass(frozen=True, slots=True)
class Found:
    """A failure, shrunk and had again."""

    report: Report
    program: str
    result: Result  # the smallest that fails
    failure: BaseException
    first: Result  # as it was found
    shrunk_in: int  # runs
    replays: bool
    fair: str
    plan: FaultPlan | None
    command: Callable[[str], str] | None
    max_steps: int | None = None  # if it is not what it is where nobody says it


def preemptions(schedule: tuple[int, ...]) -> int:
    """How often a schedule does not go on with the task that ran."""
    return sum(map(bool, schedule))


def text_of(found: Found) -> str:
    """The report."""
    text = "\n".join(_lines(found))
    return text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair cannot be printed


def _lines(found: Found) -> Iterator[str]:
    result, first, token = found.result, found.first, found.result.token
    how = f"run {found.report.runs}" + (f" of {found.report.planned}" if found.report.planned else "")
    yield f"{found.report.kind} of {found.program} failed in {how} ({first.strategy})"
    yield _cut(f"failure: {ending(None, found.failure).removeprefix('raised ')}", LONGEST)
    yield f"seed {result.seed}"
    yield f"token {token}"
    yield f"again: {_again(found) if found.command is None else found.command(token)}"
    for cut in result.cuts:
        yield f"cut: {cut}"
    if found.plan is not None:
        yield f"faults planned: {found.plan}"
        yield from (f"fault fired: {each}" for each in result.faults)
    yield (
        f"schedule: {preemptions(result.schedule)} preemptions in {result.steps} steps (found with "
        f"{preemptions(first.schedule)} in {first.steps}; shrunk in {found.shrunk_in} runs)"
    )
    if found.fair:
        yield f"reachable with fair batches: {found.fair}"
    if not found.replays:
        yield "NOT REPRODUCED: the same seed did not do the same twice; check_determinism and audit say where"
    yield from _interleaving(result)
    yield from _raised(found.failure)


def _again(found: Found) -> str:
    """The call that does it again, with all that no token says."""
    words = [found.program.rpartition(".")[2], f"replay={found.result.token!r}"]
    if found.plan is not None:
        words.append(f"faults={_written(found.plan)}")
    if found.max_steps is not None:
        words.append(f"max_steps={found.max_steps}")
    return f"simulate({', '.join(words)})"


def _written(plan: FaultPlan) -> str:
    """The plan where its text says all of it; garbage and errors are functions, and no text can say them."""
    try:
        whole = FaultPlan.parse(str(plan)) == plan
    except ConfigurationError:
        whole = False
    return f"FaultPlan.parse({str(plan)!r})" if whole else "plan"


def _interleaving(result: Result) -> Iterator[str]:
    told = [event for event in result.trace if event.kind != "exit"]
    if not told:
        return
    left_out = len(told) - SHOWN
    yield "interleaving:" + (f" (the last {SHOWN} of {len(told)} lines)" if left_out > 0 else "")
    yield from (_cut(f"  {event}", WIDEST) for event in told[-SHOWN:])


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} characters more)"


def _raised(failure: BaseException) -> Iterator[str]:
    """The tracebacks of what was raised, and of what caused it, as far as they are in the program's code."""
    for error in leaves(failure):
        yield from _traceback(error)
        for cause in _causes(error):
            yield _cut(f"caused by {ending(None, cause).removeprefix('raised ')}", LONGEST)
            yield from _traceback(cause)
    yield from (_cut(f"note: {scrubbed(note)}", LONGEST) for note in _notes(failure))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What it was raised from, and that from, and so on; of a group, each of its errors."""
    for _ in range(CAUSES):
        if error.__cause__ is None:
            return
        behind = list(leaves(error.__cause__))
        yield from behind
        error = behind[-1]


def _traceback(error: BaseException) -> Iterator[str]:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    if frames:
        yield f"traceback of {type(error).__name__} (own code only, most recent call last):"
        for line in traceback.format_list(frames):
            yield scrubbed(line.rstrip("\n"))


def _notes(error: BaseException) -> Iterator[str]:
    """Those of a group, too: what its leftovers were is noted there."""
    notes: object = getattr(error, "__notes__", None)
    if isinstance(notes, list):
        yield from (note for note in cast("list[object]", notes) if isinstance(note, str))
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _notes(each)
