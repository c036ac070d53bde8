"""``tap``, ``sample``, ``transform``, ``expand``: who looks changes nothing, who changes is validated."""

from __future__ import annotations

import random
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest
import trio

from phloem.config import OrganismConfig
from phloem.errors import ConversationFailed, NoResponse
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.pump.pipeline import Pipeline
from phloem.pump.ready_made import expand, reject_if, sample, tap, transform
from phloem.testing import open_watched_organism
from support.listeners import BACK, Ask, Note, Reply, drop, listener
from support.pipelines import ASK, DEFAULT, Told, counts, open_piped


@dataclass
class Order:
    pieces: int

    def __post_init__(self) -> None:
        if self.pieces < 0:
            raise ValueError("fewer than none")


async def price(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)


ORDERS = listener("orders", Order, price)


def decoded(step: Any) -> list[Pipeline]:
    return [DEFAULT.after("decode", step, name="mine"), DEFAULT.before("dispatch", step, name="mine")]


async def cause_of(pipeline: Pipeline, payload: Any = None) -> str:
    """Ask for what must fail there, and for something else to see that others go on."""
    told = Told()
    async with open_piped(pipeline, ORDERS, BACK, observer=told) as organism:
        with pytest.raises(ConversationFailed) as failed:
            await organism.ask(Order(1) if payload is None else payload)
        assert failed.value.outcome.state is ConversationState.FAILED
        assert len(told.raised_by) == 1
        assert organism.report.failed == 1
        (letter,) = failed.value.outcome.dead_letters
        assert letter.reason == "step"
        return str(failed.value.outcome.cause)


# -- tap and sample ---------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["admit", "parse", "dispatch"])
async def test_a_tap_may_be_plain_or_async_and_what_it_gives_back_is_nothing(place: str) -> None:
    seen: list[str] = []

    def plain(item: Any) -> str:
        seen.append("plain")
        return "ignored"

    async def waits(item: Any) -> bool:
        await trio.lowlevel.checkpoint()
        seen.append("async")
        return True

    class Audit:
        async def __call__(self, item: Any) -> None:
            seen.append("object")

    pipeline = DEFAULT.before(place, tap(plain)).before(place, tap(waits)).before(place, tap(Audit()))
    async with open_piped(pipeline, BACK) as organism:
        assert await organism.ask(Ask("x")) == Reply("x")
    assert seen == ["plain", "async", "object"]


async def test_a_callable_that_cannot_be_hashed_is_as_good_as_any() -> None:
    @dataclass
    class Counter:
        seen: int = 0

        def __call__(self, item: Any) -> None:
            self.seen += 1

    counter = Counter()
    async with open_piped(
        DEFAULT.after("admit", tap(counter)).after("decode", tap(counter)), BACK
    ) as organism:
        await organism.ask(Ask("x"))
    assert counter.seen == 2


def spoil(payload: Any) -> None:
    payload.text = "spoiled"


@pytest.mark.parametrize(
    "pipeline",
    [
        DEFAULT.before("admit", tap(lambda item: spoil(item.payload))),
        DEFAULT.after("admit", tap(lambda item: spoil(item.payload))),
        DEFAULT.after("decode", tap(lambda item: spoil(item.payload))),
        DEFAULT.before("dispatch", tap(lambda item: spoil(item.payload))),
        DEFAULT.after("dispatch", tap(lambda item: spoil(item.message.payload))),
        DEFAULT.after("dispatch", tap(lambda item: spoil(item.value.payload))),
        DEFAULT.before("dispatch", reject_if(lambda item: spoil(item.payload), "no")),
        DEFAULT.before("dispatch", sample(1, lambda item: spoil(item.payload))),
    ],
    ids=lambda pipeline: pipeline.placed[0].place,
)
async def test_what_a_function_does_to_the_payload_it_sees_is_seen_by_nobody_else(pipeline: Pipeline) -> None:
    looked: list[Any] = []
    sent = Ask("x")
    place = pipeline.placed[0]
    after = pipeline.after(place.name, tap(looked.append))
    async with open_piped(after, BACK) as organism:
        assert await organism.ask(sent) == Reply("x")
    assert sent == Ask("x")
    if place.at != "dispatch" or place.before:
        assert looked[0].payload == Ask("x")


async def test_a_tap_that_spoils_what_it_sees_does_not_change_what_is_decided_next() -> None:
    for at, side in (("dispatch", "before"), ("decode", "after")):
        edit = getattr(DEFAULT, side)(at, tap(lambda item: spoil(item.payload)), name="spoils")
        edit = edit.after("spoils", transform(lambda payload: Ask(payload.text + "!")))
        edit = edit.after("spoils", reject_if(lambda item: item.payload.text == "spoiled", "no"))
        async with open_piped(edit, BACK) as organism:
            assert await organism.ask(Ask("x")) == Reply("x!")


async def test_what_a_step_sees_is_frozen() -> None:
    broken: list[str] = []

    def write(item: Any) -> None:
        for name in ("sender", "xml", "data", "listener", "notes"):
            if hasattr(item, name):
                with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
                    setattr(item, name, "mine")
                broken.append(name)

    pipeline = DEFAULT
    for at in ("admit", "parse", "repair", "envelope", "extract", "thread", "route", "validate", "decode"):
        pipeline = pipeline.after(at, tap(write))
    async with open_piped(pipeline, BACK) as organism:
        await organism.wait(await organism.inject(ASK))
    assert set(broken) == {"sender", "xml", "data", "listener", "notes"}


async def test_a_sample_is_as_large_as_the_organisms_random_says_and_the_same_for_the_same_seed() -> None:
    async def run(seed: int) -> list[str]:
        seen: list[str] = []
        pipeline = DEFAULT.before("route", sample(0.25, lambda part: seen.append(part.xml)), name="some")
        config = OrganismConfig("organism", [listener("a", Ask, drop)])
        async with open_watched_organism(config, pipeline=pipeline, random=random.Random(seed)) as organism:
            for number in range(400):
                await organism.send(Ask(str(number)))
            await organism.wait_idle()
            assert counts(organism, "some") == {"seen": 400}
        return seen

    chance = random.Random(7)
    wanted = sum(chance.random() < 0.25 for _ in range(400))
    first = await run(7)
    assert len(first) == wanted == 112
    assert await run(7) == first
    assert await run(8) != first


async def test_a_sample_of_all_sees_all_and_an_attempt_each_time() -> None:
    seen: list[int] = []

    async def twice(payload: Any, metadata: HandlerMetadata) -> None:
        if metadata.attempt == 1:
            raise ValueError("x")

    a = listener("a", Ask, twice, retries=1, retry_base_delay=0.001)
    async with open_piped(
        DEFAULT.before("dispatch", sample(1, lambda m: seen.append(m.attempt))), a
    ) as organism:
        await organism.send(Ask("x"))
        await organism.wait_idle()
    assert seen == [1, 2]


# -- transform --------------------------------------------------------------------------------------


async def test_a_transform_puts_another_payload_in_its_place_and_async_too() -> None:
    async def shout(payload: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return Ask(payload.text.upper())

    for pipeline in decoded(transform(shout)):
        async with open_piped(pipeline, BACK) as organism:
            assert await organism.ask(Ask("x")) == Reply("X")
            receipt = await organism.inject(ASK)
            assert (await organism.wait(receipt)).payloads == (Reply("X"),)


async def test_transforms_go_one_after_the_other_and_what_comes_back_is_not_changed_by_its_giver() -> None:
    kept: list[Any] = []

    def keep(payload: Any) -> Any:
        kept.append(payload)
        payload.text += "1"
        return payload

    pipeline = DEFAULT.after("decode", transform(keep)).before("dispatch", transform(keep))
    pipeline = pipeline.before("dispatch", tap(lambda message: list(map(spoil, kept))))
    async with open_piped(pipeline, BACK) as organism:
        assert await organism.ask(Ask("x")) == Reply("x11")


async def test_a_transform_is_for_what_handlers_send_too_but_not_for_an_answer_at_the_root() -> None:
    async def relay(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Note):
            return HandlerResponse.respond(payload)
        return HandlerResponse(Note(payload.text), to="bench")

    async def bench(payload: Any, metadata: HandlerMetadata) -> Any:
        return HandlerResponse.respond(Note(payload.text))

    listeners = listener("relay", [Ask, Note], relay), listener("bench", Note, bench)
    step = transform(lambda payload: type(payload)(payload.text + "!"))
    async with open_piped(DEFAULT.before("dispatch", step), *listeners) as organism:
        assert await organism.ask(Ask("x"), to="relay") == Note("x!!!")


async def test_a_transform_may_change_the_class_to_another_that_its_listener_takes() -> None:
    async def take(payload: Any, metadata: HandlerMetadata) -> Any:
        return HandlerResponse.respond(Reply(type(payload).__name__))

    both = listener("both", [Ask, Note], take)
    async with open_piped(DEFAULT.after("decode", transform(lambda p: Note(p.text))), both) as organism:
        assert await organism.ask(Ask("x")) == Reply("Note")


@pytest.mark.parametrize(
    ("gives", "words"),
    [
        (lambda payload: Note("x"), "TypeError: found a Note, expected what orders takes: Order"),
        (lambda payload: None, "ValueError: gave what cannot be sent: "),
        (lambda payload: "<Order/>", "ValueError: gave what cannot be sent: "),
        (lambda payload: object.__new__(Order), ""),
        (lambda payload: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
async def test_what_a_transform_may_not_give_ends_that_message_as_failed(gives: Any, words: str) -> None:
    for pipeline in decoded(transform(gives)):
        place = pipeline.placed[0].place
        cause = await cause_of(pipeline)
        assert cause.startswith(f"mine {place} raised {words}")


async def test_what_a_transform_gives_is_validated_by_the_listeners_contract() -> None:
    def spoiled(payload: Any) -> Any:
        payload.pieces = -1  # what its own __post_init__ refuses
        return payload

    for pipeline in decoded(transform(spoiled)):
        cause = await cause_of(pipeline)
        assert "raised ValueError: gave what its contract refuses: " in cause


# -- expand -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 1000])
async def test_one_decoded_message_becomes_several_for_the_same_listener(count: int) -> None:
    for pipeline in decoded(expand(lambda payload: [Order(number) for number in range(count)])):
        async with open_piped(pipeline, ORDERS) as organism:
            outcome = await organism.wait(await organism.send(Order(5)))
            assert sorted(order.pieces for order in outcome.payloads) == list(range(count))
            assert organism.report.handled == 1 + count
            assert counts(organism, "mine") == {"seen": 1}


async def test_a_part_becomes_several_that_are_routed_each_to_who_takes_it() -> None:
    def both(part: Any) -> Any:
        yield Order(1)
        yield Ask(part.sender)

    async with open_piped(DEFAULT.before("route", expand(both)), ORDERS, BACK) as organism:
        outcome = await organism.wait(await organism.send(Order(5)))
        assert sorted(map(str, outcome.payloads)) == ["Order(pieces=1)", "Reply(text='outside')"]


async def test_a_handlers_respond_becomes_several_answers_of_one_caller() -> None:
    step = expand(lambda part: [Reply("a"), Reply("b")] if part.is_response else [Ask("x")])
    async with open_piped(DEFAULT.before("thread", step), BACK) as organism:
        outcome = await organism.wait(await organism.send(Ask("x")))
        assert outcome.payloads == (Reply("a"), Reply("b"))


@pytest.mark.parametrize("at", ["route", "dispatch"])
async def test_none_at_all_is_dropped(at: str) -> None:
    async with open_piped(DEFAULT.before(at, expand(lambda item: []), name="mine"), ORDERS) as organism:
        with pytest.raises(NoResponse) as nothing:
            await organism.ask(Order(1))
        cause = nothing.value.outcome.cause
        assert str(cause) == f"mine before {at} dropped it: expanded to nothing"
        assert counts(organism, "mine") == {"seen": 1, "dropped": 1}


@pytest.mark.parametrize("at", ["route", "dispatch"])
@pytest.mark.parametrize(
    ("gives", "words"),
    [
        ("<Order/>", "TypeError: found str, expected a list of payloads"),
        (b"<Order/>", "TypeError: found bytes, expected a list of payloads"),
        (None, "TypeError: found NoneType, expected a list of payloads"),
        (Order(1), "TypeError: found Order, expected a list of payloads"),
        (["<Order/>"], "ValueError: gave what cannot be sent: "),
        ([None], "ValueError: gave what cannot be sent: "),
    ],
)
async def test_what_an_expand_may_not_give_ends_that_message_as_failed(
    at: str, gives: Any, words: str
) -> None:
    cause = await cause_of(DEFAULT.before(at, expand(lambda item: gives), name="mine"))
    assert cause.startswith(f"mine before {at} raised {words}")
