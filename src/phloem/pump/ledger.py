"""Every accepted message and how it ended; what budgets a conversation has left, and who has spent them.

Decides when an entry may open and that it ends exactly once, and whether a call of a model may spend. All
changes are plain sync calls, so they are atomic under cancellation: whoever owns a message books it before
its next await, and whoever calls a model reserves before and settles after. What a delegation spends is
charged to the same conversation and call, so nobody below has more than is left above: budgets of a call
hold beside those of its conversation, and never in their stead. Tells an observer of budgets that are
nearly spent. Pure; the pump calls it, and who calls models reserves here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Final, Protocol, final

from phloem.errors import InternalError
from phloem.messages import AbandonedMessage, Cause, Ending, ShutdownReport

from .accounts import Account, Amount, Reservation, checked, money, nearly
from .conversation import Conversation, Delivery, Trail, Turn
from .observer import Observer
from .overruns import Level, Overrun, Short, over_counts, over_listener, repeating, short_of
from .repeats import Talk, further_talk
from .routing import Listener

__all__ = ["Ledger", "Overrun", "Reservation", "Short"]

_WHOLE: Final = ""  # whose account the conversation's own is; no listener has that key


class _Going(Protocol):
    """A payload that is about to go to one listener."""

    @property
    def listener(self) -> Listener: ...
    @property
    def text(self) -> str: ...

    talk: Talk | None


@final
class Ledger:
    """The books of one organism. ``accepted`` equals the five endings plus ``in_flight``, always.

    ``spending`` is what all calls of models have spent and hold reserved; nothing is, at the end.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.spending = Account()
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
        conversation = turn.conversation
        conversation.messages += 1
        counts = conversation.listener_messages
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

    # -- budgets --------------------------------------------------------------------------

    def over_budget(
        self, turn: Turn, takers: Sequence[Listener], count: int, hops: int, depth: int, trail: Trail | None
    ) -> Overrun | None:
        """Why these do not all fit into what the conversation has left, or None if they do.

        As ``overruns.over_counts``. Whoever is told that they fit opens them in the same stretch: what
        is nearly spent then is told of here.
        """
        conversation = turn.conversation
        near = (
            conversation.messages + count >= conversation.near_messages
            or hops >= turn.near_hops
            or depth >= turn.near_depth
            or turn.messages + count >= turn.near_messages
        )
        if near and (over := over_counts(turn, takers, count, hops, depth, trail)) is not None:
            return over
        for taker in takers:
            if taker.budgets.messages is not None:
                over = self._over_listeners(turn, takers, trail)
                if over is not None:
                    return over
                break
        if near:
            self._warn_counts(turn, count, hops, depth)
        return None

    def _over_listeners(self, turn: Turn, takers: Sequence[Listener], trail: Trail | None) -> Overrun | None:
        """The same of listeners whose messages are bounded."""
        conversation = turn.conversation
        asked = Counter(taker for taker in takers if taker.budgets.messages is not None)
        for taker, count in asked.items():
            if (over := over_listener(turn, taker, count, takers, trail)) is not None:
                return over
        for taker, count in asked.items():
            used, most = conversation.listener_messages.get(taker, 0) + count, taker.budgets.messages
            self._warn(conversation, conversation, "messages", used, most, "listener", taker.key)
        return None

    def over_repeats(
        self, delivery: Delivery, items: Sequence[_Going], *, tell: bool = True
    ) -> Overrun | None:
        """Why an agent may not say this: it and another agent have long had nothing new to say.

        Notes on each what was said on its way, for the delivery that it becomes. Messages of an agent to
        itself are its own loop, and hops bound that. ``tell``: the turn ends if they may not go.
        """
        most = delivery.turn.budgets.repeats
        if most is None or most == math.inf:
            return None
        sender = delivery.listener
        for item in items:
            taker = item.listener
            if not taker.is_agent or taker is sender:
                continue
            item.talk = further_talk(delivery.talk, sender.key, taker.key, item.text)
            if item.talk.run >= most:
                if tell:
                    self._observer.repeating(delivery, taker.key, item.talk.run)
                return repeating(delivery, taker, item.talk.run)
        return None

    def reserve(self, delivery: Delivery, tokens: int, cost: int) -> Reservation | Short:
        """Set that aside for one call of a model, ``cost`` in picos: at every level, or at none.

        Never a checkpoint. InternalError for what is not whole, or negative.
        """
        asked, levels = checked(tokens, cost), self._levels(delivery)
        short = short_of(delivery, levels, asked)
        if short is not None:
            return short
        accounts = (*(level.account for level in levels), self.spending)
        return Reservation(accounts, asked, partial(self._settled, delivery, levels))

    def _levels(self, delivery: Delivery) -> tuple[Level, ...]:
        conversation, listener = delivery.conversation, delivery.listener
        accounts = conversation.accounts
        if accounts is None:
            budgets = conversation.budgets
            accounts = conversation.accounts = {_WHOLE: Account(budgets.tokens, budgets.cost)}
        own = accounts.get(listener.key)
        if own is None:
            own = accounts[listener.key] = Account(listener.budgets.tokens, listener.budgets.cost)
        levels = (Level("conversation", accounts[_WHOLE]), Level("listener", own, listener.key))
        account = delivery.turn.account
        return levels if account is None else (*levels, Level("call", account))

    def _settled(self, delivery: Delivery, levels: Sequence[Level], reserved: Amount, used: Amount) -> None:
        """Tell of what was used beyond its reservation, and of what is nearly spent now."""
        conversation, key = delivery.conversation, delivery.listener.key
        tell = self._observer.budget_warning
        if used.tokens > reserved.tokens:
            tell(conversation, "tokens", used.tokens, reserved.tokens, "reservation", key)
        if used.cost > reserved.cost:
            tell(conversation, "cost", money(used.cost), money(reserved.cost), "reservation", key)
        if conversation.over:
            return
        for level in levels:
            account = level.account
            for what in account.now_near():
                if what == "tokens":
                    tell(conversation, what, account.tokens, account.token_limit, level.name, level.key)
                else:
                    limit = money(account.cost_limit)
                    tell(conversation, what, money(account.cost), limit, level.name, level.key)

    def _warn_counts(self, turn: Turn, count: int, hops: int, depth: int) -> None:
        conversation, own = turn.conversation, turn.budgets
        whole, each = conversation.budgets, "call" if conversation.lasting else "conversation"
        used = conversation.messages + count
        self._warn(conversation, conversation, "messages", used, whole.messages, "conversation")
        used = turn.messages + count
        self._warn(turn, conversation, "messages", used, turn.message_limit, "call")
        self._warn(turn, conversation, "hops", hops, own.hops, each)
        if own.depth is not None and (whole.depth is None or own.depth < whole.depth):
            self._warn(turn, conversation, "depth", depth, own.depth, "call")
        else:
            self._warn(turn, conversation, "depth", depth, whole.depth, "conversation")

    def _warn(
        self,
        owner: Turn | Conversation,
        conversation: Conversation,
        budget: str,
        used: int,
        limit: float | None,
        level: str,
        listener: str | None = None,
    ) -> None:
        """Tell once of a budget that is nearly spent; ``owner`` keeps that it was told."""
        told = budget if listener is None else f"{budget} {listener}"
        if limit is None or used < nearly(limit) or told in owner.warned:
            return
        owner.warned = owner.warned.union((told,))
        self._observer.budget_warning(conversation, budget, used, limit, level, listener)

    # -- reading --------------------------------------------------------------------------

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
