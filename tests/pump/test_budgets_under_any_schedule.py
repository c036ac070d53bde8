"""Budgets of messages and tokens under any schedule, with faults, kills and stops wherever they fit.

Handlers reserve, wait, settle and fail as calls of models do. Never is more spent and reserved than a
limit says, at no level and at no moment; at the end nothing is reserved, and each conversation has ended
once, in one way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

import pytest
import trio

from phloem.config import Budgets, OrganismConfig
from phloem.errors import PhloemError
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Receipt, SystemError
from phloem.organism import Organism
from phloem.pump.accounts import Account
from phloem.pump.dispatch import running_delivery
from phloem.pump.ledger import Short
from phloem.testing import (
    FaultPlan,
    check_pump,
    current_run,
    explore,
    open_simulated_organism,
    sometimes,
    sweep,
)
from support.listeners import Ask, Reply, listener
from support.simulating import runs

WORKERS: Final = 32
TOKENS: Final = 1000
FAULTS: Final = FaultPlan.parse("handler=raise,hang:0.3:0.05")
OWN: Final = 300  # tokens of one of the listeners in a conversation


class CallFailed(Exception):
    """What a provider answers now and then."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Hundreds of organisms in which everything goes wrong have nothing to tell."""
    log = logging.getLogger("phloem")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)


class World:
    """One organism with a hub that delegates to many, and what must never be."""

    def __init__(self, *, messages: int, states: bool = True) -> None:
        """``states``: which states come up is noted; one seed alone need not meet them all."""
        run = current_run()
        assert run is not None
        self.random, self.messages = Random(run.random.getrandbits(64)), messages
        self.organism: Organism | None = None
        self.sometimes: Callable[[object, str], object] = sometimes if states else lambda _, __: None
        self.broken: list[str] = []  # a handler that raises it would only have failed
        self.most: dict[str, float] = {}  # level -> the most that was ever spent and reserved there

    def of(self, *values: Any) -> Any:
        return self.random.choice(values)

    def look(self, conversation: Any, account: Account | None) -> None:
        """No account of the running conversation has more than its limit."""
        for key, each in [*(conversation.accounts or {}).items(), ("the call", account)]:
            if each is not None:
                used = each.tokens + each.reserved_tokens
                if used > each.token_limit or min(each.tokens, each.reserved_tokens) < 0:
                    self.broken.append(f"{used} of {each.token_limit} tokens ({key or 'all'})")
                self.most[key] = max(self.most.get(key, 0), used)

    async def call(self) -> None:
        """As a model is called: reserve, wait, settle; it may fail, be cut, or not fit."""
        delivery = running_delivery()
        assert delivery is not None
        core: Any = delivery.conversation.core
        reservation = core.ledger.reserve(delivery, self.of(40, 90, 150), 0)
        self.look(delivery.conversation, delivery.turn.account)
        if isinstance(reservation, Short):
            self.sometimes(reservation.later, "a call would have fitted later")
            self.sometimes(not reservation.later, "a call never fits any more")
            core.overrun(delivery.turn, reservation.overrun)
            await trio.lowlevel.checkpoint()
            return
        try:
            await trio.sleep(self.of(0, 0.01, 1, 30))
            if self.of(*[False] * 9, True):
                raise CallFailed
            reservation.settle(self.of(0, 1, reservation.reserved.tokens), 0)
            self.look(delivery.conversation, delivery.turn.account)
        finally:
            reservation.release()

    async def work(self, payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await self.call()
        return HandlerResponse.respond(Reply("done"))

    async def delegate(self, payload: Any, metadata: HandlerMetadata) -> Any:
        """All at once, or one by one: then each task is a part of its own."""
        if not isinstance(payload, Ask):
            return None
        await self.call()
        names = [f"w{n % 4}" for n in range(WORKERS)]
        return [HandlerResponse(Ask("part"), to=name) for name in names[: self.of(1, 3, WORKERS)]]

    def config(self) -> OrganismConfig:
        bound = {"max_concurrent": self.of(None, 5), "handler_timeout": self.of(5.0, 60.0)}
        workers = [
            listener(
                f"w{n}",
                Ask,
                self.work,
                is_agent=True,
                retries=self.of(0, 1),
                budgets=Budgets(tokens=OWN) if n == 0 else None,
                **bound,
            )
            for n in range(4)
        ]
        hub = listener(
            "hub",
            [Ask, Reply, SystemError],
            self.delegate,
            is_agent=True,
            peers=[f"w{n}" for n in range(4)],
        )
        return OrganismConfig(
            "budgets",
            [hub, *workers],
            budgets=Budgets(tokens=TOKENS, messages=self.messages),
            max_concurrent_handlers=self.of(3, 100),
            shutdown_grace=self.of(0.0, 5.0, 1000.0),
        )

    async def run(self) -> None:
        async with open_simulated_organism(self.config()) as organism:
            self.organism = organism
            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(self.stranger, number)
                if self.of(False, False, True):
                    await trio.sleep(self.of(0, 1))
                    await organism.shutdown(self.of(0, 10))

    async def stranger(self, number: int) -> None:
        assert self.organism is not None
        try:
            if number == 0:
                async with self.organism.open_conversation() as conversation:
                    own = Budgets(tokens=self.of(None, 200), messages=self.of(None, 4))
                    for _ in range(2):
                        await self.organism.wait(await conversation.send(Ask("x"), to="hub", budgets=own))
                return
            receipt: Receipt = await self.organism.send(Ask("x"), to="hub")
            if self.of(False, False, True):
                await trio.sleep(self.of(0, 0.5))
                await self.organism.kill(receipt.conversation)
            outcome = await self.organism.wait(receipt)
            self.sometimes(
                outcome.state is ConversationState.OUT_OF_BUDGET, "a conversation was out of budget"
            )
            self.sometimes(outcome.state is ConversationState.FAILED, "a conversation failed")
        except PhloemError:
            return

    def check(self) -> None:
        assert self.organism is not None
        core = self.organism._core
        assert self.broken == []
        assert core.ledger.spending.reserved_tokens == 0
        for key, used in self.most.items():
            assert used <= (OWN if key == "w0" else TOKENS)


async def many_parts(*, states: bool = True) -> None:
    """Messages enough for all: tokens run out."""
    world = World(messages=1000, states=states)
    try:
        await world.run()
    finally:
        if world.organism is not None:
            world.check()


async def few_messages() -> None:
    """Five messages, and 32 parts of work."""
    world = World(messages=5)
    try:
        await world.run()
    finally:
        if world.organism is not None:
            world.check()
            handled = world.organism.statistics()["messages"]["accepted"]
            assert handled <= 1 + 4 * 6, "Boot, and five of each conversation, one refused"


@pytest.mark.parametrize("main", [many_parts, few_messages])
def test_no_budget_is_overshot_and_nothing_stays_reserved_under_any_schedule(main: Any) -> None:
    report = explore(main, runs=runs(120), check=check_pump, faults=FAULTS)
    assert report.passed
    if main is many_parts:
        assert report.never == ()


async def one_seed() -> None:
    await many_parts(states=False)


@pytest.mark.parametrize("seed", [1, 5])
def test_and_wherever_it_is_cut_nothing_stays_reserved(seed: int) -> None:
    report = sweep(one_seed, cancel="every-site", seed=seed, check=check_pump)
    assert report.passed
    assert report.cancels > 20
