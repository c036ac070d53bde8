"""Runs one organism over one batch: every message read becomes exactly one result line.

Decides the order of things: read, place in the window, send, wait, line; and what an end
by signal or by a full disk means. Never parses, formats or writes: it only moves messages
between the parts that do. ``run`` and ``send`` call it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, final

import trio

from phloem.config import OrganismConfig, WireLimits
from phloem.errors import MessageRejected, OrganismClosed
from phloem.messages import ConversationState, Outcome, Receipt, ShutdownReport
from phloem.organism import open_organism

from .exit_codes import ExitCode, Tally, exit_code
from .fields import FieldTable
from .lines import Piece, Unreadable
from .requests import Refused, Request, RequestReader, Taker, within
from .results import NOT_SENT, STOPPED, ResultLines, refused_outcome, unfinished_outcome
from .shell import counted
from .signals import Signals, watched_signals
from .source import Source
from .standard import STDERR
from .writing import Place, ResultWriter

__all__ = ["SENDER", "Batch", "BatchEnd", "Running", "ledger_line", "run_batch", "tell_at_once"]

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
        self, source: Source, writer: ResultWriter, *, grace: float, tell: Callable[[str], None]
    ) -> None:
        self.source = source
        self.end = BatchEnd()
        self.ended_bytes = 0  # of the input, in messages that have ended
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
            await organism.shutdown(self._grace if self.end.write_failure is None else 0)
            self.end.report = organism.report

    async def _read(self, organism: Running, reader: RequestReader, messages: trio.Nursery) -> None:
        try:
            while (pieces := await self.source.receive()) is not None:
                for piece in pieces:
                    place = await self._writer.open_place(piece.number, piece.line)
                    place.size = 0 if isinstance(piece, Unreadable) else len(piece.content)
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
            if request.payload is None:
                outcome = self._placed(outcome)
        except OrganismClosed:
            self._ended(place, unfinished_outcome(NOT_SENT), None)
            return
        else:
            place.accepted, place.conversation = True, receipt.conversation
            started = time.perf_counter()  # waiting for a seat is not the organism's time
            outcome = await organism.wait(receipt)
        self._ended(place, outcome, time.perf_counter() - started)

    def _placed(self, outcome: Outcome) -> Outcome:
        """The same, and where it was rejected reads beside a line of the batch."""
        what = "message" if self.source.is_xml else "xml"
        huhs = (replace(huh, path=within(what, huh.path)) for huh in outcome.rejections)
        return replace(outcome, rejections=tuple(huhs))

    def _ended(self, place: Place, outcome: Outcome, seconds: float | None) -> None:
        self.end.tally.add(outcome)
        self.ended_bytes += place.size
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
        patience = "" if math.isinf(self._grace) else f", for {self._grace:g} s at most"
        self._tell(f"stopping: what was accepted is drained{patience}; a second signal stops at once\n")
        await organism.shutdown(self._grace)

    def _stop_at_once(self, organism: Running) -> None:
        """In the signal handler, the last thing this process does: the loop may never run again."""
        lines = self._lines

        def unfinished(place: Place) -> bytes:
            outcome = unfinished_outcome(STOPPED if place.accepted else NOT_SENT, place.conversation)
            return lines.result(place.id, outcome, None)

        written = self._writer.write_rest(unfinished)
        stuck = "" if written else "; results that were stuck in a full pipe are lost"
        count = counted(self._writer.opened, "message")
        self._tell(f"stopped at once, {count} read{stuck}: {ledger_line(organism.report)}\n")


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
    grace: float | None = None,
    watch: Callable[[Batch], Any] | None = None,
    tell: Callable[[str], None] = tell_at_once,
) -> BatchEnd:
    """Open the organism, run the batch through it, close it; ``grace`` None is the file's own.

    Raises what opening the organism raises. Cancelled means: nothing is drained.
    """
    async with open_organism(config) as organism:
        patience = config.shutdown_grace if grace is None else grace
        batch = Batch(source, writer, grace=patience, tell=tell)
        await batch.run(organism, config.wire, watch)
    return batch.end
