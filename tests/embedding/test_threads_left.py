"""How an organism in a thread of its own ends: drained, cut, dead, refused; and who is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest
import trio

from phloem.config import ListenerConfig, OrganismConfig
from phloem.embedding.threads import OrganismInThread, open_organism_in_thread
from phloem.errors import (
    CallerError,
    ConfigurationError,
    ConversationFailed,
    OrganismClosed,
)
from phloem.messages import ConversationState, HandlerMetadata
from phloem.pump.calling import on_host
from support.aside import config_of, in_thread, threads_of, until
from support.held import LONGEST, Held
from support.listeners import Ask, Reply, listener


@pytest.fixture(name="organism")
def opened_aside() -> Iterator[OrganismInThread]:
    with open_organism_in_thread(config_of()) as opened:
        yield opened
    assert threads_of("aside") == []


# -- leaving --------------------------------------------------------------------------------------


def test_left_normally_it_drains() -> None:
    held = Held()
    with open_organism_in_thread(config_of(listener("held", Ask, held))) as organism:
        receipt = organism.send(Ask("x"), to="held")
        assert held.entered.acquire(timeout=LONGEST)
        threading.Timer(0.02, held.released.release).start()
    assert organism.report.handled == 2
    assert organism.report.abandoned_threads == ()
    with pytest.raises(OrganismClosed, match="has stopped, or its block has been left"):
        organism.wait(receipt)
    assert organism.statistics()["messages"]["handled"] == 2


@pytest.mark.parametrize("error", [KeyError("own"), KeyboardInterrupt(), SystemExit(3)])
def test_left_by_an_error_it_drops_what_is_in_flight_and_its_thread_ends(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, open_organism_in_thread(config_of()) as organism:  # noqa: PT012
        organism.send(Ask("x"), to="hang")
        raise error
    assert caught.value is error
    assert organism.report.abandoned == 1
    assert organism.report.abandoned_messages[0].state == "running"
    assert threads_of("aside") == []


def test_the_report_names_a_thread_that_outlives_the_block() -> None:
    held = Held()
    with open_organism_in_thread(config_of(listener("held", Ask, held), shutdown_grace=0.01)) as organism:
        organism.send(Ask("x"), to="held")
        assert held.entered.acquire(timeout=LONGEST)
    assert organism.report.abandoned_threads == ("held",)
    held.released.release()
    until(lambda: organism.report.abandoned_threads == ())


def test_who_asks_as_it_is_left_is_told_how_it_ended() -> None:
    with open_organism_in_thread(config_of(shutdown_grace=0.01)) as organism:
        thread, ended = in_thread(lambda: organism.ask(Ask("x"), to="hang"))
        until(lambda: organism.report.in_flight)
    thread.join(LONGEST)
    (error,) = ended
    assert isinstance(error, ConversationFailed)
    assert error.outcome.state is ConversationState.DRAINED


def test_who_asks_as_it_is_cut_is_told_that_it_has_stopped() -> None:
    asking = list[tuple[threading.Thread, list[Any]]]()
    with pytest.raises(KeyError), open_organism_in_thread(config_of()) as organism:  # noqa: PT012
        asking.append(in_thread(lambda: organism.ask(Ask("x"), to="hang")))
        until(lambda: organism.report.in_flight)
        raise KeyError
    ((thread, ended),) = asking
    thread.join(LONGEST)
    assert isinstance(ended[0], OrganismClosed | ConversationFailed)


def test_a_conversation_that_another_thread_holds_keeps_nobody_waiting() -> None:
    opened, left = threading.Event(), threading.Event()

    def holds() -> str:
        with organism.open_conversation() as conversation:
            opened.set()
            left.wait(LONGEST)
        return conversation.id

    with open_organism_in_thread(config_of()) as organism:
        thread, ended = in_thread(holds)
        assert opened.wait(LONGEST)
    left.set()
    thread.join(LONGEST)
    assert isinstance(ended[0], str)


# -- what it refuses, and what it dies of ---------------------------------------------------------


def test_a_configuration_with_faults_is_told_at_once(tmp_path: Any) -> None:
    with (
        pytest.raises(ConfigurationError, match="no handler"),
        open_organism_in_thread(OrganismConfig("aside", [ListenerConfig("x", Ask)])),
    ):
        raise AssertionError("it opened")
    (tmp_path / "organism.yaml").write_text("listeners: 7\n")
    with (
        pytest.raises(ConfigurationError, match=r"organism\.yaml:1:12"),
        open_organism_in_thread(tmp_path / "organism.yaml"),
    ):
        raise AssertionError("it opened")


def test_a_fault_found_within_its_thread_arrives_as_it_is() -> None:
    @on_host
    async def hosts(payload: Ask, metadata: HandlerMetadata) -> None: ...

    hosted = listener("hosted", Ask, hosts)
    with pytest.raises(ConfigurationError) as caught, open_organism_in_thread(config_of(hosted)):
        raise AssertionError("it opened")
    assert caught.value.faults[0].where == "listener 'hosted'"
    assert threads_of("aside") == []


class Breaks:
    """An observer that raises at the first message from the console."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None

    def dispatched(self, delivery: Any) -> None:
        if delivery.sender == "console":
            raise LookupError("the observer's own")


def test_what_it_dies_of_is_raised_to_who_calls_next_and_at_the_end() -> None:
    with (  # noqa: PT012
        pytest.raises(LookupError, match="the observer's own") as caught,
        open_organism_in_thread(config_of(), observer=cast("Any", Breaks())) as organism,
    ):
        with pytest.raises(OrganismClosed):
            organism.ask(Ask("x"), to="back", sender="console")
        until(lambda: not threads_of("aside"))
        with pytest.raises(OrganismClosed, match="has died of LookupError: the observer's own") as closed:
            organism.ask(Ask("y"), to="back")
        assert isinstance(closed.value.__cause__, LookupError)
    assert isinstance(caught.value.__cause__, BaseExceptionGroup)
    assert threads_of("aside") == []


def test_its_death_is_raised_instead_of_the_error_it_caused() -> None:
    with (  # noqa: PT012
        pytest.raises(LookupError, match="the observer's own"),
        open_organism_in_thread(config_of(), observer=cast("Any", Breaks())) as organism,
    ):
        while True:
            organism.ask(Ask("x"), to="back", sender="console")


async def test_a_trio_task_is_refused() -> None:
    with pytest.raises(CallerError, match="open_organism_in_thread: found a Trio task"):  # noqa: SIM117
        with open_organism_in_thread(config_of()):
            raise AssertionError("it opened")

    def opened() -> None:
        with open_organism_in_thread(config_of()) as organism:
            trio.from_thread.run_sync(refused, organism)
            assert organism.ask(Ask("x"), to="back") == Reply("x")

    def refused(organism: OrganismInThread) -> None:
        with pytest.raises(CallerError, match="organism 'aside': found a Trio task"):
            organism.ask(Ask("x"), to="back")

    await trio.to_thread.run_sync(opened)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system with fork runs it")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_fork_is_told_that_it_has_no_organism(organism: OrganismInThread) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            organism.ask(Ask("x"), to="back")
        except OrganismClosed as error:
            code = 0 if "in a fork of the process that opened it" in str(error) else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert organism.ask(Ask("x"), to="back") == Reply("x")


def test_a_crash_of_its_loop_leaves_nobody_waiting() -> None:
    async def crashes(payload: Ask, metadata: HandlerMetadata) -> None:
        trio.lowlevel.current_trio_token().run_sync_soon([].pop)
        await trio.sleep_forever()

    with (  # noqa: PT012
        pytest.raises(trio.TrioInternalError),
        open_organism_in_thread(config_of(listener("crashes", Ask, crashes))) as organism,
    ):
        thread, ended = in_thread(lambda: organism.ask(Ask("x"), to="hang"))
        with pytest.raises(OrganismClosed):
            organism.ask(Ask("x"), to="crashes")
        thread.join(LONGEST)
        assert isinstance(ended[0], OrganismClosed)
