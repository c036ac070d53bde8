"""Every accepted message and how it ended; what budgets a conversation has left.

Decides when an entry may open and that it ends exactly once. All changes are plain sync
calls, so they are atomic under cancellation: whoever owns a message books it before its
next await. Pure; the pump alone calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from phloem.errors import InternalError
from phloem.messages import AbandonedMessage, Cause, Ending, ShutdownReport

from .conversation import Delivery, Trail, Turn, cycle_of
from .routing import Listener

__all__ = ["Ledger", "Overrun", "over_budget"]

LISTED: Final = 20  # names in one sentence; all are counted


@final
class Ledger:
    """The books of one organism. ``accepted`` equals the five endings plus ``in_flight``, always."""

    def __init__(self) -> None:
        self.accepted = 0
        self.in_flight = 0
        self.refused = 0  # of the accepted, those that ended as they were accepted
        self.endings: dict[Ending, int] = dict.fromkeys(Ending, 0)
        self.abandoned_by: dict[str, int] = {}
        self.by_listener: dict[str, dict[Ending, int]] = {}
        self._cut_by_shutdown: list[AbandonedMessage] = []

    def open(self, delivery: Delivery) -> None:
        """It is ours from here on."""
        turn, listener = delivery.turn, delivery.listener
        turn.live[delivery] = None
        turn.messages += 1
        turn.conversation.messages += 1
        if listener.budgets.messages is not None:
            counts = turn.conversation.listener_messages
            counts[listener] = counts.get(listener, 0) + 1
        self.accepted += 1
        self.in_flight += 1

    def close(self, delivery: Delivery, ending: Ending, cause: Cause | None = None) -> None:
        """It has ended, in this way and no other."""
        if delivery.ending is not None:
            raise InternalError(f"message {delivery.id} ended {delivery.ending} and then {ending}")
        delivery.ending = ending
        del delivery.turn.live[delivery]
        self._count(delivery.listener.key, ending)
        self.in_flight -= 1
        if ending is Ending.ABANDONED:
            reason = "unknown" if cause is None else cause.reason
            self.abandoned_by[reason] = self.abandoned_by.get(reason, 0) + 1
            if reason == "shutdown":
                state = "running" if delivery.handled else "queued"
                row = AbandonedMessage(delivery.id, delivery.listener.key, delivery.contract.tag, state)
                self._cut_by_shutdown.append(row)

    def refuse(self, turn: Turn, ending: Ending, cause: Cause | None = None, *, key: str = "") -> None:
        """Book a message that ends as it is accepted: nothing of it will ever be in flight.

        ``key``: the listener it was for, or that sent it where there is none. An ingress that does
        not fit the budgets is one such message, however many payloads it has.
        """
        turn.messages += 1
        turn.conversation.messages += 1
        self.accepted += 1
        self.refused += 1
        self._count(key, ending)
        if ending is Ending.ABANDONED and cause is not None:
            self.abandoned_by[cause.reason] = self.abandoned_by.get(cause.reason, 0) + 1

    def report(self) -> ShutdownReport:
        """The books as they stand."""
        ends = self.endings
        return ShutdownReport(
            accepted=self.accepted,
            handled=ends[Ending.HANDLED],
            rejected=ends[Ending.REJECTED],
            undeliverable=ends[Ending.UNDELIVERABLE],
            failed=ends[Ending.FAILED],
            abandoned=ends[Ending.ABANDONED],
            abandoned_messages=tuple(self._cut_by_shutdown),
            in_flight=self.in_flight,
        )

    def _count(self, key: str, ending: Ending) -> None:
        self.endings[ending] += 1
        counts = self.by_listener.get(key)
        if counts is None:
            counts = self.by_listener[key] = dict.fromkeys(Ending, 0)
        counts[ending] += 1


@final
@dataclass(frozen=True, slots=True)
class Overrun:
    """A budget that was asked for more than it has. ``whole``: the conversation ends, not its turn only."""

    cause: Cause
    whole: bool


def over_budget(
    turn: Turn, takers: Sequence[Listener], count: int, hops: int, depth: int, trail: Trail | None
) -> Overrun | None:
    """Why these do not all fit into what the conversation has left, or None if they do.

    ``count`` messages are to be opened, of which ``takers`` would get one each, ``hops`` from
    the ingress, on threads of ``depth``; ``trail`` is where they come from.
    """
    conversation, budgets = turn.conversation, turn.budgets
    most = conversation.budgets.messages
    if most is not None and conversation.messages + count > most:
        return _overrun("messages", f"{conversation.messages} of {most} messages", takers, trail, whole=True)
    most = conversation.budgets.depth
    if most is not None and depth > most:
        return _overrun("depth", f"all {most} levels of threads", takers, trail, whole=True)
    if budgets.depth is not None and depth > budgets.depth:
        used = f"all {budgets.depth} levels of threads of this call"
        return _overrun("depth", used, takers, trail, whole=False)
    most = turn.message_limit
    if most is not None and turn.messages + count > most:
        used = f"{turn.messages} of {most} messages of this call"
        return _overrun("messages", used, takers, trail, whole=False)
    if budgets.hops is not None and hops > budgets.hops:
        return _overrun("hops", f"all {budgets.hops} hops", takers, trail, whole=False)
    asked: dict[Listener, int] = {}
    for taker in takers:
        most = taker.budgets.messages
        if most is None:
            continue
        asked[taker] = asked.get(taker, 0) + 1
        spent = conversation.listener_messages.get(taker, 0)
        if spent + asked[taker] > most:
            used = f"{spent} of {most} messages for {taker.key!r}"
            return _overrun("messages", used, takers, trail, whole=True)
    return None


def _overrun(
    what: str, used: str, takers: Sequence[Listener], trail: Trail | None, *, whole: bool
) -> Overrun:
    names = [taker.key for taker in takers]
    listed = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
    text = (
        f"out of budget ({what}): {used} were spent when {len(names)} more came up, for {listed or 'nobody'}"
    )
    cycle = cycle_of(trail)
    if cycle:
        text += f"; these repeat: {' > '.join((*cycle, cycle[0]))}"
    return Overrun(Cause("budget", text, trail[0] if trail else None), whole)
