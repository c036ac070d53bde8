"""Runs one organism over one batch: every message read becomes exactly one result line.

Decides what of the input becomes which message, how many lines are worth a hop, and what an end by
signal or by a full disk means. Sending, waiting and their order are the organism's ``open_batch``.
Never parses, formats or writes: it only moves messages between the parts that do. ``run`` and
``send`` call it.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, cast, final

import trio

from phloem.config import OrganismConfig, WireLimits
from phloem.errors import InvalidMessage
from phloem.feeding.batches import NOT_SENT, BatchMessage, BatchResult, BatchResults, Messages, Unread
from phloem.framing.expectations import Expectation, differences, read_expectation
from phloem.framing.fields import FieldTable
from phloem.framing.lines import Piece, Unreadable
from phloem.framing.requests import MessageId, Refused, RequestReader, Taker, within
from phloem.messages import ConversationState, Outcome, ShutdownReport
from phloem.organism import open_organism

from .exit_codes import ExitCode, Tally, exit_code
from .results import STOPPED, ResultLines, refused_outcome, unfinished_outcome
from .shell import counted
from .signals import Signals, watched_signals
from .source import Source
from .standard import STDERR
from .writing import ResultWriter

__all__ = ["SENDER", "Batch", "BatchEnd", "Running", "ledger_line", "run_batch", "tell_at_once"]

_NOBODYS: Final = ("routing", "unheard")  # reasons of dead letters that the books count as undeliverable
LINGER: Final = 0.02  # seconds a ready line may wait for company: a hop for each cost a third of a batch
SENDER: Final = "outside"  # who a batch's messages come from; the front door's own default


class Running(Protocol):
    """What a batch needs of an open organism."""

    @property
    def listeners(self) -> Mapping[str, Taker]: ...
    @property
    def report(self) -> ShutdownReport: ...
    def open_batch(
        self, source: Messages, *, ordered: bool, max_in_flight: int | None, sender: str
    ) -> AbstractAsyncContextManager[BatchResults]: ...
    async def shutdown(self, grace: float | None = None) -> ShutdownReport: ...


@final
@dataclass(slots=True, eq=False)
class _Row:
    """What is remembered of one message of the input: the ``id`` of its result in the organism's batch."""

    id: MessageId
    at_line: int  # where in the input it begins
    size: int  # bytes of the input that it is
    what: str = ""  # what its paths of lines and columns are counted in
    expected: Expectation | None = None
    written: bool = False  # its line is the writer's


@final
@dataclass(slots=True)
class BatchEnd:
    """How a batch ended: what was counted, and what stopped it early."""

    tally: Tally = field(default_factory=Tally)
    report: ShutdownReport | None = None
    signals: Signals = field(default_factory=Signals)
    read_failure: OSError | None = None
    write_failure: OSError | None = None
    expected: int = 0  # messages whose line says what is to come of them
    unexpected: list[str] = field(default_factory=list[str])  # a paragraph for each of which else came
    forgiven: int = 0  # dead letters that their line expected
    taken: int = 0  # messages of the input that have a line; those after it were not looked at
    all_read: bool = False

    def exit_code(self, *, allow_dead_letters: bool = False) -> ExitCode:
        """The command's exit code. Output that nobody takes any more counts as not written."""
        if self.read_failure is not None or self.write_failure is not None:
            self.tally.codes.add(ExitCode.USAGE)
        undelivered = self.report.undeliverable - self.forgiven if self.report is not None else 0
        if self.unexpected:
            self.tally.codes.add(ExitCode.FAILED)
        return exit_code(
            self.tally,
            signals=self.signals.received,
            dead_letters=undelivered,
            allow_dead_letters=allow_dead_letters,
        )


@final
class _Rows:
    """The source of the organism's batch: the input's messages, and what cannot be read in its place."""

    def __init__(self, source: Source, reader: RequestReader, end: BatchEnd, *, virtual: bool) -> None:
        self._source, self._reader, self._end, self._virtual = source, reader, end, virtual
        self._pieces: Iterator[Piece | Unreadable] = iter(())
        self._receiving = trio.CancelScope()
        self._stopped = False

    def stop(self) -> None:
        """No more is taken. Never a checkpoint."""
        self._stopped = True
        self._receiving.cancel(reason="a signal")

    def __aiter__(self) -> _Rows:
        return self

    async def __anext__(self) -> BatchMessage:
        """The next message. No checkpoint while a chunk lasts: the batch has one for each place."""
        while not self._stopped:
            for piece in self._pieces:
                return self._message(piece)
            if not await self._receive():
                break
        raise StopAsyncIteration

    async def _receive(self) -> bool:
        try:
            with trio.CancelScope() as self._receiving:
                pieces = await self._source.receive()
                if pieces is None:
                    self._end.all_read = True
                    return False
                self._pieces = iter(pieces)
        except OSError as error:
            self._end.read_failure = error
            return False
        return True

    def _message(self, piece: Piece | Unreadable) -> BatchMessage:
        if isinstance(piece, Unreadable):
            refused = Refused(piece.number, (piece.fault,), "")
            return BatchMessage(refused_outcome(refused), id=_Row(piece.number, piece.line, 0))
        is_xml = self._source.is_xml
        request = self._reader.read_envelope(piece) if is_xml else self._reader.read_line(piece)
        row = _Row(request.id, piece.line, len(piece.content))
        if request.expect is not None:
            self._end.expected += 1
            try:
                row.expected = read_expectation(request.expect, virtual=self._virtual)
            except InvalidMessage as invalid:
                request = Refused(request.id, invalid.faults, "")
                self._end.expected -= 1
        if isinstance(request, Refused):
            return BatchMessage(refused_outcome(request), id=row)
        if request.payload is not None:
            return BatchMessage(request.payload, request.to, row)
        row.what = "message" if is_xml else "xml"
        return BatchMessage(request.xml, id=row)


@final
class Batch:
    """One run. ``watch`` runs beside it, for a progress bar."""

    def __init__(
        self,
        source: Source,
        writer: ResultWriter,
        *,
        window: int,
        ordered: bool,
        grace: float,
        tell: Callable[[str], None],
        virtual: bool = False,
    ) -> None:
        self.source, self._virtual = source, virtual
        self.end = BatchEnd()
        self._writer = writer
        self._window, self._ordered = window, ordered
        self._enough = max(1, window // 8)  # lines worth a hop at once
        self._grace = grace
        self._tell = tell  # one line for a person; called in a signal handler too
        self._table = FieldTable()
        self._lines = ResultLines(self._table)
        self._results: BatchResults | None = None
        self._read_bytes = 0  # of the input, in messages whose line is the writer's

    async def run(self, organism: Running, limits: WireLimits, watch: Callable[[Batch], Any] | None) -> None:
        """Until every message read has its line, or writing fails. Call once, in an open organism."""
        rows = self._rows(organism, limits)
        with watched_signals() as self.end.signals:
            self.end.signals.at_once = lambda: self._stop_at_once(organism)
            async with trio.open_nursery() as helpers:
                if watch is not None:
                    helpers.start_soon(watch, self, name="progress")
                helpers.start_soon(self._drain_at_signal, organism, rows, name="wait for a signal")
                batch = organism.open_batch(
                    rows, ordered=self._ordered, max_in_flight=self._window, sender=SENDER
                )
                async with batch as self._results:
                    try:
                        await self._write(self._results)
                    except OSError as error:  # what is in flight has nowhere to go: leaving cuts it
                        self.end.write_failure = error
                helpers.cancel_scope.cancel(reason="the batch is done")
            self.end.taken = self._results.taken
            await organism.shutdown(self._grace if self.end.write_failure is None else 0)
            self.end.report = organism.report

    async def gather(self, organism: Running, limits: WireLimits) -> list[BatchResult]:
        """The results alone, for a run in which no signal and no file is real. ``write_all`` writes them."""
        batch = organism.open_batch(
            self._rows(organism, limits), ordered=self._ordered, max_in_flight=self._window, sender=SENDER
        )
        async with batch as results:
            found = [result async for result in results]
        self.end.taken = results.taken
        await organism.shutdown(self._grace)
        self.end.report = organism.report
        return found

    async def write_all(self, results: Sequence[BatchResult]) -> None:
        """The lines of what ``gather`` gave. A file that takes no more is in ``end.write_failure``."""
        try:
            for result in results:
                self._put(result)
                if self._writer.held >= self._enough:
                    await self._writer.write()
            await self._writer.write()
        except OSError as error:
            self.end.write_failure = error

    def _rows(self, organism: Running, limits: WireLimits) -> _Rows:
        listeners = organism.listeners.values()
        reader = RequestReader(listeners, self._table, sender=SENDER, limits=limits, expects=True)
        return _Rows(self.source, reader, self.end, virtual=self._virtual)

    def so_far(self) -> tuple[Mapping[ConversationState, int], int]:
        """How many messages have ended in which way, and the bytes of the input that they are."""
        states, ended = Counter(self.end.tally.states), self._read_bytes
        for each in self._unwritten():
            if each.outcome is not None:
                states[each.outcome.state] += 1
                ended += each.id.size
        return states, ended

    async def _write(self, results: BatchResults) -> None:
        """Each result's line, in the order they come, as many in a hop as come with the first."""
        going_on = True
        while going_on:
            going_on = await self._next_line(results)
            with trio.move_on_after(LINGER):
                while going_on and results.pending and self._writer.held < self._enough:
                    going_on = await self._next_line(results)
            if self._writer.held:
                await self._writer.write()

    async def _next_line(self, results: BatchResults) -> bool:
        """Put the next line; False if there is none. No checkpoint if it is there: each hop is one."""
        try:
            try:
                result = results.receive_nowait()
            except trio.WouldBlock:
                result = await results.receive()
        except trio.EndOfChannel:
            return False
        self._put(result)
        return True

    def _put(self, result: BatchResult) -> None:
        row, outcome = cast("_Row", result.id), result.outcome
        if row.expected is None:
            self.end.tally.add(outcome)
        else:
            self._judge(row, row.expected, outcome, result.seconds)
        self._read_bytes += row.size
        letters = self._lines.dead_letters(row.id, outcome) if outcome.dead_letters else b""
        self._writer.put(row, self._line(row, outcome, result.seconds), letters)
        row.written = True

    def _judge(self, row: _Row, expected: Expectation, outcome: Outcome, seconds: float | None) -> None:
        """What was expected to go wrong is no failure, and what was not is one, whatever it is."""
        fields = [self._table.write(payload) for payload in outcome.payloads]
        ms = None if seconds is None else round(seconds * 1000, 3)
        different = differences(expected, outcome, fields, ms)
        self.end.tally.add_expected(outcome)
        self.end.forgiven += sum(letter.reason in _NOBODYS for letter in outcome.dead_letters)
        if different:
            where = f"line {row.at_line}" if row.id == row.at_line else f"line {row.at_line}, id {row.id!r}"
            told = "".join(f"\n  {each}" for each in different)
            self.end.unexpected.append(f"{where}: not as expected{told}")

    def _line(self, row: _Row, outcome: Outcome, seconds: float | None) -> bytes:
        if row.what and outcome.rejections:
            huhs = (replace(huh, path=within(row.what, huh.path)) for huh in outcome.rejections)
            outcome = replace(outcome, rejections=tuple(huhs))
        return self._lines.result(row.id, outcome, seconds, at_line=row.at_line)

    async def _drain_at_signal(self, organism: Running, rows: _Rows) -> None:
        await self.end.signals.first.wait()
        rows.stop()
        patience = "" if math.isinf(self._grace) else f", for {self._grace:g} s at most"
        self._tell(f"stopping: what was accepted is drained{patience}; a second signal stops at once\n")
        await organism.shutdown(self._grace)

    def _unwritten(self) -> Iterator[Unread]:
        """What was taken and has no line yet, in the order of the input. Safe in a signal handler."""
        for each in () if self._results is None else self._results.unread:
            if not each.id.written and not self._writer.holds(each.id):
                yield each

    def _stop_at_once(self, organism: Running) -> None:
        """In the signal handler, the last thing this process does: the loop may never run again."""
        written = self._writer.write_rest(map(self._last_line, self._unwritten()))
        taken = 0 if self._results is None else self._results.taken
        stuck = "" if written else "; results that were stuck in a full pipe are lost"
        self._tell(
            f"stopped at once, {counted(taken, 'message')} read{stuck}: {ledger_line(organism.report)}\n"
        )

    def _last_line(self, unread: Unread) -> bytes:
        outcome = unread.outcome
        if outcome is None and unread.receipt is not None:
            outcome = unfinished_outcome(STOPPED, unread.receipt.conversation)
        return self._line(unread.id, outcome or unfinished_outcome(NOT_SENT), unread.seconds)


def ledger_line(report: ShutdownReport) -> str:
    """The counts of a report in one line. Boot, which every run begins with, is one of them, and told so."""
    counts = {
        "handled": report.handled,
        "rejected": report.rejected,
        "undeliverable": report.undeliverable,
        "failed": report.failed,
        "abandoned": report.abandoned,
        "in flight": report.in_flight,
    }
    told = " + ".join(f"{count:,} {name}" for name, count in counts.items() if count or name == "handled")
    return f"{counted(report.accepted, 'delivery', 'deliveries')} (Boot included) = {told}"


def tell_at_once(text: str) -> None:
    """Whole and unbuffered on stderr, if it takes it: for a signal handler too."""
    with suppress(OSError):
        os.write(STDERR, text.encode())


async def run_batch(
    config: OrganismConfig,
    source: Source,
    writer: ResultWriter,
    *,
    window: int,
    ordered: bool = True,
    grace: float | None = None,
    watch: Callable[[Batch], Any] | None = None,
    tell: Callable[[str], None] = tell_at_once,
) -> BatchEnd:
    """Open the organism, run the batch through it, close it; ``grace`` None is the file's own.

    Raises what opening the organism raises. Cancelled means: nothing is drained.
    """
    async with open_organism(config) as organism:
        patience = config.shutdown_grace if grace is None else grace
        batch = Batch(source, writer, window=window, ordered=ordered, grace=patience, tell=tell)
        await batch.run(organism, config.wire, watch)
    return batch.end
