"""What is refused, and who is told: strangers, huh, attempts, spent attempts, dead letters."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import ListenerConfig
from phloem.errors import ConversationFailed, MessageRejected
from phloem.messages import (
    ConversationState,
    HandlerMetadata,
    HandlerResponse,
    Huh,
    SystemError,
)
from support.auditing import open_audited, report_of
from support.listeners import Reply, hang, listener
from support.shop import SHOP, Go, Order, Theirs, accept, agent, payloads
from support.wire import message

BAD = b"<Order><Amount>0</Amount></Order>"
GOOD = b"<Order><Amount>1</Amount></Order>"


def orders(*amounts: object) -> str:
    """One document for the shop with an order of each amount."""
    payloads = [f'<Order xmlns=""><Amount>{amount}</Amount></Order>' for amount in amounts]
    return message(*payloads, meta="<from>x</from><to>shop</to>")


# -- strangers --------------------------------------------------------------------------------
async def test_a_stranger_is_told_by_an_exception_and_the_outcome() -> None:
    async with open_audited(SHOP) as organism:
        with pytest.raises(MessageRejected) as caught:
            await organism.ask(Order(0), to="shop")
        assert (caught.value.huh.code, caught.value.huh.path) == ("facet", "/Order/Amount")
        assert caught.value.outcome is not None
        assert caught.value.outcome.state is ConversationState.REJECTED
        assert caught.value.outcome.rejections == (caught.value.huh,)
        assert report_of(organism).rejected == report_of(organism).accepted == 1
        assert organism.statistics()["seats"]["free"] == 1_000


async def test_unknown_and_unfit_addresses_are_refused_to_a_stranger_in_the_same_words() -> None:
    huhs: list[Huh] = []
    async with open_audited(SHOP, listener("other", Go, accept)) as organism:
        for to in ("nobody", "other"):
            with pytest.raises(MessageRejected) as caught:
                await organism.ask(Order(1), to=to)
            huhs.append(caught.value.huh)
        assert report_of(organism).rejected == report_of(organism).accepted == 2
    assert huhs[0] == huhs[1]
    assert huhs[0].code == "routing"


async def test_the_good_part_of_a_fan_out_goes_on_and_the_outcome_tells_of_the_bad() -> None:
    document = orders(1, 0, 2)
    async with open_audited(SHOP) as organism:
        outcome = await organism.wait(await organism.inject(document))
        assert outcome.payloads == (Reply("accepted"),) * 2
        assert [huh.code for huh in outcome.rejections] == ["facet"]
        assert outcome.state is ConversationState.FAILED
        report = report_of(organism)
        assert (report.accepted, report.handled, report.rejected) == (3, 2, 1)


async def test_a_document_of_nothing_but_refusals_is_rejected_with_all_of_them() -> None:
    document = orders(0, "x")
    async with open_audited(SHOP) as organism:
        with pytest.raises(MessageRejected) as caught:
            await organism.inject(document)
        assert caught.value.outcome is not None
        assert [huh.code for huh in caught.value.outcome.rejections] == ["facet", "type"]
        assert report_of(organism).rejected == 2


async def test_a_text_that_does_not_encode_is_refused_with_path_and_code_point() -> None:
    async with open_audited(listener("echo", Go, accept)) as organism:
        with pytest.raises(MessageRejected) as caught:
            await organism.ask(Go("a\0b"), to="echo")
        assert caught.value.huh.path == "/Go/Text"
        assert "U+0000" in str(caught.value)


async def test_a_rejection_is_one_readable_paragraph() -> None:
    async with open_audited(SHOP) as organism:
        for document in ("<Order>" + "x" * 50_000, "<a>\n\n</b>" * 1_000, "<Order><X/>" * 5_000):
            with pytest.raises(MessageRejected) as caught:
                await organism.inject(document)
            assert len(str(caught.value)) <= 2_000
            assert "\n" not in str(caught.value)
            assert len(caught.value.huh.original) <= 2_000


# -- huh to a listener ------------------------------------------------------------------------
async def test_a_listener_is_told_what_was_wrong_and_may_correct_it() -> None:
    seen: list[Any] = []
    async with open_audited(
        agent(HandlerResponse(Theirs.Order(0), to="shop"), GOOD, seen=seen), SHOP
    ) as organism:
        receipt = await organism.send(Go("x"), to="agent")
        outcome = await organism.wait(receipt)
        assert outcome.state is ConversationState.COMPLETED
        assert outcome.payloads == (Reply("done"),)
        (huh,) = payloads(seen, Huh)
        assert (huh.code, huh.path, huh.attempts_left) == ("facet", "/Order/Amount", 2)
        assert huh.original == "<Order><Amount>0</Amount></Order>"
        assert outcome.rejections == (huh,)
        assert len({metadata.thread_id for _, metadata in seen}) == 1, "its thread was kept alive"
        assert [metadata.from_id for _, metadata in seen] == ["outside", "system", "shop"]
        assert report_of(organism).rejected == 1


async def test_the_original_in_a_huh_is_the_beginning_only() -> None:
    seen: list[Any] = []
    raw = b"<Order><Amount>" + b"9" * 10_000 + b"x</Amount></Order>"
    async with open_audited(agent(raw, seen=seen), SHOP) as organism:
        await organism.ask(Go("x"), to="agent")
    (huh,) = payloads(seen, Huh)
    assert huh.original == raw[:2_000].decode()


async def test_markup_in_a_refused_original_arrives_as_text() -> None:
    seen: list[Any] = []
    raw = b"<Order><Amount>&lt;/Original&gt;&amp;</Amount></Order>"
    async with open_audited(agent(raw, seen=seen), SHOP) as organism:
        await organism.ask(Go("x"), to="agent")
    (huh,) = payloads(seen, Huh)
    assert huh.original == raw.decode()


async def test_a_forward_that_passed_goes_on_beside_one_that_was_refused() -> None:
    seen: list[Any] = []
    async with open_audited(agent(BAD + GOOD, None, seen=seen), SHOP) as organism:
        outcome = await organism.wait(await organism.send(Go("x"), to="agent"))
        assert outcome.state is ConversationState.COMPLETED
        assert (report_of(organism).rejected, report_of(organism).undeliverable) == (1, 0)
    assert len(payloads(seen, Huh)) == len(payloads(seen, Reply)) == 1


async def test_a_sender_that_takes_no_huh_leaves_a_dead_letter_and_a_failed_conversation() -> None:
    async def front(payload: Go, metadata: HandlerMetadata) -> bytes:
        return BAD

    async with open_audited(listener("front", Go, front), SHOP) as organism:
        outcome = await organism.wait(await organism.send(Go("x"), to="front"))
        assert outcome.state is ConversationState.FAILED
        assert [(letter.from_listener, letter.to_listener) for letter in outcome.dead_letters] == [
            ("system", "front")
        ]
        assert len(outcome.rejections) == 1
        report = report_of(organism)
        assert (report.handled, report.rejected, report.undeliverable) == (1, 1, 1)


# -- attempts ---------------------------------------------------------------------------------
async def test_attempts_left_count_down_and_spent_ones_bring_no_further_huh() -> None:
    seen: list[Any] = []
    async with open_audited(agent(BAD, BAD, BAD, GOOD, seen=seen), SHOP) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Go("x"), to="agent")
        outcome = caught.value.outcome
        assert outcome.state is ConversationState.FAILED
        assert outcome.cause is not None
        assert (outcome.cause.reason, outcome.cause.listener) == ("validation", "agent")
        assert [huh.attempts_left for huh in outcome.rejections] == [2, 1, 0]
        report = report_of(organism)
        assert (report.handled, report.rejected, report.failed) == (2, 3, 1)
    assert [huh.attempts_left for huh in payloads(seen, Huh)] == [2, 1]


async def test_spent_attempts_leave_a_dead_letter_with_all_that_was_tried() -> None:
    async with open_audited(agent(BAD, BAD, BAD, seen=[]), SHOP) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Go("x"), to="agent")
    (letter,) = caught.value.outcome.dead_letters
    assert (letter.reason, letter.to_listener, letter.from_listener) == ("validation", "agent", "outside")
    assert "<Go>" in letter.payload_xml
    assert letter.attempts == caught.value.outcome.rejections


async def test_the_number_of_attempts_is_a_listeners_own_where_it_says_so() -> None:
    seen: list[Any] = []
    async with open_audited(agent(BAD, BAD, seen=seen, max_attempts=2), SHOP) as organism:
        with pytest.raises(ConversationFailed):
            await organism.ask(Go("x"), to="agent")
    assert [huh.attempts_left for huh in payloads(seen, Huh)] == [1]


async def test_the_number_of_attempts_is_the_organisms() -> None:
    seen: list[Any] = []
    async with open_audited(agent(BAD, GOOD, seen=seen), SHOP, max_attempts=1) as organism:
        with pytest.raises(ConversationFailed):
            await organism.ask(Go("x"), to="agent")
    assert payloads(seen, Huh) == []


async def test_several_refusals_of_one_dispatch_are_one_attempt() -> None:
    seen: list[Any] = []
    async with open_audited(agent(BAD * 3, None, None, GOOD, seen=seen), SHOP) as organism:
        assert await organism.ask(Go("x"), to="agent") == Reply("done")
    assert [huh.attempts_left for huh in payloads(seen, Huh)] == [2, 2, 2]


async def test_a_dispatch_whose_messages_all_passed_resets_the_attempts() -> None:
    seen: list[Any] = []
    script = (BAD, BAD, GOOD, BAD, BAD, GOOD)
    async with open_audited(agent(*script, seen=seen), SHOP) as organism:
        assert await organism.ask(Go("x"), to="agent") == Reply("done")
    assert [huh.attempts_left for huh in payloads(seen, Huh)] == [2, 1, 2, 1]


async def test_a_dispatch_that_sent_nothing_resets_nothing() -> None:
    seen: list[Any] = []
    # the second and the third Huh of one dispatch are read in silence
    async with open_audited(agent(BAD * 2, BAD, None, BAD, seen=seen), SHOP) as organism:
        with pytest.raises(ConversationFailed):
            await organism.ask(Go("x"), to="agent")
    assert [huh.attempts_left for huh in payloads(seen, Huh)] == [2, 2, 1]


async def test_misroutes_and_rejections_count_together() -> None:
    seen: list[Any] = []
    astray = HandlerResponse(Order(1), to="nobody")
    async with open_audited(agent(BAD, astray, BAD, seen=seen), SHOP) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Go("x"), to="agent")
        assert [huh.attempts_left for huh in caught.value.outcome.rejections] == [2, 1, 0]
    assert [type(payload) for payload, _ in seen] == [Go, Huh, SystemError]


async def test_each_thread_has_its_own_attempts() -> None:
    seen: list[Any] = []
    async with open_audited(agent(BAD, BAD, seen=seen), agent_two(seen), SHOP) as organism:
        assert await organism.ask(Go("x"), to="agent") == Reply("done")
        assert await organism.ask(Go("x"), to="two") == Reply("done")
    assert [huh.attempts_left for huh in payloads(seen, Huh)] == [2, 1, 2, 1]


def agent_two(seen: list[Any]) -> ListenerConfig:
    script: list[Any] = [BAD, BAD]

    async def act(payload: Any, metadata: HandlerMetadata) -> Any:
        seen.append((payload, metadata))
        return script.pop(0) if script else HandlerResponse.respond(Reply("done"))

    return listener("two", [Go, Huh], act)


async def test_the_caller_of_a_sender_with_spent_attempts_is_told_and_may_go_on() -> None:
    seen: list[Any] = []
    told: list[SystemError] = []

    async def front(payload: Go | SystemError, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Go):
            return HandlerResponse(payload, to="agent")
        told.append(payload)
        assert metadata.from_id == "system"
        return HandlerResponse.respond(Reply("it never learnt"))

    async with open_audited(
        listener("front", [Go, SystemError], front), agent(BAD, BAD, BAD, seen=seen), SHOP
    ) as organism:
        outcome = await organism.wait(await organism.send(Go("x"), to="front"))
        assert outcome.payloads == (Reply("it never learnt"),)
        assert [payload.code for payload in told] == ["validation"]
        assert len(payloads(seen, Huh)) == 2
        # two Huhs were handled by their receiver, the spent attempts by its caller: none is unanswered
        assert outcome.state is ConversationState.COMPLETED


async def test_spent_attempts_prune_what_the_sender_had_running(
    autojump_clock: trio.testing.MockClock,
) -> None:

    seen: list[Any] = []
    async with open_audited(
        agent(BAD + GOOD, BAD, BAD, seen=seen), listener("shop", Order, hang)
    ) as organism:
        with pytest.raises(ConversationFailed):
            await organism.ask(Go("x"), to="agent")
        assert trio.current_time() == 0
        assert organism.statistics()["messages"]["abandoned_by"] == {"pruned": 1}
