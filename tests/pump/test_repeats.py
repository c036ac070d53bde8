"""Claims of pump/repeats.py, and of agents that have nothing new to say to each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.config import Budgets, ListenerConfig
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Huh, Outcome, SystemError
from phloem.organism import Organism
from phloem.pump.repeats import CUT_EVERY, LOOK_BACK, MOST_WORDS, Talk, further_talk, words_of
from support.auditing import open_audited, report_of
from support.flows import outcome_of
from support.listeners import Ask, Note, Reply, drop, listener
from support.told import told


def xml(*texts: str) -> str:
    return f"<Ask>{''.join(f'<Text>{text}</Text>' for text in texts)}</Ask>"


def runs_of(*said: tuple[str, str, str]) -> list[int]:
    """How many repeats in a row each of these (sender, taker, text) is."""
    talk: Talk | None = None
    runs = []
    for sender, taker, text in said:
        talk = further_talk(talk, sender, taker, xml(text))
        runs.append(talk.run)
    return runs


def chain_of(talk: Talk | None) -> list[Talk]:
    found: list[Talk] = []
    while talk is not None:
        found.append(talk)
        talk = talk.before
    return found


# -- words ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<A><B>Thank  you</B></A>", "<A><B>\n thank\tYOU </B></A>"),
        ("<A><B>x</B><C>y</C></A>", "<Other><C>y</C><B>x</B></Other>"),
        ("<A><B>x</B><B>x</B></A>", "<A><B>x</B></A>"),
        ("<Stop></Stop>", "<Stop/>"),
        ("<Stop> \n </Stop>", "<Stop/>"),
        ("<A><B>straße</B></A>", "<A><B>STRASSE</B></A>"),
    ],
)
def test_case_white_space_order_and_wrapping_are_no_content(one: str, other: str) -> None:
    assert words_of(one) == words_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<A><B>x</B></A>", "<A><B>y</B></A>"),
        ("<Stop></Stop>", "<Start></Start>"),
        ("<A><B>7</B></A>", "<A><B>75</B></A>"),
        ("<A><B>new <i>same</i></B></A>", "<A><B>old <i>same</i></B></A>"),
        ("<A><B><i>same</i> new</B></A>", "<A><B><i>same</i> old</B></A>"),
        ('<A xmlns:x="urn:1>2"><B>x</B></A>', '<A xmlns:x="urn:1>2"><B>y</B></A>'),
    ],
)
def test_each_text_is_content_and_so_is_the_name_of_what_is_empty(one: str, other: str) -> None:
    assert words_of(one) != words_of(other)


def test_a_long_message_is_one_word() -> None:
    texts = [f"word {n}" for n in range(MOST_WORDS + 1)]
    assert len(words_of(xml(*texts[:-1]))) == MOST_WORDS
    assert len(words_of(xml(*texts))) == 1
    assert words_of(xml(*texts)) == words_of(
        xml(*texts).upper().replace("ASK", "Ask").replace("TEXT", "Text")
    )
    assert words_of(xml(*texts)) != words_of(xml(*texts, "one more"))


# -- chains -----------------------------------------------------------------------------------
def test_thanks_and_thanks_for_those_repeat_from_the_second_on() -> None:
    thanks = [("a", "b", "Thanks!"), ("b", "a", "thanks!")]
    assert runs_of(*thanks, *thanks) == [0, 1, 2, 3]


def test_a_new_word_begins_anew() -> None:
    said = [("a", "b", "x"), ("b", "a", "x"), ("a", "b", "x"), ("b", "a", "y"), ("a", "b", "x")]
    assert runs_of(*said) == [0, 1, 2, 0, 1]


def test_an_old_word_beside_a_new_one_is_new() -> None:
    first = further_talk(None, "a", "b", xml("x"))
    assert further_talk(first, "b", "a", xml("x", "y")).run == 0
    assert further_talk(first, "b", "a", xml("x", "x")).run == 1


def test_each_pair_has_its_own_words() -> None:
    """A question that is handed on, and its answer that is handed back, repeat nothing."""
    handed = [
        ("a", "b", "q"),
        ("b", "c", "q"),
        ("c", "d", "q"),
        ("d", "c", "r"),
        ("c", "b", "r"),
        ("b", "a", "r"),
    ]
    assert runs_of(*handed) == [0] * 6


def test_a_ring_repeats_pair_by_pair() -> None:
    ring = [("a", "b", "x"), ("b", "c", "x"), ("c", "a", "x")]
    assert runs_of(*ring * 4) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3


def test_branches_of_a_chain_do_not_hear_each_other() -> None:
    start = further_talk(None, "a", "b", xml("x"))
    assert [further_talk(start, "a", "b", xml("y")).run for _ in range(5)] == [0] * 5
    assert [further_talk(start, "a", name, xml("x")).run for name in "cdefg"] == [0] * 5


@given(st.integers(1, LOOK_BACK), st.integers(2, 4))
def test_any_round_that_is_within_reach_is_found(length: int, times: int) -> None:
    """The same so many texts, over and over: from the second round on nothing is new."""
    texts = [("a", "b", f"text {n}") if n % 2 else ("b", "a", f"text {n}") for n in range(length)]
    runs = runs_of(*texts * times)
    assert runs[:length] == [0] * length
    assert runs[length:] == list(range(1, length * (times - 1) + 1))


@given(st.integers(1, 500), st.integers(1, 5))
def test_a_chain_never_grows_with_the_conversation_and_forgets_nothing_in_reach(
    count: int, pairs: int
) -> None:
    talk: Talk | None = None
    for n in range(count):
        talk = further_talk(talk, f"a{n % pairs}", "b", xml("x"))
        assert talk.run == n // pairs
    assert len(chain_of(talk)) <= CUT_EVERY + LOOK_BACK
    assert len(chain_of(talk)) >= min(count, LOOK_BACK)


# -- agents -----------------------------------------------------------------------------------
def agent(name: str, handler: Any, peers: list[str], **more: Any) -> ListenerConfig:
    takes = [Ask, Note, Reply, Huh, SystemError]
    return listener(name, takes, handler, is_agent=True, peers=peers, **more)


def says(to: str, text: Callable[[int], str] = lambda n: "Thanks!") -> Any:
    """A handler that always has something to say to the same one."""
    said = 0

    async def handle(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        nonlocal said
        said += 1
        return HandlerResponse(Note(text(said)), to=to)

    return handle


async def talking(*listeners: ListenerConfig, **budgets: Any) -> tuple[Outcome, Organism]:
    async with open_audited(*listeners, budgets=Budgets(**budgets)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "a")
    return outcome, organism


async def test_two_agents_that_thank_each_other_are_stopped_long_before_the_hops_are_over() -> None:
    outcome, organism = await talking(agent("a", says("b"), ["b"]), agent("b", says("a"), ["a"]))
    assert outcome.state is ConversationState.OUT_OF_BUDGET
    assert outcome.cause is not None
    assert (outcome.cause.reason, outcome.cause.listener) == ("repeats", "b")
    assert "3 of 3 messages in a row between b and a" in outcome.cause.text
    assert "these repeat: " in outcome.cause.text
    assert report_of(organism).accepted == 1 + 3, "the third one in a row was not opened"
    (event,) = told(organism, "node_stalled")
    assert dict(event.data) == {"reason": "repeats", "listener": "a", "repeats": 3}
    assert event.node_id == "b"


@pytest.mark.parametrize("repeats", [1, 2, 5, 20])
async def test_how_many_is_a_budget(repeats: int) -> None:
    listeners = agent("a", says("b"), ["b"]), agent("b", says("a"), ["a"])
    _, organism = await talking(*listeners, repeats=repeats)
    assert report_of(organism).accepted == 1 + repeats


async def test_without_a_bound_the_hops_end_it() -> None:
    listeners = agent("a", says("b"), ["b"]), agent("b", says("a"), ["a"])
    outcome, organism = await talking(*listeners, repeats=math.inf, hops=50, depth=100)
    assert outcome.cause is not None
    assert "(hops)" in outcome.cause.text
    assert told(organism, "node_stalled") == []


async def test_a_call_may_have_its_own() -> None:
    listeners = agent("a", says("b"), ["b"]), agent("b", says("a"), ["a"])
    async with open_audited(*listeners) as organism, organism.open_conversation() as conversation:
        receipt = await conversation.send(Ask("x"), "a", budgets=Budgets(repeats=1))
        outcome = await organism.wait(receipt)
        assert outcome.cause is not None
        assert "1 of 1 messages in a row" in outcome.cause.text
        again = await conversation.send(Ask("x"), "a")
        outcome = await organism.wait(again)  # the turn has ended for it, and not the conversation
        assert outcome.cause is not None
        assert "3 of 3 messages in a row" in outcome.cause.text


async def test_agents_that_have_something_new_to_say_go_on() -> None:
    listeners = (
        agent("a", says("b", "a says {}".format), ["b"]),
        agent("b", says("a", "b says {}".format), ["a"]),
    )
    outcome, _ = await talking(*listeners, hops=100)
    assert outcome.cause is not None
    assert outcome.cause.reason == "budget"


async def test_answers_repeat_as_calls_do() -> None:
    """Asked the same again and again, and answered the same: the answers are part of the chain."""

    async def asks(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(Ask("status?"), to="b")

    async def replies(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Reply("pending"))

    outcome, organism = await talking(agent("a", asks, ["b"]), agent("b", replies, []))
    assert outcome.cause is not None
    assert outcome.cause.reason == "repeats"
    assert report_of(organism).accepted == 1 + 4


async def test_what_lies_between_does_not_break_the_chain() -> None:
    """An agent that asks a tool before it thanks again repeats itself all the same."""

    async def asks_first(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Note):
            return HandlerResponse(Ask("what now?"), to="tool")
        return HandlerResponse(Note("Thanks!"), to="a")

    async def tool(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Reply("nothing"))

    listeners = (
        agent("a", says("b"), ["b"]),
        agent("b", asks_first, ["a", "tool"]),
        listener("tool", Ask, tool),
    )
    outcome, _ = await talking(*listeners, hops=100)
    assert outcome.cause is not None
    assert outcome.cause.reason == "repeats"


async def test_a_ring_of_agents_is_named() -> None:
    ring = [agent(name, says(to), [to]) for name, to in zip("abc", "bca", strict=True)]
    outcome, organism = await talking(*ring)
    assert outcome.cause is not None
    assert outcome.cause.reason == "repeats"
    assert "c > a > b > c" in outcome.cause.text
    assert report_of(organism).accepted == 1 + 9


async def test_listeners_that_are_no_agents_may_repeat_themselves() -> None:
    takes = [Ask, Note]
    listeners = [
        (agent("a", says("b"), ["b"]), listener("b", takes, says("a"))),
        (listener("a", takes, says("b")), agent("b", says("a"), ["a"])),
        (agent("a", says("a"), ["a"]),),
    ]
    for each in listeners:
        outcome, _ = await talking(*each, hops=30)
        assert outcome.cause is not None
        assert outcome.cause.reason == "budget"


async def test_one_question_to_many_is_no_repetition() -> None:
    async def asks(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return [HandlerResponse(Note("the same"), to=f"w{n % 5}") for n in range(20)]
        return None

    async def replies(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Reply("the same answer"))

    workers = [agent(f"w{n}", replies, []) for n in range(5)]
    outcome, _ = await talking(agent("a", asks, [f"w{n}" for n in range(5)]), *workers, repeats=1)
    assert outcome.state is ConversationState.COMPLETED


async def test_retries_and_corrections_are_no_repetition() -> None:
    tries = 0

    async def asks(payload: Any, metadata: HandlerMetadata) -> Any:
        nonlocal tries
        tries += 1
        if isinstance(payload, Reply):
            return HandlerResponse.respond(payload)
        if tries < 3:
            return [HandlerResponse(Note("the same"), to="b"), HandlerResponse(Note("the same"), to="nobody")]
        return HandlerResponse(Ask("the same"), to="b")

    async def fails_first(payload: Any, metadata: HandlerMetadata) -> Any:
        if metadata.attempt < 3:
            raise ValueError("not yet")
        return HandlerResponse.respond(Reply("done")) if isinstance(payload, Ask) else None

    listeners = agent("a", asks, ["b"]), agent("b", fails_first, [], retries=3, retry_base_delay=0.0)
    outcome, _ = await talking(*listeners, repeats=1)
    assert outcome.state is ConversationState.COMPLETED
    assert outcome.payloads == (Reply("done"),)


async def test_none_of_what_is_sent_with_a_repetition_is_opened() -> None:
    async def both(payload: Any, metadata: HandlerMetadata) -> Any:
        return [HandlerResponse(Note("x"), to="c"), HandlerResponse(Note("x"), to="b")]

    async def echo(payload: Any, metadata: HandlerMetadata) -> Any:
        return HandlerResponse.respond(Reply("x"))

    listeners = agent("a", both, ["b", "c"]), agent("b", echo, []), listener("c", Note, drop)
    _, organism = await talking(*listeners, repeats=2)
    assert organism.statistics()["listeners"]["c"]["handled"] <= 1
    assert report_of(organism).accepted == 4, "a, b and c once, and b's answer"
