"""The sync door: an organism in a thread of its own, asked by threads that block."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from phloem.config import Budgets
from phloem.embedding.threads import OrganismInThread, open_organism_in_thread
from phloem.errors import (
    ConversationFailed,
    MessageRejected,
    OrganismClosed,
    OutcomeForgotten,
    WouldDeadlock,
)
from phloem.events import AgentEvent
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Receipt
from phloem.organism import Organism, open_organism
from support.aside import config_of, in_thread, threads_of, whose
from support.held import LONGEST
from support.listeners import Ask, Reply, listener

DOCUMENT = (
    '<message xmlns="https://xml-pipeline.org/ns/envelope/v1"><meta><from>x</from><to>back</to></meta>'
    '<Ask xmlns=""><Text>c</Text></Ask></message>'
)


@pytest.fixture(name="organism")
def opened_aside() -> Iterator[OrganismInThread]:
    with open_organism_in_thread(config_of()) as opened:
        yield opened
    assert threads_of("aside") == []


# -- calls ----------------------------------------------------------------------------------------


def test_it_takes_what_the_async_one_takes_and_has_its_calls_by_the_same_names() -> None:
    theirs, ours = (dict(inspect.signature(f).parameters) for f in (open_organism, open_organism_in_thread))
    del theirs["host"]
    assert {name: each.default for name, each in ours.items()} == {
        name: each.default for name, each in theirs.items()
    }
    for name in ("ask", "send", "inject", "wait", "wait_idle", "kill", "shutdown", "open_conversation"):
        theirs, ours = (
            dict(inspect.signature(getattr(kind, name)).parameters) for kind in (Organism, OrganismInThread)
        )
        assert ours.pop("timeout").default is None
        assert list(ours) == list(theirs)


def test_every_call_has_the_result_of_the_awaited_one(organism: OrganismInThread) -> None:
    assert organism.ask(Ask("a"), to="back", sender="console", budgets=Budgets(messages=5)) == Reply("a")
    receipt = organism.send(Ask("b"), to="back")
    assert isinstance(receipt, Receipt)
    assert organism.wait(receipt).payloads == (Reply("b"),)
    receipt = organism.inject(DOCUMENT)
    assert organism.wait(receipt).payloads == (Reply("c"),)
    receipt = organism.send(Ask("d"), to="hang")
    assert [view.state for view in organism.threads if view.listener == "hang"] == ["running"]
    assert organism.todos == ()
    assert organism.kill(receipt.conversation) is True
    assert organism.kill(receipt.conversation) is False
    organism.wait_idle()
    assert organism.statistics()["conversations"]["live"] == 0
    assert set(organism.listeners) >= {"back", "hang"}
    assert organism.config.name == "aside"
    report = organism.shutdown(grace=1)
    assert report == organism.report
    assert report.abandoned == 1


def test_what_a_call_raises_is_what_the_awaited_one_raises(organism: OrganismInThread) -> None:
    with pytest.raises(MessageRejected):
        organism.ask(Ask("x"), to="nobody")
    with pytest.raises(OutcomeForgotten):
        organism.wait(Receipt("no such", "thread"))
    with pytest.raises(ConversationFailed, match="timed_out"):
        organism.ask(Ask("x"), to="hang", budgets=Budgets(seconds=0.01))


def test_the_callers_context_reaches_the_handler_and_no_other(organism: OrganismInThread) -> None:
    def ask(name: str) -> Reply:
        whose.set(name)
        reply: Reply = organism.ask(Ask("x"), to="whose")
        return reply

    runs = [in_thread(lambda name=name: ask(name)) for name in "abcdef"]  # type: ignore[misc]
    for (thread, ended), name in zip(runs, "abcdef", strict=True):
        thread.join(LONGEST)
        assert ended == [Reply(name)]
    assert organism.ask(Ask("x"), to="whose") == Reply("nobody's")


def test_any_number_of_threads_may_ask_at_once(organism: OrganismInThread) -> None:
    def ask(number: int) -> list[str]:
        return [organism.ask(Ask(f"{number}.{turn}"), to="back").text for turn in range(20)]

    runs = [in_thread(lambda number=number: ask(number)) for number in range(20)]  # type: ignore[misc]
    for number, (thread, ended) in enumerate(runs):
        thread.join(LONGEST)
        assert ended == [[f"{number}.{turn}" for turn in range(20)]]
    assert organism.report.handled == 401


def test_plain_handlers_run_in_it_and_cannot_ask_it(organism: OrganismInThread) -> None:
    raised: list[BaseException] = []

    def asks(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        try:
            own.ask(payload, to="back")
        except WouldDeadlock as error:
            raised.append(error)
        return HandlerResponse.respond(organism.ask(payload, to="back"))  # another one it may

    with open_organism_in_thread(config_of(listener("asks", Ask, asks))) as own:
        assert own.ask(Ask("x"), to="asks") == Reply("x")
    assert "inside a dispatch of 'asks'" in str(raised[0])


def test_an_async_handler_of_its_own_cannot_block_it() -> None:
    raised: list[BaseException] = []

    async def asks(payload: Ask, metadata: HandlerMetadata) -> None:
        with pytest.raises(WouldDeadlock) as caught:
            own.ask(payload, to="back")
        raised.append(caught.value)
        assert own.statistics()["messages"]["in_flight"] == 1  # reading blocks nobody

    with open_organism_in_thread(config_of(listener("asks", Ask, asks))) as own:
        own.wait(own.send(Ask("x"), to="asks"))
    assert "which would wait for itself" in str(raised[0])


# -- timeouts -------------------------------------------------------------------------------------


def test_a_call_out_of_time_is_cancelled_as_if_its_caller_had_been(organism: OrganismInThread) -> None:
    with pytest.raises(TimeoutError, match=r"'aside' has not answered within 0\.05 s"):
        organism.ask(Ask("x"), to="hang", timeout=0.05)
    organism.wait_idle(timeout=LONGEST)
    assert organism.report.abandoned == 1
    assert organism.ask(Ask("y"), to="back", timeout=LONGEST) == Reply("y")


def test_a_wait_out_of_time_cancels_nothing_else(organism: OrganismInThread) -> None:
    receipt = organism.send(Ask("x"), to="hang")
    for _ in range(3):
        with pytest.raises(TimeoutError):
            organism.wait(receipt, timeout=0.01)
    with pytest.raises(TimeoutError):
        organism.wait_idle(timeout=0.01)
    assert organism.report.in_flight == 1
    assert organism.kill(receipt.conversation, timeout=LONGEST)


def test_a_send_without_time_accepts_nothing(organism: OrganismInThread) -> None:
    accepted = organism.report.accepted
    with pytest.raises(TimeoutError):
        organism.send(Ask("x"), to="back", timeout=0)
    assert organism.report.accepted == accepted


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_that_is_none_is_refused(organism: OrganismInThread, timeout: float) -> None:
    with pytest.raises(ValueError, match="expected seconds, 0 or more, or None"):
        organism.ask(Ask("x"), to="back", timeout=timeout)


def test_a_wait_for_a_seat_has_a_timeout_too() -> None:
    with open_organism_in_thread(config_of(max_in_flight=1)) as organism:
        with organism.open_conversation(timeout=LONGEST):
            with pytest.raises(TimeoutError), organism.open_conversation(timeout=0.01):
                raise AssertionError("there was a second seat")
            with pytest.raises(TimeoutError):
                organism.send(Ask("x"), to="back", timeout=0.01)
        assert organism.ask(Ask("x"), to="back") == Reply("x")


# -- conversations and streams --------------------------------------------------------------------


def test_a_conversation_keeps_its_turns_together(organism: OrganismInThread) -> None:
    with organism.open_conversation("console", budgets=Budgets(messages=50)) as conversation:
        assert conversation.ask(Ask("a"), to="back") == Reply("a")
        receipts = [conversation.send(Ask("b"), to="back"), conversation.inject(DOCUMENT)]
        assert [receipt.turn for receipt in receipts if receipt.conversation == conversation.id] == [2, 3]
        with pytest.raises(TimeoutError):
            conversation.ask(Ask("d"), to="hang", timeout=0.01)
        assert conversation.ask(Ask("e"), to="back", timeout=LONGEST) == Reply("e")
    with pytest.raises(OrganismClosed):
        conversation.ask(Ask("f"), to="back")


def test_a_conversation_left_by_an_error_is_cut(organism: OrganismInThread) -> None:
    receipts = list[Receipt]()
    with pytest.raises(KeyError), organism.open_conversation() as conversation:  # noqa: PT012
        receipts.append(conversation.send(Ask("x"), to="hang"))
        raise KeyError
    assert organism.wait(receipts[0], timeout=LONGEST).state is ConversationState.CANCELLED
    assert organism.ask(Ask("y"), to="back") == Reply("y")


def test_a_stream_is_a_plain_iterator(organism: OrganismInThread) -> None:
    with organism.open_stream("execution_completed", since=0) as events:
        assert isinstance(next(events), AgentEvent)  # of the first message of the run
        with pytest.raises(TimeoutError):
            events.receive(timeout=0.01)
        for number in range(3):
            organism.ask(Ask(str(number)), to="back")
        read = [next(events) for _ in range(3)]
    assert all(isinstance(event, AgentEvent) for event in read)
    with pytest.raises(StopIteration):
        next(events)


def test_a_stream_read_by_another_thread_ends_with_the_organism_and_misses_nothing() -> None:
    opened = threading.Event()
    read: list[Any] = []

    def reads() -> None:
        with organism.open_stream("execution_completed") as events:
            opened.set()
            for event in events:
                read.append(event)
                time.sleep(0.001)  # slower than the organism

    with open_organism_in_thread(config_of()) as organism:
        thread, ended = in_thread(reads)
        assert opened.wait(LONGEST)
        for number in range(30):
            organism.ask(Ask(str(number)), to="back")
    thread.join(LONGEST)
    assert ended == [None]
    assert len(read) == 30
