"""Claims of pump/accounts.py."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from phloem.errors import InternalError
from phloem.pump.accounts import PICOS, Account, Amount, Reservation, checked, money, nearly, picos


def hold(account: Account, tokens: int, cost: int = 0) -> Reservation:
    return Reservation([account], Amount(tokens, cost), lambda reserved, used: None)


def books(account: Account) -> tuple[int, int, int, int]:
    return account.tokens, account.reserved_tokens, account.cost, account.reserved_cost


# -- amounts ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cost", "whole"),
    [(0.1, PICOS // 10), (1, PICOS), (1e-12, 1), (1e-13, 0), (0.3, 3 * PICOS // 10), (1e30, 10**42)],
)
def test_money_is_held_exactly_as_it_is_written(cost: float, whole: int) -> None:
    assert picos(cost) == whole


def test_no_budget_of_money_is_no_limit() -> None:
    assert picos(None) == picos(math.inf) == math.inf
    assert money(PICOS // 4) == 0.25
    assert money(math.inf) == math.inf


@given(st.integers(1, 10**9))
def test_a_budget_is_nearly_spent_at_four_fifths_of_it_rounded_up(limit: int) -> None:
    assert nearly(limit) == -(-limit * 4 // 5)


@pytest.mark.parametrize("limit", [None, math.inf])
def test_what_has_no_limit_is_never_nearly_spent(limit: float | None) -> None:
    assert nearly(limit) == math.inf


@pytest.mark.parametrize(
    ("tokens", "cost"), [(-1, 0), (0, -1), (1.0, 0), (0, 1.5), (True, 0), ("1", 0), (None, 0), (math.nan, 0)]
)
def test_amounts_are_whole_and_not_negative(tokens: Any, cost: Any) -> None:
    with pytest.raises(InternalError, match="expected whole numbers from 0"):
        checked(tokens, cost)
    reservation = hold(Account(), 5)
    with pytest.raises(InternalError):
        reservation.settle(tokens, cost)
    reservation.settle(1, 1)


# -- one account ------------------------------------------------------------------------------
def test_what_is_spent_and_what_is_reserved_both_count_against_a_limit() -> None:
    account = Account(100, 1.0)
    hold(account, 60, PICOS // 2).settle(40, PICOS // 4)
    hold(account, 30, PICOS // 4)
    assert books(account) == (40, 30, PICOS // 4, PICOS // 4)
    assert account.left == (30, PICOS // 2)
    assert account.short_of(Amount(30, PICOS // 2)) is None
    assert account.short_of(Amount(31, 0)) == "tokens"
    assert account.short_of(Amount(0, PICOS // 2 + 1)) == "cost"
    assert account.never_fits(Amount(60, 0)) is None
    assert account.never_fits(Amount(61, 0)) == "tokens"
    assert account.never_fits(Amount(60, PICOS)) == "cost"


def test_an_account_without_limits_takes_everything() -> None:
    account = Account()
    assert account.short_of(Amount(10**30, 10**60)) is None
    assert account.left == (math.inf, math.inf)


def test_more_than_was_reserved_is_booked_and_nothing_is_left_then() -> None:
    told: list[tuple[Amount, Amount]] = []
    account = Account(100)
    reservation = Reservation([account], Amount(90, 0), lambda *both: told.append(both))
    reservation.settle(130, 5)
    assert books(account) == (130, 0, 5, 0)
    assert account.left == (0, math.inf)
    assert account.short_of(Amount(1, 0)) == "tokens"
    assert told == [((90, 0), (130, 5))]


def test_nearly_spent_is_said_once_for_tokens_and_once_for_cost() -> None:
    account = Account(10, 1.0)
    said = []
    for _ in range(10):
        account.spend(Amount(1, PICOS // 20))
        said.append(account.now_near())
    assert said == [[]] * 7 + [["tokens"]] + [[]] * 2
    account.spend(Amount(0, PICOS // 2))
    assert (account.now_near(), account.now_near()) == (["cost"], [])


# -- one reservation --------------------------------------------------------------------------
def test_release_is_idempotent_and_after_a_settlement_does_nothing() -> None:
    account = Account(100)
    first, second = hold(account, 10, 7), hold(account, 20, 9)
    for _ in range(3):
        first.release()
    second.settle(5, 3)
    second.release()
    assert books(account) == (5, 0, 3, 0)


def test_a_second_settlement_is_a_bug_and_books_nothing() -> None:
    account = Account(100)
    reservation = hold(account, 10)
    reservation.settle(5, 0)
    with pytest.raises(InternalError, match="settled twice"):
        reservation.settle(5, 0)
    assert books(account) == (5, 0, 0, 0)


def test_what_was_used_is_booked_after_a_release_too() -> None:
    account = Account(100)
    reservation = hold(account, 10)
    reservation.release()
    reservation.settle(4, 0)
    reservation.release()
    assert books(account) == (4, 0, 0, 0)


def test_a_settled_reservation_keeps_nothing_alive() -> None:
    account = Account(100)
    reservation = hold(account, 10)
    reservation.settle(1, 0)
    held = [getattr(reservation, name) for name in Reservation.__slots__]
    assert held == [(), (0, 0), False, None, (10, 0)]


# -- one that is spent of, try by try ---------------------------------------------------------
def test_each_try_takes_its_part_and_the_next_one_has_all_of_it_again() -> None:
    account = Account(100, 1.0)
    reservation = hold(account, 60, 7)
    reservation.spend(25, 3)
    assert books(account) == (25, 35, 3, 4)
    assert reservation.renew()
    assert books(account) == (25, 60, 3, 7)
    assert reservation.renew(), "nothing is lacking"
    reservation.spend(15, 0)
    assert books(account) == (40, 45, 3, 7)
    assert reservation.renew()
    reservation.spend(5, 1)
    reservation.release()
    assert books(account) == (45, 0, 4, 0)


@pytest.mark.parametrize("short", ["tokens", "cost"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_what_does_not_fit_at_every_level_is_not_renewed_at_any(level: int, short: str) -> None:
    accounts = [Account(1_000, 1_000 / PICOS) for _ in range(3)]
    setattr(accounts[level], "token_limit" if short == "tokens" else "cost_limit", 85)
    reservation = Reservation(accounts, Amount(60, 60), lambda reserved, used: None)
    reservation.spend(25, 25)
    assert reservation.renew(), "85 are all that there is"
    reservation.spend(1, 1)
    before = [books(account) for account in accounts]
    assert not reservation.renew()
    assert [books(account) for account in accounts] == before == [(26, 59, 26, 59)] * 3


def test_more_than_is_reserved_still_is_booked_and_told_each_time() -> None:
    told: list[tuple[Amount, Amount]] = []
    account = Account(100)
    reservation = Reservation([account], Amount(40, 0), lambda *both: told.append(both))
    reservation.spend(70, 5)
    assert books(account) == (70, 0, 5, 0)
    assert not reservation.renew()
    reservation.release()
    reservation.spend(1, 0)
    assert books(account) == (71, 0, 5, 0), "what was used was used"
    assert told == [((40, 0), (70, 5)), ((40, 0), (1, 0))]


def test_one_that_has_nothing_lacking_is_renewed_whatever_others_used() -> None:
    account = Account(100)
    reservation, other = hold(account, 50), hold(account, 50)
    other.settle(300, 0)
    assert reservation.renew()
    assert books(account) == (300, 50, 0, 0)


def test_one_that_has_ended_is_not_renewed_and_one_that_is_settled_not_spent_of() -> None:
    released, settled = hold(Account(), 5), hold(Account(), 5)
    released.release()
    settled.settle(1, 0)
    for ended in (released, settled):
        with pytest.raises(InternalError, match="renewed once it had ended"):
            ended.renew()
    with pytest.raises(InternalError, match="spent of once it was settled"):
        settled.spend(1, 0)


# -- any order --------------------------------------------------------------------------------
LIMITS = st.one_of(st.none(), st.integers(1, 60))
AMOUNTS = st.integers(0, 40)


class Accounts(RuleBasedStateMachine):
    """Two conversations of two calls and two listeners each: reserve, settle, release and end at random.

    Every settlement is within its reservation, so no limit is ever overshot; a model of the books that
    knows no levels must come to the same.
    """

    held: Bundle[Reservation] = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.accounts: dict[str, Account] = {"all": Account()}
        self.open: dict[Reservation, Amount] = {}
        self.spent: list[Amount] = []

    @rule(
        target=held,
        conversation=st.integers(0, 1),
        call=st.integers(0, 1),
        listener=st.integers(0, 1),
        asked=st.tuples(AMOUNTS, AMOUNTS),
        limits=st.tuples(*[LIMITS] * 6),
    )
    def reserve(
        self,
        conversation: int,
        call: int,
        listener: int,
        asked: tuple[int, int],
        limits: tuple[int | None, ...],
    ) -> Any:  # a Reservation; None if there was no room
        names = (f"{conversation}", f"{conversation} call {call}", f"{conversation} by {listener}")
        for name, tokens, cost in zip(names, limits[::2], limits[1::2], strict=True):
            if name not in self.accounts:
                self.accounts[name] = Account(tokens, None if cost is None else cost / PICOS)
        accounts, amount = [self.accounts[name] for name in (*names, "all")], Amount(*asked)
        if any(account.short_of(amount) for account in accounts):
            return None
        reservation = Reservation(accounts, amount, lambda reserved, used: None)
        self.open[reservation] = amount
        return reservation

    @rule(one=consumes(held), part=st.integers(0, 4), then=st.booleans())
    def settle(self, one: Reservation | None, part: int, then: bool) -> None:
        if one is None or one not in self.open:  # what was released has no room of its own any more
            return
        amount = self.open.pop(one)
        used = Amount(amount.tokens * part // 4, amount.cost * part // 4)
        one.settle(*used)
        self.spent.append(used)
        if then:
            one.release()

    @rule(one=held, part=st.integers(0, 4), renews=st.booleans())
    def spend(self, one: Reservation | None, part: int, renews: bool) -> None:
        if one is None or one not in self.open:
            return
        left = self.open[one]
        used = Amount(left.tokens * part // 4, left.cost * part // 4)
        one.spend(*used)
        self.spent.append(used)
        whole = renews and one.renew()
        self.open[one] = one.reserved if whole else Amount(left.tokens - used.tokens, left.cost - used.cost)

    @rule(one=held)
    def release(self, one: Reservation | None) -> None:
        if one is not None:
            one.release()
            self.open.pop(one, None)

    @rule(conversation=st.integers(0, 1))
    def end(self, conversation: int) -> None:
        """Its accounts are dropped, and a new conversation may come; what is held goes on by itself."""
        for name in [name for name in self.accounts if name.startswith(f"{conversation}")]:
            del self.accounts[name]

    @invariant()
    def no_limit_is_overshot(self) -> None:
        for account in self.accounts.values():
            assert account.tokens + account.reserved_tokens <= account.token_limit
            assert account.cost + account.reserved_cost <= account.cost_limit
            assert min(books(account)) >= 0

    @invariant()
    def the_organism_has_what_all_have(self) -> None:
        held, account = self.open.values(), self.accounts["all"]
        assert books(account) == (
            sum(used.tokens for used in self.spent),
            sum(amount.tokens for amount in held),
            sum(used.cost for used in self.spent),
            sum(amount.cost for amount in held),
        )

    def teardown(self) -> None:
        for one in self.open:
            one.release()
        assert books(self.accounts["all"])[1::2] == (0, 0)


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
