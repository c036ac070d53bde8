"""The exit code follows from what was counted, and the worst of several is told."""

from __future__ import annotations

import signal

import pytest

from phloem.cli.exit_codes import PRECEDENCE, ExitCode, Tally, code_of_outcome, exit_code
from phloem.messages import Cause, ConversationState, DeadLetter, Huh, Outcome

HUH = Huh("type", "/A", "x", "y", 0, "")
CAUSE = Cause("handler", "it raised", "a", "LookupError")
LETTER = DeadLetter("m", "c", "a", "b", "handler", CAUSE, "<A/>")


def outcome(
    state: ConversationState, cause: Cause | None = None, rejections: tuple[Huh, ...] = ()
) -> Outcome:
    return Outcome("c", state, cause, (), rejections)


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (outcome(ConversationState.COMPLETED), ExitCode.COMPLETED),
        (outcome(ConversationState.COMPLETED, rejections=(HUH,)), ExitCode.COMPLETED),  # and mended
        (outcome(ConversationState.FAILED, Cause("rejected", "a part of it was")), ExitCode.UNDELIVERED),
        (outcome(ConversationState.REJECTED, rejections=(HUH,)), ExitCode.UNDELIVERED),
        (outcome(ConversationState.FAILED, CAUSE), ExitCode.FAILED),
        (outcome(ConversationState.FAILED), ExitCode.FAILED),
        (outcome(ConversationState.CANCELLED), ExitCode.FAILED),
        (outcome(ConversationState.DRAINED), ExitCode.FAILED),
        (outcome(ConversationState.TIMED_OUT), ExitCode.DEADLINE),
        (
            outcome(ConversationState.FAILED, Cause("deadline", "a overran its deadline", "a")),
            ExitCode.DEADLINE,
        ),
        (outcome(ConversationState.FAILED, Cause("handler", "…", "a", "WouldDeadlock")), ExitCode.DEADLINE),
        (outcome(ConversationState.OUT_OF_BUDGET), ExitCode.BUDGET),
    ],
)
def test_each_ending_has_its_code(ended: Outcome, code: ExitCode) -> None:
    assert code_of_outcome(ended) is code


def test_of_two_codes_the_one_before_the_other_wins() -> None:
    assert [int(code) for code in PRECEDENCE] == [143, 130, 2, 4, 3, 1, 5]
    for rank, stronger in enumerate(PRECEDENCE):
        for weaker in PRECEDENCE[rank:]:
            assert exit_code(Tally(codes={weaker, stronger, ExitCode.COMPLETED})) is stronger


@pytest.mark.parametrize(
    ("received", "code"),
    [
        ((signal.SIGINT,), 130),
        ((signal.SIGTERM,), 143),
        ((signal.SIGINT, signal.SIGTERM), 143),
        ((signal.SIGINT, signal.SIGINT), 130),
    ],
)
def test_a_signal_shows_even_when_all_completed(received: tuple[signal.Signals, ...], code: int) -> None:
    tally = Tally()
    tally.add(outcome(ConversationState.COMPLETED))
    assert exit_code(tally, signals=received) == code


def test_a_dead_letter_of_a_completed_conversation_is_never_zero_unless_allowed() -> None:
    tally = Tally()
    tally.add(Outcome("c", ConversationState.COMPLETED, dead_letters=(LETTER,)))
    assert exit_code(tally) == 5
    assert exit_code(tally, allow_dead_letters=True) == 0
    assert exit_code(Tally(), dead_letters=1) == 5
    assert exit_code(Tally(), dead_letters=1, allow_dead_letters=True) == 0


def test_allowing_dead_letters_forgives_nothing_else() -> None:
    tally = Tally()
    tally.add(Outcome("c", ConversationState.FAILED, CAUSE, dead_letters=(LETTER,)))
    tally.add(outcome(ConversationState.REJECTED, rejections=(HUH,)))
    assert exit_code(tally, allow_dead_letters=True) == 1
    rejected = Tally()
    rejected.add(outcome(ConversationState.REJECTED, rejections=(HUH,)))
    assert exit_code(rejected, allow_dead_letters=True) == 5


def test_nothing_counted_is_success() -> None:
    assert exit_code(Tally()) == 0


def test_a_tally_counts_states_letters_and_refused_parts() -> None:
    tally = Tally()
    tally.add(Outcome("c", ConversationState.COMPLETED, rejections=(HUH, HUH), dead_letters=(LETTER,)))
    tally.add(outcome(ConversationState.REJECTED, rejections=(HUH,)))
    assert (tally.total, tally.dead_letters, tally.refused) == (2, 1, 2)
