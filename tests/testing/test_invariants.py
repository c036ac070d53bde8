"""The oracle over a pump: silent about one that keeps its promises, and by name about each that is broken.

Broken ones are made by hand: a test reaches into an organism and takes, gives back or tells what the pump
itself never would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets, OrganismConfig
from phloem.events import AgentEvent
from phloem.messages import Cause, ConversationState, HandlerMetadata, HandlerResponse, Outcome
from phloem.organism import Organism
from phloem.pump.accounts import Amount
from phloem.testing.invariants import (
    Violation,
    check_pump,
    left_behind,
    open_watched_organism,
)
from phloem.testing.sim import simulate
from support.flows import step
from support.listeners import BACK, HANG, ONE, SLOW, Ask, Reply, listener

CONFIG = OrganismConfig("watched", [BACK, HANG, SLOW, ONE, step("front", "back")], shutdown_grace=0.0)
Breaks = Callable[[Organism], Awaitable[None]]


def main_of(breaks: Breaks, config: OrganismConfig = CONFIG) -> Callable[[], Awaitable[Organism]]:
    """A program that opens an organism, has it broken in the block, and leaves it."""

    async def main() -> Organism:
        async with open_watched_organism(config) as organism:
            await breaks(organism)
        return organism

    return main


def violations(breaks: Breaks, config: OrganismConfig = CONFIG) -> tuple[str, ...]:
    """What is found; raised where the block is left, and found by the oracle after the run as well."""
    result = simulate(main_of(breaks, config), seed=1)
    assert isinstance(result.failure, Violation), result.failure
    with pytest.raises(Violation) as caught:
        check_pump(result)
    assert caught.value.violations == result.failure.violations
    notes = [event.text for event in result.trace if event.kind == "note"]
    assert notes == [f"broken promise: {what}" for what in caught.value.violations]
    return caught.value.violations


async def ask(organism: Organism) -> None:
    assert await organism.ask(Ask("x"), to="front") == Reply("x")


# -- nothing is broken --------------------------------------------------------------------------


def test_an_organism_that_keeps_its_promises_breaks_none() -> None:
    async def use(organism: Organism) -> None:
        await ask(organism)
        await organism.send(Ask("x"), to="hang")
        with trio.move_on_after(1):
            await organism.ask(Ask("x"), to="slow")

    result = simulate(main_of(use))
    assert left_behind(result.unwrap()) == []
    check_pump(result)
    assert result.found == ()


async def test_it_watches_outside_of_simulations_too() -> None:
    async def use(organism: Organism) -> None:
        await ask(organism)
        organism._pump.slots.enter(object())

    with pytest.raises(Violation, match="limiter tokens on loan"):
        await main_of(use)()


def test_a_handler_may_write_to_its_metadata() -> None:
    async def write(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        metadata.message_id = "mine now"
        return HandlerResponse.respond(payload)

    async def use(organism: Organism) -> None:
        assert await organism.ask(Ask("x"), to="writer") == Ask("x")

    check_pump(simulate(main_of(use, OrganismConfig("x", [listener("writer", Ask, write)]))))


# -- books, seats and tokens ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("breaks", "found"),
    [
        (lambda organism: organism._pump.slots.enter(object()), "2 limiter tokens on loan after"),
        (lambda organism: setattr(organism._pump.intake, "free_seats", 999), "1 seats are held by nobody"),
        (
            lambda organism: setattr(organism._core.ledger, "accepted", organism._core.ledger.accepted + 1),
            "1 messages accepted that have no ending after",
        ),
        (lambda organism: setattr(organism._core.memory.census, "live", 3), "3 threads in the census after"),
        (
            lambda organism: organism._core.ledger.abandoned_by.update(shutdown=1),
            "messages cut by the stop that the report does not list",
        ),
        (
            lambda organism: organism._core.ledger.spending.hold(Amount(70, 0)),
            "70 tokens reserved for calls of models after",
        ),
        (
            lambda organism: organism._core.ledger.spending.hold(Amount(0, 7)),
            "7 picos reserved for calls of models after",
        ),
    ],
)
def test_what_is_left_behind_is_named(breaks: Callable[[Organism], Any], found: str) -> None:
    async def use(organism: Organism) -> None:
        breaks(organism)

    assert any(what.startswith(found) or found in what for what in violations(use))


@pytest.mark.parametrize(
    ("owner", "name", "value", "found"),
    [
        (lambda organism: organism, "threads", ("t",), "1 live threads after"),
        (lambda organism: organism, "todos", ("t",), "1 open todos after"),
        (lambda organism: organism._pump.intake, "waiting", 1, "1 strangers waiting for a seat after"),
        (lambda organism: organism._pump.intake, "parsing", 1, "1 documents being parsed after"),
        (lambda organism: organism._pump.intake, "closed", False, "the way in is open after"),
    ],
)
def test_each_thing_that_may_be_left_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
    owner: Callable[[Organism], object],
    name: str,
    value: object,
    found: str,
) -> None:
    organism = simulate(main_of(ask)).unwrap()
    assert left_behind(organism) == []
    monkeypatch.setattr(type(owner(organism)), name, property(lambda _: value), raising=False)
    (what,) = left_behind(organism)
    assert what.startswith(found)


def test_a_seat_too_many_is_found_while_it_is_used_and_as_the_block_is_left() -> None:
    async def use(organism: Organism) -> None:
        for _ in range(2):
            await organism.send(Ask("x"), to="hang")
        organism._pump.intake.give_back()
        organism._pump.intake.give_back()
        await organism.send(Ask("x"), to="hang")

    config = OrganismConfig("seats", [BACK, HANG], max_in_flight=3, shutdown_grace=0.0)
    assert violations(use, config) == (
        "1 seats are held by 3 conversations; expected one by each",
        "2 seats too many are free; expected each to be given back once",
    )


def test_a_count_of_refused_messages_that_is_too_high_is_found() -> None:
    async def use(organism: Organism) -> None:
        await ask(organism)
        organism._core.ledger.refused += 1

    (found,) = violations(use)
    assert found == ("4 messages ended and 1 were refused; expected 4 in all, as many as were accepted")


def test_an_end_of_the_organism_that_nobody_is_told_of_is_found() -> None:
    async def use(organism: Organism) -> None:
        organism._pump.observer.phase = lambda name: None  # type: ignore[method-assign]

    (found,) = violations(use)
    assert "the pump never said that it was closed" in found


def test_books_that_do_not_add_up_are_found_at_the_next_end() -> None:
    async def use(organism: Organism) -> None:
        organism._core.ledger.in_flight += 1
        await ask(organism)
        organism._core.ledger.in_flight -= 1

    assert all("the books had" in what for what in violations(use))


# -- ends -----------------------------------------------------------------------------------------


def test_a_conversation_that_ends_twice_is_found_by_the_watch_and_on_the_bus() -> None:
    async def use(organism: Organism) -> None:
        receipt = await organism.send(Ask("x"), to="hang")
        conversation = organism._core.conversations[receipt.conversation]
        await organism.kill(receipt.conversation)
        ended = Outcome(conversation.id, ConversationState.COMPLETED)
        organism._pump.observer.conversation_ended(conversation, ended)

    first, second = violations(use)
    assert "ended completed, and had ended before; expected one end" in first
    assert "1 times that conversation" in second
    assert "2 times that it ended" in second


def test_a_message_that_ends_twice_is_found() -> None:
    async def use(organism: Organism) -> None:
        async with organism.open_conversation() as block:
            await block.send(Ask("x"), to="hang")
            (turn,) = organism._core.conversations[block.id].turns.values()
            (delivery,) = turn.live
            await organism.kill(block.id)
            organism._pump.observer.ended(delivery, Cause("killed", "again"))

    assert any("ended twice, the second time abandoned" in what for what in violations(use))


def test_an_end_told_on_the_bus_by_nobody_is_found() -> None:
    async def use(organism: Organism) -> None:
        receipt = await organism.send(Ask("x"), to="back")
        await organism.wait(receipt)
        forged = AgentEvent(
            "execution_failed", "watched", execution_id=receipt.conversation, data={"state": "failed"}
        )
        organism.events.emit(forged)

    (found,) = violations(use)
    assert "2 times that it ended" in found


def test_a_dispatch_told_on_the_bus_after_the_end_is_found() -> None:
    async def use(organism: Organism) -> None:
        receipt = await organism.send(Ask("x"), to="back")
        await organism.wait(receipt)
        for id in (receipt.conversation, "somebody-elses"):
            organism.events.emit(AgentEvent("node_loop_iteration", "watched", execution_id=id))

    (found,) = violations(use)
    assert "was told of a dispatch of conversation" in found
    assert "after its end; expected nothing then" in found


def test_an_outcome_that_belies_a_cut_is_found() -> None:
    async def use(organism: Organism) -> None:
        receipt = await organism.send(Ask("x"), to="hang")
        (turn,) = organism._core.conversations[receipt.conversation].turns.values()
        await trio.testing.wait_all_tasks_blocked()
        organism._core.cut(turn, ConversationState.TIMED_OUT, Cause("killed", "and not by time"))
        await organism.wait(receipt)

    assert any(
        "ended timed_out, though it was cut (killed); expected cancelled" in what for what in violations(use)
    )


# -- handlers -------------------------------------------------------------------------------------


def test_a_handler_entered_without_a_dispatch_is_found() -> None:
    async def use(organism: Organism) -> None:
        metadata = HandlerMetadata("no thread", "nobody", message_id="forged-1")
        await organism.listeners["back"].handler(Ask("x"), metadata)

    assert violations(use) == (
        "a handler was entered with forged-1 without a dispatch of its own; expected one for each",
    )


def test_work_after_return_is_found_by_the_oracle() -> None:
    async def main() -> None:
        async with open_watched_organism(CONFIG) as organism:
            handler = organism.listeners["back"].handler
        await handler(Ask("x"), HandlerMetadata("no thread", "nobody", message_id="late-1"))

    result = simulate(main)
    assert result.failure is None
    with pytest.raises(Violation, match="entered with late-1 after open_organism was left; expected no work"):
        check_pump(result)


def test_two_dispatches_on_one_thread_and_one_too_many_are_found() -> None:
    async def use(organism: Organism) -> None:
        async with organism.open_conversation() as block:
            await block.send(Ask("x"), to="one")
            await trio.testing.wait_all_tasks_blocked()
            conversation = organism._core.conversations[block.id]
            (turn,) = conversation.turns.values()
            (delivery,) = turn.live
            id, delivery.id = delivery.id, f"{block.id}-99"
            organism._pump.observer.dispatched(delivery)
            metadata = HandlerMetadata("no thread", "nobody", message_id=delivery.id)
            with trio.move_on_after(1):
                await organism.listeners["one"].handler(Ask("x"), metadata)
            delivery.id = id
            await organism.kill(block.id)

    found = "\n".join(violations(use))
    assert "which" in found
    assert "expected one" in found
    assert "2 handlers of one were at work; expected at most 1 (max_concurrent)" in found


def test_a_dispatch_after_its_kill_is_found() -> None:
    async def use(organism: Organism) -> None:
        receipt = await organism.send(Ask("x"), to="hang")
        (turn,) = organism._core.conversations[receipt.conversation].turns.values()
        turn.cut = Cause("killed", "though nothing of it stops")
        await trio.testing.wait_all_tasks_blocked()
        turn.cut = None

    assert any(
        "was dispatched after it was cut (killed); expected it abandoned" in what for what in violations(use)
    )


# -- budgets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (Budgets(messages=1), "2 messages; expected at most 1 (its budget)"),
        (Budgets(depth=1), "2 levels of threads; expected at most 1 (its budget)"),
    ],
)
def test_a_budget_that_is_overshot_is_found(changed: Budgets, found: str) -> None:
    """The watch reads the budget when the message is dispatched; the pump had another when it let it pass."""

    async def use(organism: Organism) -> None:
        async with organism.open_conversation() as block:
            await block.send(Ask("x"), to="front")
            conversation = organism._core.conversations[block.id]
            before = conversation.budgets
            real = organism._core.ledger.open

            def opened(delivery: Any) -> None:
                real(delivery)
                conversation.budgets = changed.over(before)

            organism._core.ledger.open = opened  # type: ignore[method-assign]
            await trio.sleep(1)
            conversation.budgets = before

    assert any(found in what for what in violations(use))


def test_a_dispatch_long_after_its_time_is_found() -> None:
    async def use(organism: Organism) -> None:
        receipt = await organism.send(Ask("x"), to="slow", budgets=Budgets(seconds=1))
        (turn,) = organism._core.conversations[receipt.conversation].turns.values()
        await trio.testing.wait_all_tasks_blocked()
        turn.timer.deadline = float("inf")
        turn.timer.cancel()
        await trio.sleep(2)
        (delivery,) = turn.live
        organism._pump.observer.dispatched(delivery)
        await organism.kill(receipt.conversation)

    assert any("1 s after its conversation's time was over" in what for what in violations(use))
