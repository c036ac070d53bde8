"""A user's step that raises, whatever and wherever: that message ends failed, told once; the pump goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import pytest
import trio

from phloem.errors import ConversationFailed
from phloem.messages import Cause, ConversationState, HandlerMetadata, HandlerResponse, SystemError
from phloem.pump.pipeline import Pipeline
from phloem.pump.ready_made import Step, branch, drop_if, expand, reject_if, sample, tap, transform
from support.listeners import BACK, Ask, Note, Reply, answer, drop, fall, listener
from support.pipelines import ASK, DEFAULT, PLACES, Told, counts, open_piped

BEHIND: Final = [("replies", False)]  # only what handlers send passes there
FOR_STRANGERS: Final = [place for place in PLACES if place not in BEHIND]
AT_DISPATCH: Final = [("dispatch", True), ("dispatch", False), ("replies", True)]


async def stray_cancelled() -> BaseException:
    """One that some scope has been left with, and that nobody waits for."""
    kept: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            kept.append(cancelled)
            raise
    return kept[0]


ERRORS: Final[dict[str, Callable[[], BaseException]]] = {
    "plain": lambda: ValueError("no such hook"),
    "exit": lambda: SystemExit(3),
    "generator": lambda: GeneratorExit(),
    "asyncio": lambda: asyncio.CancelledError(),
    "group": lambda: ExceptionGroup("several", [ValueError("a"), KeyError("b")]),
    "base group": lambda: BaseExceptionGroup("several", [SystemExit(1), KeyError("b")]),
    "stop": lambda: StopAsyncIteration(),
}


def name(place: tuple[str, bool]) -> str:
    return f"{'before' if place[1] else 'after'} {place[0]}"


def put(pipeline: Pipeline, place: tuple[str, bool], step: Step) -> Pipeline:
    at, before = place
    return (pipeline.before if before else pipeline.after)(at, step, name="mine")


def sent_by(item: Any) -> Any:
    return item.message.sender if hasattr(item, "message") else item.sender


def raising(error: BaseException, who: str, *, waits: bool = False) -> Callable[[Any], Any]:
    """Raises for what ``who`` sends, until it has once."""
    done: list[bool] = []

    def due(item: Any) -> bool:
        found = not done and sent_by(item) == who
        if found:
            done.append(True)
        return found

    def plain(item: Any) -> None:
        if due(item):
            raise error

    async def later(item: Any) -> None:
        await trio.lowlevel.checkpoint()
        plain(item)

    return later if waits else plain


@pytest.mark.parametrize("place", FOR_STRANGERS, ids=name)
@pytest.mark.parametrize("kind", ["stray", *ERRORS])
async def test_a_tap_that_raises_at_any_place_fails_that_message_of_a_stranger_and_no_other(
    place: tuple[str, bool], kind: str
) -> None:
    for waits in (False, True):
        error = await stray_cancelled() if kind == "stray" else ERRORS[kind]()
        told = Told()
        step = tap(raising(error, "outside", waits=waits))
        async with open_piped(put(DEFAULT, place, step), BACK, observer=told) as organism:
            outcome = await organism.wait(await organism.inject(ASK))
            assert outcome.state is ConversationState.FAILED
            assert outcome.cause is not None
            shown = type(error).__name__
            assert (outcome.cause.reason, outcome.cause.exception) == ("step", shown)
            assert outcome.cause.text.startswith(f"mine {name(place)} raised {shown}")
            (letter,) = outcome.dead_letters
            assert letter.cause == outcome.cause
            assert counts(organism, "mine")["failed"] == 1
            ((_, raised),) = told.raised_by  # with its traceback, once
            seen = raised.__cause__ if place in AT_DISPATCH else raised
            assert seen is error
            assert await organism.ask(Ask("x")) == Reply("x")
            report = organism.report
            assert (report.accepted, report.handled, report.failed, report.in_flight) == (3, 2, 1, 0)
            assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight
            assert organism._pump.slots.borrowed() == 0


def deciding(fn: Callable[[Any], Any]) -> list[tuple[tuple[str, bool], Step]]:
    kinds: list[Step] = [reject_if(fn, "no"), drop_if(fn), sample(1, fn)]
    early: list[tuple[str, bool]] = [
        ("admit", True),
        ("repair", False),
        ("thread", True),
        ("validate", False),
    ]
    found: list[tuple[tuple[str, bool], Step]] = [(place, kind) for kind in kinds for place in early]
    found += [(place, transform(fn)) for place in (("decode", False), ("dispatch", True))]
    found += [(place, expand(fn)) for place in (("extract", False), ("route", True), ("dispatch", True))]
    return [*found, (("route", True), branch(fn, to="back"))]


@pytest.mark.parametrize("number", range(len(deciding(print))))
async def test_so_does_a_step_that_decides_or_changes(number: int) -> None:
    calls: list[Any] = []

    def bad(seen: Any) -> Any:
        calls.append(seen)
        if len(calls) == 1:
            raise SystemExit("out")
        return (
            [seen]
            if step.kind == "expand" and isinstance(seen, Ask)
            else None
            if step.kind != "expand"
            else [Ask("x")]
        )

    place, step = deciding(bad)[number]
    told = Told()
    async with open_piped(put(DEFAULT, place, step), BACK, observer=told) as organism:
        outcome = await organism.wait(await organism.inject(ASK))
        assert outcome.state is ConversationState.FAILED
        assert outcome.cause is not None
        assert outcome.cause.text == f"mine {name(place)} raised SystemExit: out"
        assert [type(error) for _, error in told.raised_by] == [SystemExit]
        if step.kind != "transform":  # None is no payload
            assert (await organism.wait(await organism.inject(ASK))).payloads == (Reply("x"),)


@pytest.mark.parametrize("place", [place for place in PLACES if place not in AT_DISPATCH], ids=name)
async def test_a_handlers_forward_whose_step_raises_is_told_to_its_sender(place: tuple[str, bool]) -> None:
    told_to: list[Any] = []

    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return b"<Note><Text>lost</Text></Note><Note><Text>too</Text></Note>"
        told_to.append(payload)
        return HandlerResponse.respond(Reply("told"))

    told = Told()
    listeners = listener("front", [Ask, SystemError, Reply], front), listener("bench", Note, drop)
    step = tap(raising(ValueError("x"), "front"))
    async with open_piped(put(DEFAULT, place, step), *listeners, observer=told) as organism:
        outcome = await organism.wait(await organism.send(Ask("x"), to="front"))
        reached = (place[0] not in ("admit", "parse") and place != ("replies", False)) or place == (
            "parse",
            False,
        )
        assert len(told.raised_by) == reached
        assert [type(each) for each in told_to] == [SystemError] * reached
        if reached:
            assert outcome.payloads == (Reply("told"),)  # a fault that was answered is none
            assert outcome.state is ConversationState.COMPLETED
            assert [letter.reason for letter in outcome.dead_letters] == ["step"]
            assert told_to[0].code == "handler"
        assert organism.report.failed == reached


async def test_a_sender_that_takes_no_notice_has_a_fault_that_nobody_answered() -> None:
    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        return HandlerResponse(Note("lost"), to="bench")

    listeners = listener("front", Ask, front), listener("bench", Note, drop)
    step = tap(raising(ValueError("x"), "front"))
    async with open_piped(put(DEFAULT, ("route", True), step), *listeners) as organism:
        outcome = await organism.wait(await organism.send(Ask("x"), to="front"))
        assert outcome.state is ConversationState.FAILED
        assert outcome.cause == Cause("step", "mine before route raised ValueError: x", None, "ValueError")
        assert sorted(letter.reason for letter in outcome.dead_letters) == ["step", "unheard"]


@pytest.mark.parametrize(
    "place", [("replies", False), ("thread", True), ("route", False), ("decode", False)], ids=name
)
async def test_a_respond_whose_step_raises_is_told_to_its_caller(place: tuple[str, bool]) -> None:
    told_to: list[Any] = []

    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return HandlerResponse(Note("x"), to="bench")
        told_to.append(payload)
        return None

    listeners = (
        listener("front", [Ask, SystemError, Reply], front),
        listener("bench", [Note, SystemError], answer),
    )
    told = Told()
    step = tap(raising(ValueError("x"), "bench"))
    async with open_piped(put(DEFAULT, place, step), *listeners, observer=told) as organism:
        outcome = await organism.wait(await organism.send(Ask("x"), to="front"))
        assert outcome.state is ConversationState.COMPLETED
        assert [type(each) for each in told_to] == [SystemError]
        assert [(each.to_listener, each.reason) for each in outcome.dead_letters] == [("bench", "step")]
        assert len(told.raised_by) == 1
        assert (organism.report.failed, organism.threads) == (1, ())


async def test_an_answer_at_the_root_whose_step_raises_fails_the_ask() -> None:
    told = Told()
    step = tap(raising(ValueError("x"), "back"))
    async with open_piped(put(DEFAULT, ("thread", False), step), BACK, observer=told) as organism:
        with pytest.raises(ConversationFailed) as failed:
            await organism.ask(Ask("x"))
        assert failed.value.outcome.payloads == ()
        assert str(failed.value.outcome.cause) == "mine after thread raised ValueError: x"
        assert len(told.raised_by) == 1
        assert await organism.ask(Ask("y")) == Reply("y")


async def test_a_step_at_a_dispatch_that_raises_is_tried_again_as_a_handler_is() -> None:
    told = Told()
    a = listener("back", Ask, answer, retries=1, retry_base_delay=0.001)
    step = tap(raising(ValueError("x"), "outside"))
    async with open_piped(put(DEFAULT, ("dispatch", True), step), a, observer=told) as organism:
        assert await organism.ask(Ask("x")) == Reply("x")
    assert (told.retries, len(told.raised_by)) == (1, 1)


async def test_where_handler_and_tap_both_raise_the_handlers_counts_and_both_are_told() -> None:
    told = Told()
    bad = listener("bad", Ask, fall)
    step = tap(raising(KeyError("y"), "outside"))
    async with open_piped(put(DEFAULT, ("dispatch", False), step), bad, observer=told) as organism:
        with pytest.raises(ConversationFailed) as failed:
            await organism.ask(Ask("x"))
        assert str(failed.value.outcome.cause) == "bad raised ValueError: x"
        assert [place for place, _ in told.raised_by] == ["mine after dispatch", "bad"]


async def test_a_dispatch_that_stands_around_and_raises_is_the_handlers_fault() -> None:
    async def around(message: Any, call: Any) -> Any:
        await call()
        raise SystemExit(3)

    async with open_piped(DEFAULT.replace("dispatch", around), BACK) as organism:
        with pytest.raises(ConversationFailed) as failed:
            await organism.ask(Ask("x"))
        assert str(failed.value.outcome.cause) == "back raised SystemExit: 3"


async def test_an_error_whose_text_raises_or_is_no_text_for_xml_is_told_all_the_same() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    for error, words in (Odd(), "(its text raised RuntimeError)"), (ValueError("\x00" * 900), ""):
        step = tap(raising(error, "outside"))
        async with open_piped(put(DEFAULT, ("route", True), step), BACK) as organism:
            outcome = await organism.wait(await organism.send(Ask("x")))
            assert words in str(outcome.cause)
            assert "\x00" not in str(outcome.cause)
            assert len(str(outcome.cause)) <= 2_000


async def test_of_several_taps_the_ones_behind_one_that_raised_see_nothing() -> None:
    seen: list[Any] = []
    step = tap(raising(ValueError("x"), "outside"))
    for place in (("admit", True), ("validate", False), ("dispatch", True), ("dispatch", False)):
        seen.clear()
        pipeline = put(DEFAULT, place, step).after("mine", tap(seen.append))
        step = tap(raising(ValueError("x"), "outside"))
        async with open_piped(pipeline.replace("mine", step), BACK) as organism:
            await organism.wait(await organism.inject(ASK))
        assert seen == []
