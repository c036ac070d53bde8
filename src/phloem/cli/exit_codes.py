"""Which number the command ends with. Pure: decides from what was counted, never prints or exits.

Each command counts its outcomes in a ``Tally`` and asks ``exit_code`` at its end.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, final

from phloem.messages import ConversationState, Outcome

__all__ = ["ExitCode", "Tally", "code_of_outcome", "exit_code"]


@final
class ExitCode(IntEnum):
    """What a shell is told. Of several that apply, the first of ``PRECEDENCE`` wins."""

    COMPLETED = 0
    FAILED = 1  # a handler or agent failed
    USAGE = 2  # usage, configuration, or a file that cannot be read or written
    BUDGET = 3
    DEADLINE = 4  # a deadline passed, or a handler would have waited for itself
    UNDELIVERED = 5  # rejected messages, dead letters
    INTERRUPTED = 130  # after SIGINT, even when all was drained
    TERMINATED = 143  # after SIGTERM, even when all was drained


PRECEDENCE: Final = (
    ExitCode.TERMINATED,
    ExitCode.INTERRUPTED,
    ExitCode.USAGE,
    ExitCode.DEADLINE,
    ExitCode.BUDGET,
    ExitCode.FAILED,
    ExitCode.UNDELIVERED,
)

_OF_STATE: Final = {
    ConversationState.COMPLETED: ExitCode.COMPLETED,
    ConversationState.REJECTED: ExitCode.UNDELIVERED,
    ConversationState.FAILED: ExitCode.FAILED,
    ConversationState.CANCELLED: ExitCode.FAILED,  # without a signal only a handler can have killed it
    ConversationState.TIMED_OUT: ExitCode.DEADLINE,
    ConversationState.OUT_OF_BUDGET: ExitCode.BUDGET,
    ConversationState.DRAINED: ExitCode.FAILED,  # without a signal only a handler can have shut down
}
_OF_SIGNAL: Final = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}
_DEADLOCK: Final = "WouldDeadlock"


@final
@dataclass(slots=True)
class Tally:
    """What a run has seen so far: outcomes by state, dead letters, and the codes that apply."""

    states: dict[ConversationState, int] = field(default_factory=dict[ConversationState, int])
    dead_letters: int = 0
    refused: int = 0  # rejections within conversations that otherwise went on
    codes: set[ExitCode] = field(default_factory=set[ExitCode])

    @property
    def total(self) -> int:
        return sum(self.states.values())

    def add(self, outcome: Outcome) -> None:
        """Count one message's end. Never a checkpoint."""
        self.states[outcome.state] = self.states.get(outcome.state, 0) + 1
        self.dead_letters += len(outcome.dead_letters)
        if outcome.state is not ConversationState.REJECTED:
            self.refused += len(outcome.rejections)
        self.codes.add(code_of_outcome(outcome))

    def add_expected(self, outcome: Outcome) -> None:
        """Count the end of a message that says what it expects: how it ended makes no exit code."""
        self.states[outcome.state] = self.states.get(outcome.state, 0) + 1


def code_of_outcome(outcome: Outcome) -> ExitCode:
    """What one outcome alone would make the command end with, dead letters aside."""
    cause = outcome.cause
    if outcome.state is ConversationState.FAILED and cause is not None:
        if cause.reason == "deadline" or cause.exception == _DEADLOCK:
            return ExitCode.DEADLINE
        if cause.reason == "rejected":  # a part of the message itself; what agents mended is no failure
            return ExitCode.UNDELIVERED
    return _OF_STATE[outcome.state]


def exit_code(
    tally: Tally,
    *,
    signals: tuple[signal.Signals, ...] = (),
    dead_letters: int = 0,
    allow_dead_letters: bool = False,
) -> ExitCode:
    """The command's exit code.

    ``dead_letters`` are those known from elsewhere than the outcomes (the shutdown report).
    ``allow_dead_letters`` forgives dead letters of conversations that completed, nothing else.
    """
    codes = tally.codes | {_OF_SIGNAL.get(each, ExitCode.TERMINATED) for each in signals}
    if (tally.dead_letters or dead_letters) and not allow_dead_letters:
        codes.add(ExitCode.UNDELIVERED)
    return next((code for code in PRECEDENCE if code in codes), ExitCode.COMPLETED)
