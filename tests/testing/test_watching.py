"""The watch over a pump: told a thing that must not be, it says which, whoever told it.

In each test a message is at its handler, which hangs; then the watch is told something wrong about it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets, OrganismConfig
from phloem.messages import Cause, ConversationState, Ending, HandlerMetadata, Outcome
from phloem.organism import Organism
from phloem.pump.conversation import Delivery
from phloem.testing.invariants import check_pump, open_watched_organism
from phloem.testing.sim import simulate
from support.listeners import HANG, SLOW, Ask

CONFIG = OrganismConfig(
    "watched", [HANG, SLOW], max_in_flight=1, max_concurrent_handlers=1, budgets=Budgets(messages=10)
)
CAUSE = Cause("killed", "as the test wants it")
Tells = Callable[[Any, Delivery], object]


def found(tells: Tells) -> str:
    """Everything that is found in a run in which the pump's observer is told so."""

    async def main() -> None:
        async with open_watched_organism(CONFIG) as organism:
            receipt = await organism.send(Ask("x"), to="hang")
            await trio.testing.wait_all_tasks_blocked()
            (turn,) = organism._core.conversations[receipt.conversation].turns.values()
            (delivery,) = turn.live
            before = {name: getattr(delivery, name) for name in ("id", "ending", "cut", "entered")}
            id, messages = delivery.conversation.id, delivery.conversation.messages
            tells(organism._pump.observer, delivery)
            for name, value in before.items():
                setattr(delivery, name, value)
            delivery.conversation.id, delivery.conversation.messages = id, messages
            await organism.kill(receipt.conversation)

    result = simulate(main)
    assert isinstance(result.failure, AssertionError), result.failure
    with pytest.raises(AssertionError) as caught:
        check_pump(result)
    return str(caught.value)


def ends(observer: Any, delivery: Delivery) -> None:
    """The conversation is said to have ended."""
    outcome = Outcome(delivery.conversation.id, ConversationState.COMPLETED)
    observer.conversation_ended(delivery.conversation, outcome)


def changed(thing: object, **values: Any) -> None:
    for name, value in values.items():
        setattr(thing, name, value)


def told(*calls: Callable[[Any, Delivery], object]) -> Tells:
    """One after the other."""

    def tell(observer: Any, delivery: Delivery) -> None:
        for call in calls:
            call(observer, delivery)

    return tell


def renamed(_: Any, delivery: Delivery) -> None:
    delivery.conversation.id = "other"


def charged(messages: int) -> Callable[[Any, Delivery], object]:
    return lambda _, delivery: changed(delivery.conversation, messages=messages)


def handled(_: Any, delivery: Delivery) -> None:
    delivery.ending = Ending.HANDLED


def ended(observer: Any, delivery: Delivery) -> None:
    observer.ended(delivery, None)


def dispatched(observer: Any, delivery: Delivery) -> None:
    observer.dispatched(delivery)


@pytest.mark.parametrize(
    ("tells", "what"),
    [
        (dispatched, "was dispatched while its handler was at work; expected one attempt at a time"),
        (lambda o, d: o.conversation_started(d.conversation), "began twice"),
        (ends, "ended completed while "),
        (ends, "ended completed with 1 of its handlers at work"),
        (told(charged(0), ends), "was charged 0 messages; expected 1 or more"),
        (told(charged(11), ends), "spent 11 messages; expected at most 10"),
        (told(ends, dispatched), "after the end of its conversation; expected nothing then"),
        (told(ends, handled, ended), "ended handled after its conversation; expected it to end before"),
        (told(lambda o, _: o.phase("stopping"), dispatched), "while the organism was stopping; expected"),
        (lambda o, _: o.phase("open"), "the organism was open and then open; expected them in the order of"),
        (lambda o, _: o.phase("closed"), "the organism was closed while the handlers of"),
        (told(handled, ended), "ended handled while its handler was at work; expected that to have left"),
        (told(handled, ended, dispatched), "was dispatched after it had ended handled; expected one end"),
        (told(lambda _, d: changed(d, cut=CAUSE), handled, ended), "ended handled, though it was cut"),
        (told(lambda _, d: changed(d, entered=0), handled, ended), "handled, and no handler was entered"),
        (lambda o, d: o.retrying(d, CAUSE, 1.0), "is tried a 2. time; expected 0 retries"),
        (lambda o, d: o.retrying(d, CAUSE, 1.0), "was to be tried again while its handler was at work"),
        (told(lambda _, d: changed(d.scope, deadline=math.inf), dispatched), "given until inf; expected 300"),
        (told(lambda _, d: changed(d, scope=None), dispatched), "was given until no time; expected 300"),
        (told(lambda _, d: changed(d, id="other-2"), dispatched), "which "),
        (
            told(lambda _, d: changed(d, id="other-2", cause_id="unheard-1"), dispatched),
            "message other-2 was caused by unheard-1, which nobody has heard of",
        ),
        (
            told(renamed, lambda o, d: o.conversation_started(d.conversation)),
            "2 conversations live; expected at most 1, one for a seat",
        ),
        (
            told(renamed, lambda o, d: o.conversation_started(d.conversation)),
            "conversation other has not ended after open_organism was left",
        ),
    ],
)
def test_what_must_not_be_is_found(tells: Tells, what: str) -> None:
    assert what in found(tells)


def test_a_handler_too_many_is_found() -> None:
    async def main() -> None:
        async with open_watched_organism(CONFIG) as organism, trio.open_nursery() as nursery:
            nursery.start_soon(organism.send, Ask("x"), "hang")
            await trio.testing.wait_all_tasks_blocked()
            (conversation,) = organism._core.conversations.values()
            (delivery,) = conversation.turns[1].live
            id, delivery.id = delivery.id, "other-2"
            organism._pump.observer.dispatched(delivery)
            delivery.id = id
            with trio.move_on_after(1):
                await organism.listeners["slow"].handler(
                    Ask("x"), HandlerMetadata("", "", message_id="other-2")
                )
            await organism.kill(conversation.id)

    with pytest.raises(AssertionError, match="2 handlers were at work; expected at most 1"):
        check_pump(simulate(main))


def test_a_handler_that_outlasts_its_organism_is_found_when_it_is_left_and_when_it_goes() -> None:
    async def forged(organism: Organism) -> None:
        await organism.listeners["slow"].handler(Ask("x"), HandlerMetadata("", "", message_id="other-2"))

    async def main() -> None:
        async with trio.open_nursery() as nursery, open_watched_organism(CONFIG) as organism:
            receipt = await organism.send(Ask("x"), to="hang")
            await trio.testing.wait_all_tasks_blocked()
            (delivery,) = organism._core.conversations[receipt.conversation].turns[1].live
            id, delivery.id = delivery.id, "other-2"
            organism._pump.observer.dispatched(delivery)
            delivery.id = id
            nursery.start_soon(forged, organism)  # noqa: ASYNC111 - it stays longer than it may
            await trio.testing.wait_all_tasks_blocked()
            await organism.kill(receipt.conversation)

    async def whole() -> None:
        try:
            await main()
        except* AssertionError:
            pass

    with pytest.raises(AssertionError) as caught:
        check_pump(simulate(whole))
    told = str(caught.value)
    assert "the handler of other-2 (hang) is at work after open_organism was left; expected none" in told
    assert "the handler of other-2 was at work after open_organism was left; expected none" in told
