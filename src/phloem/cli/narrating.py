"""One line for each message that ends, as a person follows an organism at work.

Decides the words: ``from → to  payload  ms``, what an answer to a stranger looks like, and that a message
that did not end well says how and why. Whatever others wrote is made harmless and cut. Counts conversations
for the exit code; keeps nothing of a message that has ended. An observer of the pump; ``serving`` owns it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

from phloem.contract import encode
from phloem.messages import SYSTEM, Cause, Clock, ConversationState, Ending, Fault, Huh, HuhCode, Outcome
from phloem.pump.conversation import Conversation, Delivery

from .exit_codes import ExitCode, Tally
from .terminal.harmless import clipped, one_line, width_of

__all__ = ["Narrator"]

PIPE_WIDTH: Final = 200  # columns: a pipe has no width of its own, and most payloads are shorter
LEAST: Final = 16  # columns of a payload, however narrow the terminal
MOST_NAME: Final = 128  # characters of an address that nobody has checked; no name is longer
MOST_REASON: Final = 300  # characters; a fault with its ten parts would be a page
ARROW: Final = "→"


@final
class Narrator:
    """Says each line to ``say``. ``width`` gives the columns there are at the moment, None for a pipe."""

    def __init__(self, say: Callable[[str], None], width: Callable[[], int | None], clock: Clock) -> None:
        self._say, self._width, self._clock = say, width, clock
        self.tally = Tally()
        self._entered: dict[str, float] = {}  # messages that a handler has -> since when
        self._told: dict[str, int] = {}  # live conversations -> answers at the root that have their line

    # -- what the pump tells --------------------------------------------------------------------

    def conversation_started(self, conversation: Conversation) -> None:
        """Its messages have the lines."""

    def conversation_ended(self, conversation: Conversation, outcome: Outcome) -> None:
        """A line for one that was cut as a whole: why stands in none of its messages' lines for sure."""
        self._told.pop(conversation.id, None)
        if conversation.sender == SYSTEM:
            return
        self.tally.add(outcome)
        cause = outcome.cause
        if cause is not None and outcome.state in (
            ConversationState.TIMED_OUT,
            ConversationState.OUT_OF_BUDGET,
        ):
            self._tell(conversation.sender, f"all of {conversation.id}", "", _why(outcome.state, cause.text))

    def dispatched(self, delivery: Delivery) -> None:
        """From its first attempt on the time runs."""
        if delivery.entered == 1 and delivery.conversation.sender != SYSTEM:
            self._entered[delivery.id] = self._clock.monotonic()

    def ended(self, delivery: Delivery, cause: Cause | None) -> None:
        """A line for the message, and one for each answer that its listener gave to the stranger."""
        conversation = delivery.conversation
        if conversation.sender == SYSTEM:
            return
        now = self._clock.monotonic()
        since = self._entered.pop(delivery.id, None)
        end = "" if since is None else _milliseconds(now - since)
        if delivery.ending is not Ending.HANDLED:
            assert delivery.ending is not None
            why = _why(delivery.ending.value, "" if cause is None else cause.text)
            end = f"{end}  {why}" if end else why
        self._tell(delivery.sender, delivery.listener.key, delivery.text, end)
        answers = delivery.turn.payloads
        for answer in answers[self._told.get(conversation.id, 0) :]:
            age = _milliseconds(now - conversation.started)
            self._tell(delivery.listener.key, conversation.sender, encode(answer), age)
        if answers:
            self._told[conversation.id] = len(answers)

    def refused(
        self, conversation: Conversation, sender: str, huh: Huh, detail: str, sent_by: Delivery | None
    ) -> None:
        """A line for what was refused, with the words its sender got; where nobody takes it, with more.

        A sender is not told who is there. Who runs the organism may know, and needs it.
        """
        said = detail if huh.code == HuhCode.ROUTING else _fault(huh)
        self._tell(sender, "", huh.original, _why("rejected", f"{huh.path}: {said}"))

    def unread(self, sender: str, fault: Fault) -> None:
        """A line for what in a source was no message; for the exit code it was rejected."""
        self.tally.codes.add(ExitCode.UNDELIVERED)
        self._tell(sender, "", "", _why("rejected", f"{fault.path}: {_fault(fault)}"))

    def unseen(self, *_: Any, **__: Any) -> None:
        """It has no line, or the log has it."""

    buried = raised = step_raised = retrying = claim_ignored = mended = unseen
    broke = waiting = overslept = held_up = phase = dropped = unseen
    call_started = call_ended = budget_warning = repeating = unseen

    # -- lines ----------------------------------------------------------------------------------

    def _tell(self, sender: str, to: str, payload: str, end: str) -> None:
        head = one_line(f"{sender[:MOST_NAME]} {ARROW} {to[:MOST_NAME] or '?'}")
        tail = f"  {one_line(end)}" if end else ""
        width = self._width() or PIPE_WIDTH
        room = max(LEAST, width - width_of(head) - 2 - width_of(tail))
        body = clipped(one_line(payload[: 4 * PIPE_WIDTH]), room)
        self._say(f"{head}  {body}{tail}\n" if body else f"{head}{tail}\n")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"


def _why(what: str, text: str) -> str:
    what = what.replace("_", " ")
    if len(text) > MOST_REASON:
        text = text[: MOST_REASON - 1] + "…"
    return f"{what}: {text}" if text else what


def _fault(fault: Huh | Fault) -> str:
    return f"found {fault.found}, expected {fault.expected}"
