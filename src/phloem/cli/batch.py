"""Runs one organism over one batch: every message read becomes exactly one result line.

Decides the order of things: read, place in the window, send, wait, line; and what an end
by signal or by a full disk means. Never parses, formats or writes: it only moves messages
between the parts that do. ``run`` and ``send`` call it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, final

import trio

from phloem.config import OrganismConfig, WireLimits
from phloem.errors import MessageRejected, OrganismClosed
from phloem.messages import ConversationState, Outcome, Receipt, ShutdownReport
from phloem.organism import open_organism

from .exit_codes import ExitCode, Tally, exit_code
from .fields import FieldTable
from .lines import Piece, Unreadable
from .requests import Refused, Request, RequestReader, Taker
from .results import NOT_SENT, STOPPED, ResultLines, refused_outcome, unfinished_outcome
from .signals import Signals, watched_signals
from .source import Source
from .writing import Place, ResultWriter

__all__ = ["SENDER", "Batch", "BatchEnd", "Running", "ledger_line", "run_batch"]

SENDER: Final = "outside"  # who a batch's messages come from; the front door's own default


class Running(Protocol):
    """What a batch needs of an open organism."""

    @property
    def listeners(self) -> Mapping[str, Taker]: ...
    @property
    def report(self) -> ShutdownReport: ...
    async def send(self, payload: Any, to: str | None = None, *, sender: str = SENDER) -> Receipt: ...
    async def inject(self, xml: bytes | str, *, sender: str = SENDER) -> Receipt: ...
    async def wait(self, receipt: Receipt) -> Outcome: ...
    async def shutdown(self, grace: float | None = None) -> ShutdownReport: ...


@final
@dataclass(slots=True)
class BatchEnd:
    """How a batch ended: what was counted, and what stopped it early."""

    tally: Tally = field(default_factory=Tally)
    report: ShutdownReport | None = None
    signals: Signals = field(default_factory=Signals)
    read_failure: OSError | None = None
    write_failure: OSError | None = None
    taken: int = 0  # messages of the input that have a line; those after it were not looked at
    all_read: bool = False

    def exit_code(self, *, allow_dead_letters: bool = False) -> ExitCode:
        """The command's exit code. Output that nobody takes any more counts as not written."""
        if self.read_failure is not None or self.write_failure is not None:
            self.tally.codes.add(ExitCode.USAGE)
        undelivered = self.report.undeliverable if self.report is not None else 0
        return exit_code(
            self.tally,
            signals=self.signals.received,
            dead_letters=undelivered,
            allow_dead_letters=allow_dead_letters,
        )


@final
class Batch:
    """One run. ``watch`` runs beside it, for a progress bar."""

    def __init__(
        self, source: Source, writer: ResultWriter, *, grace: float | None, tell: Callable[[str], None]
    ) -> None:
        self.source = source
        self.end = BatchEnd()
        self._writer = writer
        self._grace = grace
        self._tell = tell  # one line for a person; called in a signal handler too
        self._table = FieldTable()
        self._lines = ResultLines(self._table)
        self._written = trio.Event()

    async def run(self, organism: Running, limits: WireLimits, watch: Callable[[Batch], Any] | None) -> None:
        """Until every message read has its line, or writing fails. Call once, in an open organism."""
        reader = RequestReader(organism.listeners.values(), self._table, sender=SENDER, limits=limits)
        with watched_signals() as self.end.signals:
            self.end.signals.at_once = lambda: self._stop_at_once(organism)
            async with trio.open_nursery() as helpers:
                helpers.start_soon(self._write, helpers.cancel_scope, name="write results")
                if watch is not None:
                    helpers.start_soon(watch, self, name="progress")
                reading = trio.CancelScope()
                helpers.start_soon(self._drain_at_signal, organism, reading, name="wait for a signal")
                async with trio.open_nursery() as messages:
                    with reading:
                        await self._read(organism, reader, messages)
                self._writer.close()
                await self._written.wait()
                helpers.cancel_scope.cancel(reason="the batch is done")
            self.end.taken = self._writer.opened
            # After a failed write, what is still in flight has nowhere to go.
            await _shutdown(organism, self._grace if self.end.write_failure is None else 0)
            self.end.report = organism.report

    async def _read(self, organism: Running, reader: RequestReader, messages: trio.Nursery) -> None:
        try:
            while (pieces := await self.source.receive()) is not None:
                for piece in pieces:
                    place = await self._writer.open_place(piece.number, piece.line)
                    if isinstance(piece, Unreadable):
                        refused = Refused(piece.number, (piece.fault,), "")
                        self._ended(place, refused_outcome(refused), None)
                    else:
                        self._begin(place, piece, organism, reader, messages)
            self.end.all_read = True
        except OSError as error:
            self.end.read_failure = error

    def _begin(
        self, place: Place, piece: Piece, organism: Running, reader: RequestReader, messages: trio.Nursery
    ) -> None:
        request = reader.read_envelope(piece) if self.source.is_xml else reader.read_line(piece)
        place.id = request.id
        if isinstance(request, Refused):
            self._ended(place, refused_outcome(request), None)
        else:
            messages.start_soon(self._carry, place, request, organism, name=f"message {place.number}")

    async def _carry(self, place: Place, request: Request, organism: Running) -> None:
        """One message from sending to its line."""
        started = time.perf_counter()
        try:
            if request.payload is not None:
                receipt = await organism.send(request.payload, request.to, sender=SENDER)
            else:
                receipt = await organism.inject(request.xml, sender=SENDER)
        except MessageRejected as error:
            outcome = error.outcome or Outcome("", ConversationState.REJECTED, rejections=(error.huh,))
        except OrganismClosed:
            self._ended(place, unfinished_outcome(NOT_SENT), None)
            return
        else:
            place.accepted, place.conversation = True, receipt.conversation
            started = time.perf_counter()  # waiting for a seat is not the organism's time
            outcome = await organism.wait(receipt)
        self._ended(place, outcome, time.perf_counter() - started)

    def _ended(self, place: Place, outcome: Outcome, seconds: float | None) -> None:
        self.end.tally.add(outcome)
        letters = self._lines.dead_letters(place.id, outcome) if outcome.dead_letters else b""
        self._writer.fill(
            place, self._lines.result(place.id, outcome, seconds, at_line=place.at_line), letters
        )

    async def _write(self, batch: trio.CancelScope) -> None:
        try:
            await self._writer.run()
        except OSError as error:
            self.end.write_failure = error
            batch.cancel(reason="results cannot be written")
        else:
            self._written.set()

    async def _drain_at_signal(self, organism: Running, reading: trio.CancelScope) -> None:
        await self.end.signals.first.wait()
        reading.cancel(reason="a signal")
        self._tell("stopping: what was accepted is drained; a second signal stops at once\n")
        await _shutdown(organism, self._grace)

    def _stop_at_once(self, organism: Running) -> None:
        """In the signal handler, the last thing this process does: the loop may never run again."""
        lines = self._lines

        def unfinished(place: Place) -> bytes:
            outcome = unfinished_outcome(STOPPED if place.accepted else NOT_SENT, place.conversation)
            return lines.result(place.id, outcome, None)

        written = self._writer.write_rest(unfinished)
        stuck = "" if written else "; results that were stuck in a full pipe are lost"
        self._tell(
            f"stopped at once, {self._writer.opened:,} messages read{stuck}: {ledger_line(organism.report)}\n"
        )


def ledger_line(report: ShutdownReport) -> str:
    """The counts of a report in one line."""
    counts = {
        "handled": report.handled,
        "rejected": report.rejected,
        "undeliverable": report.undeliverable,
        "failed": report.failed,
        "abandoned": report.abandoned,
        "in flight": report.in_flight,
    }
    told = " + ".join(f"{count:,} {name}" for name, count in counts.items() if count or name == "handled")
    return f"{report.accepted:,} {'delivery' if report.accepted == 1 else 'deliveries'} = {told}"


async def _shutdown(organism: Running, grace: float | None) -> None:
    """Drain for ``grace`` seconds, or for as long as the organism's file says. Checkpoint."""
    await (organism.shutdown() if grace is None else organism.shutdown(grace))


def _to_stderr(text: str) -> None:
    os.write(2, text.encode())  # whole and unbuffered: it is also used in a signal handler


async def run_batch(
    config: OrganismConfig,
    source: Source,
    writer: ResultWriter,
    *,
    grace: float | None = None,
    watch: Callable[[Batch], Any] | None = None,
    tell: Callable[[str], None] = _to_stderr,
) -> BatchEnd:
    """Open the organism, run the batch through it, close it.

    Raises what opening the organism raises. Cancelled means: nothing is drained.
    """
    async with open_organism(config) as organism:
        batch = Batch(source, writer, grace=grace, tell=tell)
        await batch.run(organism, config.wire, watch)
    return batch.end
