"""What is said of a budget that does not suffice: which one, used of how much, by whom, and who asked.

Decides whether counted messages, hops and levels fit, which level a reservation falls short at, and the
words of the cause that ends a turn or a conversation for it. Pure: reads the records and changes
nothing; ``ledger`` alone calls it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Final, NamedTuple, final

from phloem.messages import Cause

from .accounts import Account, Amount, money
from .conversation import Delivery, Trail, Turn, cycle_of
from .routing import Listener

__all__ = ["Level", "Overrun", "Short", "over_counts", "over_listener", "repeating", "short_of"]

LISTED: Final = 20  # names in one sentence; all are counted
SPENDERS: Final = 3  # the biggest ones; whoever comes after them is not what went wrong


@final
@dataclass(frozen=True, slots=True)
class Overrun:
    """A budget that was asked for more than it has. ``whole``: the conversation ends, not its turn only."""

    cause: Cause
    whole: bool


@final
@dataclass(frozen=True, slots=True)
class Short:
    """A reservation that is refused, and nothing of it was reserved.

    ``what``: tokens or cost. ``left_tokens`` and ``left_cost`` (picos) would fit now, beside the other
    reservations; ``math.inf`` where nothing bounds them. ``later``: it would fit were those given back.
    ``overrun`` is for ``Core.overrun``, of whoever does not wait for that.
    """

    what: str
    left_tokens: float
    left_cost: float
    later: bool
    overrun: Overrun


class Level(NamedTuple):
    """One account that a call of a model is charged to. ``name``: conversation, call or listener."""

    name: str
    account: Account
    key: str | None = None

    @property
    def scope(self) -> str:
        """As texts say whose budget it is."""
        if self.key is not None:
            return f" for {self.key!r}"
        return " of this call" if self.name == "call" else ""


def over_counts(
    turn: Turn, takers: Sequence[Listener], count: int, hops: int, depth: int, trail: Trail | None
) -> Overrun | None:
    """Why these do not fit the budgets of their conversation and call, or None if they do.

    ``count`` messages are to be opened, of which ``takers`` would get one each, ``hops`` from
    the ingress, on threads of ``depth``; ``trail`` is where they come from.
    """
    conversation, budgets = turn.conversation, turn.budgets
    most = conversation.budgets.messages
    if most is not None and conversation.messages + count > most:
        return _counted(turn, "messages", f"{conversation.messages} of {most} messages", takers, trail, True)
    most = conversation.budgets.depth
    if most is not None and depth > most:
        return _counted(turn, "depth", f"all {most} levels of threads", takers, trail, True)
    if budgets.depth is not None and depth > budgets.depth:
        used = f"all {budgets.depth} levels of threads of this call"
        return _counted(turn, "depth", used, takers, trail, False)
    most = turn.message_limit
    if most is not None and turn.messages + count > most:
        used = f"{turn.messages} of {most} messages of this call"
        return _counted(turn, "messages", used, takers, trail, False)
    if budgets.hops is not None and hops > budgets.hops:
        return _counted(turn, "hops", f"all {budgets.hops} hops", takers, trail, False)
    return None


def over_listener(
    turn: Turn, taker: Listener, asked: int, takers: Sequence[Listener], trail: Trail | None
) -> Overrun | None:
    """The same of the messages that one listener may have in a conversation, if that is bounded."""
    most = taker.budgets.messages
    spent = turn.conversation.listener_messages.get(taker, 0)
    if most is None or spent + asked <= most:
        return None
    used = f"{spent} of {most} messages for {taker.key!r}"
    return _counted(turn, "messages", used, takers, trail, True)


def short_of(delivery: Delivery, levels: Sequence[Level], asked: Amount) -> Short | None:
    """Why a call of a model does not fit what these levels have left, or None if it does."""
    now = [(level, what) for level in levels if (what := level.account.short_of(asked))]
    if not now:
        return None
    never = [(level, what) for level in levels if (what := level.account.never_fits(asked))]
    level, what = (never or now)[0]
    left = [each.account.left for each in levels]
    cause = Cause("budget", _spent(delivery, level, what, asked), delivery.listener.key)
    return Short(
        what,
        min(each[0] for each in left),
        min(each[1] for each in left),
        not never,
        Overrun(cause, level.name != "call"),
    )


def repeating(delivery: Delivery, taker: Listener, run: int) -> Overrun:
    """Two agents have nothing new to say to each other: the turn ends."""
    key = delivery.listener.key
    text = (
        f"out of budget (repeats): {run} of {delivery.turn.budgets.repeats:g} messages in a row between "
        f"{key} and {taker.key} had nothing new in them"
    )
    return Overrun(Cause("repeats", text + _cycle((taker.key, delivery.trail)), key), whole=False)


def _counted(
    turn: Turn, what: str, used: str, takers: Sequence[Listener], trail: Trail | None, whole: bool
) -> Overrun:
    names = [taker.key for taker in takers]
    listed = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
    asker = None if trail is None else trail[0]
    text = (
        f"out of budget ({what}): {used} were spent when {len(names)} more came up"
        f"{f' from {asker}' if asker else ''}, for {listed or 'nobody'}"
    )
    handed = turn.conversation.listener_messages
    text += _most("most went to", ((listener.key, count) for listener, count in handed.items()))
    return Overrun(Cause("budget", text + _cycle(trail), asker), whole)


def _spent(delivery: Delivery, level: Level, what: str, asked: Amount) -> str:
    account, tokens, asker = level.account, what == "tokens", delivery.listener.key
    spent, held, limit, more = (
        (account.tokens, account.reserved_tokens, account.token_limit, asked.tokens)
        if tokens
        else (account.cost, account.reserved_cost, account.cost_limit, asked.cost)
    )
    text = (
        f"out of budget ({what}): {_amount(spent, what)} spent and {_amount(held, what)} reserved of "
        f"{_amount(limit, what)}{level.scope} when {asker} asked for {_amount(more, what)} more"
    )
    spenders = (
        (key, each.tokens + each.reserved_tokens if tokens else each.cost + each.reserved_cost)
        for key, each in (delivery.conversation.accounts or {}).items()
        if key
    )
    return text + _most("most by", spenders, what)


def _most(how: str, spenders: Iterable[tuple[str, int]], what: str = "tokens") -> str:
    biggest = nlargest(SPENDERS, ((key, count) for key, count in spenders if count), lambda each: each[1])
    named = ", ".join(f"{key} ({_amount(count, what)})" for key, count in biggest)
    return f"; {how} {named}" if named else ""


def _amount(amount: float, what: str) -> str:
    return f"{money(amount):.6g}" if what == "cost" else str(amount)


def _cycle(trail: Trail | None) -> str:
    cycle = cycle_of(trail)
    return f"; these repeat: {' > '.join((*cycle, cycle[0]))}" if cycle else ""
