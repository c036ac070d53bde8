"""Handlers under the pump: what they return, how they fail, and their retries."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from phloem.errors import ConversationFailed, NoResponse
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, SystemError
from support.auditing import open_audited, report_of
from support.listeners import Note, Reply, answer, drop, fall, hang, listener


@dataclass
class Pile:
    items: list[str] = field(default_factory=list)


class NoJitter:
    """Draws what makes every back-off its full length."""

    def random(self) -> float:
        return 1.0


ECHO = listener("echo", Note, answer)


# -- returns ----------------------------------------------------------------------------------
async def test_a_response_to_a_stranger_is_a_fresh_object() -> None:
    sent: list[Reply] = []

    async def keep(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        sent.append(Reply(payload.text))
        return HandlerResponse.respond(sent[0])

    async with open_audited(listener("keep", Note, keep)) as organism:
        answer = await organism.ask(Note("x"), to="keep")
        assert answer == sent[0]
        assert answer is not sent[0]


async def test_a_receiver_sees_a_fresh_object_and_never_the_senders() -> None:
    seen: list[Pile] = []

    async def grow(payload: Pile, metadata: HandlerMetadata) -> None:
        seen.append(payload)
        payload.items.append("grown")

    mine = Pile(["a"])
    async with open_audited(
        listener("one", Pile, grow, broadcast=True), listener("two", Pile, grow, broadcast=True)
    ) as organism:
        await organism.wait(await organism.send(mine))
    assert mine == Pile(["a"])
    assert seen == [Pile(["a", "grown"])] * 2
    assert seen[0] is not seen[1]


async def test_none_completes_and_answers_nothing() -> None:
    async with open_audited(listener("drop", Note, drop)) as organism:
        with pytest.raises(NoResponse) as caught:
            await organism.ask(Note("x"), to="drop")
        assert caught.value.outcome.state is ConversationState.COMPLETED
        assert caught.value.outcome.payloads == ()


async def test_an_empty_list_is_as_good_as_none() -> None:
    async def empty(payload: Note, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return []

    async with open_audited(listener("empty", Note, empty)) as organism:
        outcome = await organism.wait(await organism.send(Note("x"), to="empty"))
        assert outcome.state is ConversationState.COMPLETED


async def test_raw_payloads_side_by_side_become_a_message_each() -> None:
    seen: list[str] = []

    async def raw(payload: Note, metadata: HandlerMetadata) -> bytes:
        return b"<Reply><Text>a</Text></Reply><Reply><Text>b</Text></Reply>"

    async def collect(payload: Reply, metadata: HandlerMetadata) -> None:
        seen.append(payload.text)

    async with open_audited(listener("raw", Note, raw), listener("collect", Reply, collect)) as organism:
        await organism.wait(await organism.send(Note("x"), to="raw"))
        assert report_of(organism).accepted == report_of(organism).handled == 3
    assert sorted(seen) == ["a", "b"]


async def test_a_list_of_forwards_and_responds_fails_and_sends_neither() -> None:
    async def both(payload: Note, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(payload, to="echo"), HandlerResponse.respond(Reply("x"))]

    async with open_audited(listener("both", Note, both, retries=3), ECHO) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Note("x"), to="both")
        assert "forwards and responds" in str(caught.value)
        assert caught.value.outcome.payloads == ()
        assert report_of(organism).failed == report_of(organism).accepted == 1


async def test_what_does_not_encode_fails_the_dispatch_and_is_not_retried() -> None:
    attempts: list[int] = []

    async def garble(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        attempts.append(metadata.attempt)
        return HandlerResponse.respond(Reply("a\0b"))

    async with open_audited(listener("garble", Note, garble, retries=3)) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Note("x"), to="garble")
        assert "/Reply/Text" in str(caught.value)
        assert attempts == [1]


# -- failures ---------------------------------------------------------------------------------
async def test_a_failure_is_a_dead_letter_with_its_reason_and_the_cause_names_the_exception() -> None:
    async def fall(payload: Note, metadata: HandlerMetadata) -> None:
        raise LookupError("no such shelf")

    async with open_audited(listener("fall", Note, fall)) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Note("x"), to="fall", sender="console")
        outcome = caught.value.outcome
        assert outcome.state is ConversationState.FAILED
        assert outcome.cause is not None
        assert outcome.cause.exception == "LookupError"
        assert "no such shelf" in outcome.cause.text
        (letter,) = outcome.dead_letters
        assert (letter.from_listener, letter.to_listener, letter.reason) == ("console", "fall", "handler")
        assert letter.payload_xml == "<Note><Text>x</Text></Note>"
        assert letter.conversation == outcome.conversation


async def test_a_failing_sibling_of_a_broadcast_never_cancels_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    done: list[str] = []

    async def slow(payload: Note, metadata: HandlerMetadata) -> None:
        await trio.sleep(1)
        done.append("slow")

    async with open_audited(
        listener("fall", Note, fall, broadcast=True),
        listener("slow", Note, slow, broadcast=True),
        listener("hang", Note, hang, broadcast=True, handler_timeout=5),
    ) as organism:
        outcome = await organism.wait(await organism.send(Note("x")))
        assert trio.current_time() == pytest.approx(5)
        assert outcome.state is ConversationState.FAILED
        assert [letter.to_listener for letter in outcome.dead_letters] == ["fall", "hang"]
        assert done == ["slow"]
        assert (report_of(organism).handled, report_of(organism).failed) == (1, 2)


async def test_listeners_of_a_broadcast_run_side_by_side(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(payload: Note, metadata: HandlerMetadata) -> None:
        await trio.sleep(0.05)

    async with open_audited(
        *[listener(f"slow{n}", Note, slow, broadcast=True) for n in range(10)]
    ) as organism:
        await organism.wait(await organism.send(Note("x")))
        assert trio.current_time() == pytest.approx(0.05)
        assert report_of(organism).handled == 10


async def test_a_caller_that_handles_the_fault_answers_it() -> None:
    told: list[SystemError] = []

    async def front(payload: Note | SystemError, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, SystemError):
            assert metadata.from_id == "system"
            told.append(payload)
            return HandlerResponse.respond(Reply("sorry"))
        return HandlerResponse(payload, to="fall")

    async def fall(payload: Note, metadata: HandlerMetadata) -> None:
        raise ValueError("a secret of the inside")

    async with open_audited(
        listener("front", [Note, SystemError], front), listener("fall", Note, fall)
    ) as organism:
        receipt = await organism.send(Note("x"), to="front")
        outcome = await organism.wait(receipt)
        assert outcome.state is ConversationState.COMPLETED
        assert outcome.payloads == (Reply("sorry"),)
        assert len(outcome.dead_letters) == 1
        assert told[0].code == "handler"
        assert "secret" not in told[0].message
        assert (report_of(organism).failed, report_of(organism).handled) == (1, 2)


async def test_a_caller_that_takes_no_fault_leaves_it_as_a_dead_letter() -> None:
    async def front(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(payload, to="fall")

    async with open_audited(listener("front", Note, front), listener("fall", Note, fall)) as organism:
        outcome = await organism.wait(await organism.send(Note("x"), to="front"))
        assert outcome.state is ConversationState.FAILED
        assert outcome.cause is not None
        assert outcome.cause.exception == "ValueError"
        assert [letter.to_listener for letter in outcome.dead_letters] == ["fall", "front"]
        assert report_of(organism).undeliverable == 1


async def test_a_handler_that_fails_on_the_fault_it_is_told_fails_the_conversation() -> None:
    async def front(payload: Note | SystemError, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, SystemError):
            raise OSError("and I, too")
        return HandlerResponse(payload, to="fall")

    async with open_audited(
        listener("front", [Note, SystemError], front), listener("fall", Note, fall)
    ) as organism:
        outcome = await organism.wait(await organism.send(Note("x"), to="front"))
        assert outcome.state is ConversationState.FAILED
        assert report_of(organism).failed == 2


# -- retries ----------------------------------------------------------------------------------
async def test_a_retry_has_the_same_id_a_higher_attempt_and_a_fresh_payload(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen: list[tuple[str, str, int, list[str], float]] = []

    async def flaky(payload: Pile, metadata: HandlerMetadata) -> HandlerResponse:
        ids = metadata.message_id, metadata.thread_id
        seen.append((*ids, metadata.attempt, list(payload.items), trio.current_time()))
        payload.items.append("spoiled")
        if metadata.attempt < 3:
            raise ValueError("not yet")
        return HandlerResponse.respond(Reply("at last"))

    async with open_audited(
        listener("flaky", Pile, flaky, retries=2, retry_base_delay=1.0), random=NoJitter()
    ) as organism:
        assert await organism.ask(Pile(["a"]), to="flaky") == Reply("at last")
        assert report_of(organism).handled == report_of(organism).accepted == 1
    assert len({(message, thread) for message, thread, *_ in seen}) == 1
    assert [(attempt, items) for *_, attempt, items, _ in seen] == [(1, ["a"]), (2, ["a"]), (3, ["a"])]
    assert [at for *_, at in seen] == pytest.approx([0, 1, 3])


async def test_retries_end_and_the_last_failure_is_the_cause(autojump_clock: trio.testing.MockClock) -> None:
    async def flaky(payload: Note, metadata: HandlerMetadata) -> None:
        raise ValueError(f"attempt {metadata.attempt}")

    async with open_audited(listener("flaky", Note, flaky, retries=2)) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Note("x"), to="flaky")
        assert caught.value.outcome.cause is not None
        assert "attempt 3" in caught.value.outcome.cause.text
        assert len(caught.value.outcome.dead_letters) == 1
        assert report_of(organism).failed == report_of(organism).accepted == 1


async def test_a_back_off_is_never_longer_than_its_maximum(autojump_clock: trio.testing.MockClock) -> None:
    at: list[float] = []

    async def flaky(payload: Note, metadata: HandlerMetadata) -> None:
        at.append(trio.current_time())
        raise ValueError("x")

    more = {"retries": 5, "retry_base_delay": 1.0, "retry_max_delay": 3.0}
    async with open_audited(listener("flaky", Note, flaky, **more), random=NoJitter()) as organism:
        await organism.wait(await organism.send(Note("x"), to="flaky"))
    assert at == pytest.approx([0, 1, 3, 6, 9, 12])


async def test_an_overrun_is_retried_too(autojump_clock: trio.testing.MockClock) -> None:
    async def slow_once(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        if metadata.attempt == 1:
            await trio.sleep_forever()
        return HandlerResponse.respond(Reply(str(metadata.attempt)))

    async with open_audited(listener("slow", Note, slow_once, retries=1, handler_timeout=2)) as organism:
        assert await organism.ask(Note("x"), to="slow") == Reply("2")


async def test_a_back_off_holds_its_thread_and_no_token(autojump_clock: trio.testing.MockClock) -> None:
    log: list[tuple[str, int, float]] = []

    async def flaky(payload: Note, metadata: HandlerMetadata) -> None:
        log.append((payload.text, metadata.attempt, trio.current_time()))
        if payload.text == "bad" and metadata.attempt == 1:
            raise ValueError("x")

    one = listener("flaky", Note, flaky, retries=1, retry_base_delay=10.0, max_concurrent=1)
    async with open_audited(
        one, max_concurrent_handlers=1, max_concurrent_pipelines=1, random=NoJitter()
    ) as organism:
        await organism.send(Note("bad"), to="flaky")
        await trio.sleep(1)
        assert organism._pump.slots.borrowed() == 0
        await organism.wait(await organism.send(Note("good"), to="flaky"))
        (_, busy) = organism.threads
        assert busy.state != "idle"
        await organism.wait_idle()
    assert log == [("bad", 1, 0), ("good", 1, 1), ("bad", 2, 10)]


async def test_what_waits_on_a_thread_in_back_off_goes_on_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    log: list[tuple[str, int]] = []

    async def front(payload: Note | Reply, metadata: HandlerMetadata) -> list[HandlerResponse]:
        if isinstance(payload, Note):
            return [HandlerResponse(Note("a"), to="echo"), HandlerResponse(Note("b"), to="echo")]
        log.append((payload.text, metadata.attempt))
        if len(log) == 1:
            raise ValueError("x")
        return []

    async with open_audited(listener("front", [Note, Reply], front, retries=1), ECHO) as organism:
        await organism.wait(await organism.send(Note("x"), to="front"))
    first, second = log[0][0], log[-1][0]  # which of the two answers comes first is Trio's choice
    assert {first, second} == {"a", "b"}
    assert log == [(first, 1), (first, 2), (second, 1)]


async def test_a_kill_during_a_back_off_ends_it_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async def flaky(payload: Note, metadata: HandlerMetadata) -> None:
        raise ValueError("x")

    more = {"retries": 9, "retry_base_delay": 30.0}
    async with open_audited(listener("flaky", Note, flaky, **more), random=NoJitter()) as organism:
        receipt = await organism.send(Note("x"), to="flaky")
        await trio.sleep(1)
        assert await organism.kill(receipt.conversation)
        assert trio.current_time() == 1
        assert (await organism.wait(receipt)).state is ConversationState.CANCELLED
        assert report_of(organism).abandoned == 1
