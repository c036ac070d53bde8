"""Streams that feed an organism: read no faster than it takes them, and never its end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import ListenerConfig, OrganismConfig
from phloem.errors import OrganismClosed, WouldDeadlock
from phloem.feeding.attached import Attached
from phloem.messages import HandlerMetadata
from phloem.organism import Organism, open_organism
from phloem.testing import sweep
from support.auditing import open_audited
from support.feeds import Chunks, Log, sent
from support.gates import Gates, settled
from support.listeners import BACK, HANG, Ask, listener
from support.told import told

LINES = b"a\nb\nc\n"
XML = b"<Ask><Text>%b</Text></Ask>"


def open_logging(*listeners: ListenerConfig) -> AbstractAsyncContextManager[Organism]:
    """One that tells the log, as it does by default."""
    return open_organism(OrganismConfig("fed", listeners))


async def fed(stream: Any, framing: str = "lines", to: str | None = "log") -> tuple[Log, dict[str, Any]]:
    """What comes of a stream in an organism that only logs."""
    log = Log()
    async with open_audited(log.listener) as organism:
        attached = organism.attach(stream, sender="feed", framing=framing, to=to)
        await attached.wait_done()
        await organism.wait_idle()
    assert attached.closed
    assert log.senders <= {"feed"}
    return log, attached.statistics()


# -- what is in it ---------------------------------------------------------------------------------


async def test_envelopes_lines_and_texts_become_messages() -> None:
    log, statistics = await fed(Chunks(XML % b"a", XML % b"b"), "xml", None)
    assert sorted(log.texts) == ["a", "b"]
    assert (statistics["messages"], statistics["accepted"], statistics["completed"]) == (2, 2, 2)
    line = b'{"to": "log", "payload": {"text": "a"}}\n'
    log, _ = await fed(
        Chunks(line, b'{"payload": {"text": "b"}}\n', b'{"to":"log","xml":"' + XML % b"c" + b'"}'), "ndjson"
    )
    assert sorted(log.texts) == ["a", "b", "c"]


async def test_what_is_no_message_is_counted_and_told_and_reading_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = Log()
    async with open_logging(log.listener) as organism:
        stream = Chunks(
            b'nope\n{"to": "log", "payload": {"text": 5}}\n', b'{"to": "log", "payload": {"text": "a"}}\n'
        )
        attached = organism.attach(stream, sender="feed", framing="ndjson")
        await attached.wait_done()
        await organism.wait_idle()
        assert sent(attached) == (3, 1, 2, 0)
        events = told(organism, "message_rejected")
    assert log.texts == ["a"]
    assert [(event.execution_id, event.data["sender"], event.data["code"]) for event in events] == [
        (None, "feed", "not-json"),
        (None, "feed", "type"),
    ]
    assert events[1].data["path"] == "line 2, payload.text"
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "no message in the stream of feed (not-json): line 1" in caplog.text


async def test_what_the_organism_refuses_is_counted_and_reading_goes_on() -> None:
    stream = Chunks(b"<Nothing/>", XML % b"a", b'<Ask><Text a="1">b</Text></Ask>')
    log, statistics = await fed(stream, "xml", None)
    assert log.texts == ["a"]
    assert (statistics["messages"], statistics["accepted"], statistics["rejected"]) == (3, 1, 2)
    log, statistics = await fed(Chunks(b"ok\n", b"b\x01d\n", b"\xff\n"))
    assert log.texts == ["ok"]
    assert (statistics["messages"], statistics["accepted"], statistics["rejected"]) == (3, 1, 2)


async def test_a_chunk_full_of_what_is_no_message_holds_up_nobody() -> None:
    log = Log()
    async with open_audited(log.listener) as organism:
        attached = organism.attach(Chunks(b"nope\n" * 1_000), sender="feed", framing="ndjson")
        await trio.lowlevel.checkpoint()
        await organism.send(Ask("meanwhile"), "log")
        assert sent(attached)[2] < 1_000
        await attached.wait_done()
    assert sent(attached) == (1_000, 0, 1_000, 0)


# -- how fast it is read ---------------------------------------------------------------------------


async def test_no_more_is_read_than_has_seats() -> None:
    gates = Gates()
    async with open_audited(gates.listener, max_in_flight=2) as organism:
        stream = Chunks(b"a\nb\nc\n", b"d\n", b"e\n")
        attached = organism.attach(stream, sender="feed", framing="lines", to="gate")
        await settled()
        assert (stream.asked, sent(attached)) == (1, (3, 2, 0, 1))
        assert attached.statistics()["waiting"] == 1
        gates.open("a")
        await settled()
        assert (stream.asked, sent(attached)) == (2, (4, 3, 0, 1))
        for text in "bcde":
            gates.open(text)
        await attached.wait_done()
    assert gates.entered == ["a", "b", "c", "d", "e"]


async def test_a_pipe_that_nobody_reads_from_is_full_and_its_writer_waits() -> None:
    gates = Gates()
    async with open_audited(gates.listener, max_in_flight=1) as organism, trio.open_nursery() as nursery:
        ours, theirs = trio.testing.memory_stream_one_way_pair()

        async def write() -> None:
            for number in range(3):
                await ours.send_all(f"{number}\n".encode())
                await settled()
            await ours.aclose()

        nursery.start_soon(write)
        attached = organism.attach(theirs, sender="feed", framing="lines", to="gate")
        for number in range(3):
            await settled()
            assert attached.statistics()["accepted"] == number + 1
            gates.open(str(number))
        await attached.wait_done()


async def test_an_urgent_stream_goes_before_a_flood(autojump_clock: trio.abc.Clock) -> None:
    served: list[str] = []

    async def serve(payload: Ask, metadata: HandlerMetadata) -> None:
        served.append(metadata.from_id)
        await trio.sleep(1)

    clerk = listener("clerk", Ask, serve, max_concurrent=1)
    async with open_audited(clerk, max_in_flight=3, shutdown_grace=99) as organism:
        flood = organism.attach(Chunks(b"x\n" * 20), sender="flood", framing="lines", to="clerk")
        await trio.sleep(2.5)
        alarm = organism.attach(
            Chunks(b"x\n" * 3), sender="alarm", framing="lines", to="clerk", priority=True
        )
        assert organism.sources == {"flood": flood, "alarm": alarm}
        assert organism.statistics()["sources"]["flood"] == flood.statistics()
        await flood.wait_done()
    assert served[:3] == ["flood"] * 3
    assert served[3:8].count("alarm") == 3


# -- how it ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OSError("gone"), trio.BrokenResourceError(), GeneratorExit(), SystemExit(3)]
)
async def test_a_stream_that_breaks_ends_its_source_and_nothing_else(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log()
    async with open_logging(log.listener) as organism:
        attached = organism.attach(Chunks(b"a\nhalf of", error), sender="feed", framing="lines", to="log")
        await attached.wait_done()
        assert attached.error is error
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
        assert attached.statistics()["error"] == said
        assert organism.sources == {}
        await organism.send(Ask("still here"), "log")
        await organism.wait_idle()
        (event,) = told(organism, "source_failed")
        assert (event.node_id, event.execution_id) == ("feed", None)
        assert event.data == {"sender": "feed", "error": str(error), "exception": type(error).__name__}
        again = organism.attach(Chunks(), sender="feed")  # its name is free
        await again.wait_done()
    assert log.texts == ["a", "still here"]
    assert "the stream of feed is not read any more" in caplog.text


async def test_what_is_no_bytes_and_a_path_that_is_not_there_are_told_as_errors(tmp_path: Path) -> None:
    assert (await fed(Chunks("text")))[1]["error"] == "TypeError: it gave str, expected bytes"
    assert (await fed(tmp_path / "none"))[1]["error"].startswith("FileNotFoundError: ")
    assert (await fed(tmp_path))[1]["error"].startswith("IsADirectoryError: ")


async def test_closing_it_ends_reading_at_once_and_keeps_what_it_sent() -> None:
    gates = Gates()
    async with open_audited(gates.listener, max_in_flight=1) as organism:
        stream = Chunks(b"a\nb\nc\n")
        attached = organism.attach(stream, sender="feed", framing="lines", to="gate")
        await settled()
        attached.close()
        attached.close()
        assert attached.closed
        await attached.wait_done()
        assert sent(attached) == (3, 1, 0, 2)
        gates.open("a")
        await organism.wait_idle()
        assert attached.statistics()["completed"] == 1
        assert (attached.statistics()["ended"], attached.error) == (True, None)


async def test_closed_before_its_task_has_begun_it_reads_nothing() -> None:
    async with open_audited(BACK) as organism:
        stream = Chunks(LINES)
        attached = organism.attach(stream, sender="feed", framing="lines", to="back")
        attached.close()
        await attached.wait_done()
        assert stream.asked == 0


async def test_an_async_generator_is_closed_wherever_reading_ends() -> None:
    left: list[str] = []

    async def items(*chunks: bytes) -> AsyncIterator[bytes]:
        try:
            for chunk in chunks:
                yield chunk
                await trio.lowlevel.checkpoint()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
            left.append("closed")

    gates = Gates()
    async with open_audited(gates.listener, max_in_flight=1) as organism:
        attached = organism.attach(items(b"a\n", b"b\n", b"c\n"), sender="feed", framing="lines", to="gate")
        await settled()
        assert left == []
        attached.close()  # it stands at its yield, and we at the seats
        await attached.wait_done()
        assert left == ["closed"]
        gates.open("a")
    log, _ = await fed(items(b"x\n"))
    assert (log.texts, left) == (["x"], ["closed"] * 2)


# -- shutdown --------------------------------------------------------------------------------------


async def test_shutdown_ends_reading_then_closes_the_way_in_and_drains_what_was_sent() -> None:
    gates = Gates()
    order: list[str] = []

    class Told(Chunks):
        async def __anext__(self) -> Any:
            try:
                return await super().__anext__()
            except trio.Cancelled:
                order.append("reading ended" if not organism._pump.intake.closed else "too late")
                raise

    async with open_audited(gates.listener) as organism, trio.open_nursery() as nursery:
        attached = organism.attach(Told(b"a\nb\n", None), sender="feed", framing="lines", to="gate")
        await settled()
        nursery.start_soon(organism.shutdown, 5)
        await settled()
        assert order == ["reading ended"]
        assert organism._pump.intake.closed
        assert attached.closed
        await attached.wait_done()
        with pytest.raises(OrganismClosed):
            organism.attach(Chunks(), sender="late")
        gates.open("a")
        gates.open("b")
    assert sent(attached) == (2, 2, 0, 0)
    assert attached.statistics()["completed"] == 2


async def test_a_stream_that_does_not_let_go_is_named_and_holds_up_the_drain_for_its_grace_only(
    autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn(Chunks):
        async def __anext__(self) -> Any:
            with trio.CancelScope(shield=True):
                await trio.sleep(30)
            raise StopAsyncIteration

    async with open_logging(BACK, HANG) as organism:
        organism.attach(Stubborn(), sender="feed")
        receipt = await organism.send(Ask("x"), "hang")
        await trio.sleep(1)
        started = trio.current_time()
        await organism.shutdown(3)
        assert 29 <= trio.current_time() - started <= 30
        assert (await organism.wait(receipt)).state == "drained"
    assert "feed" in caplog.text


async def test_an_organism_left_by_an_error_leaves_no_reader() -> None:
    stream = Chunks(b"a\n", None)
    opened: list[Organism] = []

    async def fail() -> None:
        async with open_logging(BACK) as organism:
            opened.append(organism)
            organism.attach(stream, sender="feed", framing="lines", to="back")
            await settled()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert opened[0]._pump.sources.readers == ()
    assert opened[0].sources == {}
    with pytest.raises(OrganismClosed):
        opened[0].attach(stream, sender="feed")


# -- waiting, and from where -----------------------------------------------------------------------


async def test_waiting_for_its_end_can_be_cancelled_and_begun_again() -> None:
    async with open_audited(BACK) as organism:
        attached = organism.attach(Chunks(b"a\n", None), sender="feed", framing="lines", to="back")
        with trio.move_on_after(0.01) as scope:
            await attached.wait_done()
        assert scope.cancelled_caught
        await organism.wait_idle()
        assert sent(attached) == (1, 1, 0, 0)
        attached.close()
        await attached.wait_done()


async def test_a_handler_may_attach_a_stream_and_may_not_wait_for_its_end() -> None:
    log = Log()
    organisms: list[Organism] = []
    attached: list[Attached] = []

    async def begin(payload: Ask, metadata: HandlerMetadata) -> None:
        stream = Chunks(b"a\nb\n")
        attached.append(organisms[0].attach(stream, sender="feed", framing="lines", to="log"))
        with pytest.raises(WouldDeadlock):
            await attached[0].wait_done()
        await trio.sleep(0.01)

    async with open_audited(log.listener, listener("begin", Ask, begin), max_in_flight=1) as organism:
        organisms.append(organism)
        await organism.send(Ask("x"), "begin")
        await organism.wait_idle()
        await attached[0].wait_done()
    assert log.texts == ["a", "b"], "reading waits for seats, though it was begun inside a dispatch"


async def _feeding() -> None:
    async def answer(payload: Ask, metadata: HandlerMetadata) -> None:
        await trio.sleep(1)

    config = OrganismConfig("fed", [listener("gate", Ask, answer)], max_in_flight=1)
    async with open_organism(config) as organism:
        ours, theirs = trio.testing.memory_stream_one_way_pair()
        first = organism.attach(theirs, sender="feed", framing="lines", to="gate")
        second = organism.attach(Chunks(XML % b"x", XML % b"y"), sender="other", priority=True)
        await ours.send_all(LINES)
        await second.wait_done()
        await ours.aclose()
        await organism.shutdown(1)
        assert first.statistics()["ended"]
    assert first.statistics()["unsent"] + first.statistics()["accepted"] == first.statistics()["messages"]


@pytest.mark.parametrize("seed", range(2))
def test_the_promises_of_the_pump_hold_with_streams_wherever_all_of_it_is_cancelled(seed: int) -> None:
    assert sweep(_feeding, seed=seed, strategy="walk").passed
