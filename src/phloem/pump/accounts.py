"""What calls of models may spend, level by level: spent, reserved, and the limit that holds both.

Decides whether an amount fits one level beside everything else that is reserved there, that what was used
of a reservation is booked in its place, and that the rest of it is given back once. Tokens are whole, money
is whole trillionths of its unit (picos): sums of floats would drift, and never come back to nothing. Pure
and sync, so atomic under cancellation: no queue, no task, no clock, no conversation. ``ledger`` alone opens
accounts and reserves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, NamedTuple, final

from phloem.config import BUDGET_WARNING
from phloem.errors import InternalError

__all__ = ["PICOS", "Account", "Amount", "Reservation", "money", "nearly", "picos"]

PICOS: Final = 10**12  # of one unit of money; the cheapest token of today costs some ten thousand of them


class Amount(NamedTuple):
    """Tokens, and picos of money."""

    tokens: int
    cost: int


def picos(cost: float | None) -> float:
    """A budget of money as whole picos, exactly as it is written; ``math.inf`` for none."""
    if cost is None or cost == math.inf:
        return math.inf
    return int(Decimal(str(cost)) * PICOS)


def money(cost: float) -> float:
    """Picos as money."""
    return cost / PICOS


def nearly(limit: float | None) -> float:
    """From where on a budget is nearly spent; ``math.inf`` for none. At most the limit, rounded up."""
    return math.inf if limit is None or limit == math.inf else math.ceil(limit * BUDGET_WARNING)


@final
class Account:
    """One level: a conversation, a call or a listener in a conversation; the whole organism has no limits.

    ``spent + reserved <= limit`` always, but for what was used beyond its reservation. ``warned`` holds
    what its owner has told of.
    """

    __slots__ = (
        "cost",
        "cost_limit",
        "reserved_cost",
        "reserved_tokens",
        "token_limit",
        "tokens",
        "warned",
    )

    def __init__(self, token_limit: float | None = None, cost: float | None = None) -> None:
        """``cost`` is money, as budgets have it; inside, all is picos."""
        self.token_limit: float = math.inf if token_limit is None else token_limit
        self.cost_limit = picos(cost)
        self.tokens = self.cost = 0
        self.reserved_tokens = self.reserved_cost = 0
        self.warned: frozenset[str] = frozenset()

    @property
    def left(self) -> tuple[float, float]:
        """Tokens and picos that would fit now; never less than nothing."""
        tokens = self.token_limit - self.tokens - self.reserved_tokens
        return max(tokens, 0), max(self.cost_limit - self.cost - self.reserved_cost, 0)

    def short_of(self, asked: Amount) -> str | None:
        """``tokens`` or ``cost`` if it does not fit now, else None."""
        if self.tokens + self.reserved_tokens + asked.tokens > self.token_limit:
            return "tokens"
        if self.cost + self.reserved_cost + asked.cost > self.cost_limit:
            return "cost"
        return None

    def never_fits(self, asked: Amount) -> str | None:
        """``tokens`` or ``cost`` if it would not fit were all reservations given back, else None."""
        if self.tokens + asked.tokens > self.token_limit:
            return "tokens"
        return "cost" if self.cost + asked.cost > self.cost_limit else None

    def hold(self, amount: Amount) -> None:
        """Reserve it; whoever calls has asked whether it fits."""
        self.reserved_tokens += amount.tokens
        self.reserved_cost += amount.cost

    def drop(self, amount: Amount) -> None:
        """Give it back."""
        self.reserved_tokens -= amount.tokens
        self.reserved_cost -= amount.cost

    def spend(self, amount: Amount) -> None:
        """Book what was used, whatever the limits say."""
        self.tokens += amount.tokens
        self.cost += amount.cost

    def now_near(self) -> list[str]:
        """Of ``tokens`` and ``cost``, what is nearly spent and was not when this was asked before."""
        near = [
            what
            for what, spent, limit in (
                ("tokens", self.tokens, self.token_limit),
                ("cost", self.cost, self.cost_limit),
            )
            if what not in self.warned and spent and spent >= nearly(limit)
        ]
        if near:
            self.warned = self.warned.union(near)
        return near


@final
class Reservation:
    """Tokens and money set aside for one call of a model, at every level at once.

    Settle it with what the call has used, and release it in ``finally``: both work whatever has ended
    meanwhile, and once it is settled it keeps nothing alive. A call that may be tried several times spends
    instead, once for each try, and renews before the next one. Sync; never a checkpoint.
    """

    __slots__ = ("_accounts", "_held", "_open", "_settled", "reserved")

    def __init__(
        self, accounts: Sequence[Account], amount: Amount, settled: Callable[[Amount, Amount], None]
    ) -> None:
        """``settled`` is told what was reserved and what was used, whenever that is booked."""
        for account in accounts:
            account.hold(amount)
        self.reserved = amount
        self._accounts: Sequence[Account] = accounts
        self._held = amount  # of it, what nothing was spent of
        self._open = True  # neither settled nor released
        self._settled: Callable[[Amount, Amount], None] | None = settled

    def settle(self, tokens: int, cost: int) -> None:
        """Book what was used (``cost`` in picos) in its place; more than was reserved is booked as well.

        Once: InternalError for a second time, and for less than nothing. After ``release`` it is booked
        all the same: what was used was used.
        """
        used = checked(tokens, cost)
        told, self._settled = self._settled, None
        if told is None:
            raise InternalError("a reservation was settled twice; expected once")
        accounts = self._accounts
        self._give_back()
        for account in accounts:
            account.spend(used)
        self._accounts = ()
        told(self.reserved, used)

    def spend(self, tokens: int, cost: int) -> None:
        """Book what one try has used (``cost`` in picos); so much less is reserved then, at most all of it.

        As often as there are tries. After ``release`` it is booked all the same. InternalError after
        ``settle``, and for less than nothing.
        """
        used = checked(tokens, cost)
        if self._settled is None:
            raise InternalError("a reservation was spent of once it was settled; expected before")
        held = self._held
        gone = Amount(min(used.tokens, held.tokens), min(used.cost, held.cost))
        for account in self._accounts:
            account.drop(gone)
            account.spend(used)
        self._held = Amount(held.tokens - gone.tokens, held.cost - gone.cost)
        self._settled(self.reserved, used)

    def renew(self) -> bool:
        """Reserve again what was spent of it, at every level at once: another try may use as much.

        False, and nothing has changed, if it does not fit somewhere. InternalError once it has ended.
        """
        if not self._open:
            raise InternalError("a reservation was renewed once it had ended; expected before")
        held = self._held
        lacks = Amount(self.reserved.tokens - held.tokens, self.reserved.cost - held.cost)
        if not any(lacks):
            return True
        if any(account.short_of(lacks) for account in self._accounts):
            return False
        for account in self._accounts:
            account.hold(lacks)
        self._held = self.reserved
        return True

    def release(self) -> None:
        """Give back what was never used. Idempotent."""
        self._give_back()

    def _give_back(self) -> None:
        self._open = False
        held, self._held = self._held, Amount(0, 0)
        for account in self._accounts:
            account.drop(held)


def checked(tokens: int, cost: int) -> Amount:
    """Whole and not negative, or InternalError: floats would not come back to nothing."""
    amount = Amount(tokens, cost)
    if not all(type(each) is int and each >= 0 for each in amount):
        raise InternalError(f"found {tokens!r} tokens and a cost of {cost!r}, expected whole numbers from 0")
    return amount
