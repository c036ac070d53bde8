"""``phloem run`` without a batch: an organism that stays up for as long as its sources have more.

Decides what is open when, and what ends it: all sources at their end and nothing in flight, a signal, or
nobody to take what is printed. The first signal takes no more and drains; the second acts in its handler.
Cuts no stream into messages and words no line. ``run`` calls it.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, final

import trio

from phloem.config import OrganismConfig, SourceConfig
from phloem.errors import ConfigurationError
from phloem.messages import ShutdownReport
from phloem.organism import Organism, open_organism
from phloem.pump.observer import LoggingObserver, Observers
from phloem.pump.ports import TrioClock

from .batch import ledger_line, tell_at_once
from .exit_codes import ExitCode, Tally, exit_code
from .inputs import CommandOutput, FileInput, strike
from .narrating import Narrator
from .signals import Signals, watched_signals
from .terminal.output import Output

__all__ = ["ServeEnd", "SourceEnd", "columns", "serve"]

MOST_COMMAND: Final = 60  # characters of a command in a sentence about it


class Attached(Protocol):
    """A stream that is read into the organism."""

    def statistics(self) -> Mapping[str, Any]: ...
    def close(self) -> None: ...


@final
@dataclass(slots=True)
class SourceEnd:
    """What one source brought, and what was wrong with how it ended ("" if nothing)."""

    source: SourceConfig
    attached: Attached | None = None
    wrong: str = ""
    ended: bool = False  # it was read to its end, good or bad; else the run ended before

    @property
    def where(self) -> str:
        """The file, or the command as one reads it."""
        if self.source.path:
            return "stdin" if self.source.path == "-" else self.source.path
        told = " ".join(self.source.command)
        return told if len(told) <= MOST_COMMAND else told[: MOST_COMMAND - 1] + "…"


@final
@dataclass(slots=True)
class ServeEnd:
    """How a run ended."""

    sources: list[SourceEnd]
    tally: Tally
    signals: Signals = field(default_factory=Signals)
    report: ShutdownReport | None = None
    statistics: Mapping[str, Any] = field(default_factory=dict[str, Any])
    write_failure: OSError | None = None

    def exit_code(self, *, allow_dead_letters: bool = False) -> ExitCode:
        """The command's exit code. A source with a fault counts as a file that cannot be read."""
        if self.write_failure is not None or any(each.wrong for each in self.sources):
            self.tally.codes.add(ExitCode.USAGE)
        return exit_code(
            self.tally,
            signals=self.signals.received,
            dead_letters=0 if self.report is None else self.report.undeliverable,
            allow_dead_letters=allow_dead_letters,
        )


@final
class Serving:
    """One run. ``files`` are the descriptors of the sources that have a path, by their names."""

    def __init__(
        self,
        config: OrganismConfig,
        files: Mapping[str, int],
        folder: str,
        outgoing: int,
        *,
        grace: float,
        tell: Callable[[str], None],
    ) -> None:
        self._config, self._files, self._folder = config, files, folder
        self._outgoing, self._grace, self._tell = outgoing, grace, tell
        self._output = Output(outgoing, lambda text: text)
        narrator = self._narrator = Narrator(self._output.say, lambda: columns(outgoing), TrioClock())
        self.end = ServeEnd([SourceEnd(source) for source in config.sources], narrator.tally)
        self._feeding = trio.CancelScope()
        self._commands: list[trio.Process] = []

    async def run(self, summary: Callable[[ServeEnd, int | None], str]) -> None:
        """Until it has ended; ``summary`` words the last lines, for so many columns (None: a pipe).

        Raises what opening the organism raises, and OSError for a command that cannot be started.
        """
        with watched_signals() as self.end.signals, trio.CancelScope() as serving:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, serving, name="write lines")
                await self._serve()
                self._output.say(summary(self.end, columns(self._outgoing)))
                await self._output.written()
                nursery.cancel_scope.cancel(reason="the run is over")

    async def _write(self, serving: trio.CancelScope) -> None:
        try:
            await self._output.run()
        except OSError as error:
            self.end.write_failure = error
            serving.cancel(reason="lines cannot be written")

    async def _serve(self) -> None:
        observers = Observers(LoggingObserver(self._config.name), self._narrator)
        organism: Organism | None = None
        try:
            async with open_organism(self._config, observer=observers) as organism:
                running = organism
                self.end.signals.at_once = lambda: self._stop_at_once(running)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._drain_at_signal, organism, name="wait for a signal")
                    with self._feeding:
                        await self._feed(organism)
                    await self._rest(organism)
                    nursery.cancel_scope.cancel(reason="the run is over")
        finally:
            if organism is not None:
                self.end.report, self.end.statistics = organism.report, organism.statistics()

    async def _feed(self, organism: Organism) -> None:
        """All sources, side by side, until each has ended."""
        async with trio.open_nursery() as nursery:
            for end in self.end.sources:
                nursery.start_soon(self._feed_from, organism, end, name=f"source {end.source.name}")

    async def _feed_from(self, organism: Organism, end: SourceEnd) -> None:
        try:
            if end.source.command:
                await self._feed_from_command(organism, end)
            else:
                stream = FileInput(self._files[end.source.name], self._output.room)
                await self._attach(organism, end, stream)
            end.ended = True
        finally:
            if end.attached is not None:
                end.attached.close()

    async def _feed_from_command(self, organism: Organism, end: SourceEnd) -> None:
        source = end.source
        opening = CommandOutput.open(
            source.command,
            self._folder,
            f"source {source.name}: {source.command[0]}",
            self._output.room,
            self._commands.append,
        )
        async with opening as output:
            await self._attach(organism, end, output)
            end.wrong = end.wrong or await output.ended()

    async def _attach(self, organism: Organism, end: SourceEnd, stream: trio.abc.ReceiveStream) -> None:
        source = end.source
        try:
            attached = end.attached = organism.attach(
                stream,
                sender=source.name,
                framing=source.framing,
                to=source.to or None,
                priority=source.priority,
            )
        except ConfigurationError as error:
            where = f"source {source.name}, "
            raise ConfigurationError(
                [replace(each, where=where + each.where) for each in error.faults]
            ) from error
        await attached.wait_done()
        end.wrong = attached.statistics()["error"] or ""

    async def _rest(self, organism: Organism) -> None:
        """Nothing more comes: what was accepted ends, or is drained for as long as it is given."""
        if not self.end.signals.received:
            await organism.wait_idle()
        await organism.shutdown(self._grace)

    async def _drain_at_signal(self, organism: Organism) -> None:
        await self.end.signals.first.wait()
        patience = "" if math.isinf(self._grace) else f", for {self._grace:g} s at most"
        self._tell(f"stopping: what was accepted is drained{patience}; a second signal stops at once\n")
        self._feeding.cancel(reason="a signal")
        await organism.shutdown(self._grace)

    def _stop_at_once(self, organism: Organism) -> None:
        """In the signal handler, the last thing this process does: the loop may never run again."""
        for process in self._commands:
            strike(process, getattr(signal, "SIGKILL", signal.SIGTERM))
        stuck = "" if self._output.write_rest() else "; lines that were stuck in a full pipe are lost"
        self._tell(f"stopped at once{stuck}: {ledger_line(organism.report)}\n")


def columns(descriptor: int) -> int | None:
    """How wide the terminal is; None for what is none."""
    try:
        return os.get_terminal_size(descriptor).columns or None
    except OSError:
        return None


async def serve(
    config: OrganismConfig,
    files: Mapping[str, int],
    folder: str,
    outgoing: int,
    summary: Callable[[ServeEnd, int | None], str],
    *,
    grace: float | None,
    tell: Callable[[str], None] = tell_at_once,
) -> ServeEnd:
    """Open the organism, serve its sources, close it; ``grace`` None is the file's own.

    Commands run in ``folder``. Raises what opening the organism raises, and OSError for a command that
    cannot be started. Cancelled means: nothing is drained, and commands are ended.
    """
    patience = config.shutdown_grace if grace is None else grace
    serving = Serving(config, files, folder, outgoing, grace=patience, tell=tell)
    await serving.run(summary)
    return serving.end
