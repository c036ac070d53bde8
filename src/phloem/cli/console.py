"""``phloem console``: talk to an organism's listeners, on a terminal or through a pipe.

Decides which of the two it is, what a signal means, and the exit code. ``console_session`` is the
sitting itself, ``terminal`` what it is seen and typed through.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, final

import click

from .exit_codes import Tally, exit_code
from .shell import Seconds, Settings, common_options, counted, pass_settings
from .standard import STDIN, STDOUT, data_stdin, data_stdout

if TYPE_CHECKING:
    from phloem.config import OrganismConfig
    from phloem.messages import ShutdownReport
    from phloem.organism import Organism

    from .console_session import Session
    from .signals import Signals
    from .terminal.tty import Terminal

__all__ = ["command"]

_HOW: Final = "/help says how, /quit or Ctrl-D ends"


@click.command("console", short_help="Talk to listeners, one line at a time.")
@click.argument("file", type=click.Path())
@click.option(
    "--grace",
    type=Seconds(min=0),
    metavar="SECONDS",
    help="Wait for this long for answers at the end  [default: shutdown_grace of FILE]",
)
@click.option(
    "--no-wait", is_flag=True, help="From a pipe: take each line at once, not when the last one is answered."
)
@click.option("--no-history", is_flag=True, help="Neither read nor keep what is typed.")
@common_options
@pass_settings
def command(settings: Settings, file: str, grace: float | None, no_wait: bool, no_history: bool) -> int:
    """Talk to the listeners of the organism in FILE.

    \b
      @greeter Ada          the text goes to the only text field of its payload
      @shop {"items": 2}    fields, where there are more; or <Order>…</Order>
      and in French         without @: to the listener talked to last
      /help                 the commands

    Each listener remembers its conversation until /kill or the end. Answers come while you
    type. From a pipe there is no prompt, and a line is taken when the one before has been
    answered; the exit code is that of phloem run.

    Ctrl-C clears what is being typed; on an empty line it drains and ends, and once more it
    ends at once.
    """
    import trio

    from phloem.loading import importable, load_config, unbuilt

    settings.start_logging()
    with ExitStack() as stack:
        interactive = not no_wait and _is_terminal()
        typed = os.isatty(STDIN)
        stdin, stdout = stack.enter_context(data_stdin()), stack.enter_context(data_stdout())
        config = load_config(file, keys=True)
        for sentence in unbuilt(config):
            settings.note(f"phloem: {sentence}")
        stack.enter_context(importable(os.path.dirname(os.path.abspath(file))))
        sitting = _Sitting(settings, config, grace)

        async def program() -> None:
            if interactive:
                await sitting.at_terminal(stdin, stdout, history=not no_history)
            else:
                await sitting.through_pipes(stdin, stdout, in_turn=not (no_wait or typed))

        trio.run(program)
    return sitting.end()


def _is_terminal() -> bool:
    try:
        from .terminal.tty import usable
    except ImportError:  # no termios: lines are read as the system gives them
        return False
    return usable(STDIN, STDOUT, os.environ)


@final
class _Sitting:
    """One run of the command."""

    def __init__(self, settings: Settings, config: OrganismConfig, grace: float | None) -> None:
        self._settings, self._config, self._grace = settings, config, grace
        self._session: Session | None = None
        self._signals: Signals | None = None
        self._report: ShutdownReport | None = None
        self._counts = True  # whether a message that failed is a failure of the command

    async def at_terminal(self, incoming: int, outgoing: int, *, history: bool) -> None:
        """With a prompt, on a terminal."""
        from .batch import ledger_line
        from .console_session import Session
        from .terminal.face import Kind
        from .terminal.harmless import harmless
        from .terminal.history import History, history_file
        from .terminal.tty import open_terminal

        self._counts = False  # who has seen it fail need not be told again by the shell
        past = History(history_file(os.environ) if history else None)
        past.load()
        async with (
            self._organism() as organism,
            open_terminal(incoming, outgoing, past, colours=not os.environ.get("NO_COLOR")) as terminal,
        ):
            session = Session(organism, terminal, self._grace)
            terminal.complete = session.complete
            if not self._settings.quiet:
                there = counted(sum(not each.service for each in organism.listeners.values()) - 1, "listener")
                terminal.show(harmless(f"{self._config.name}: {there}. {_HOW}."), Kind.NOTICE)

            def at_once() -> None:
                terminal.give_back(f"stopped at once: {ledger_line(organism.report)}\n")

            await self._run(session, at_once, terminal)
        if past.failure is not None:
            self._settings.note(f"phloem: {past.failure.filename}: {past.failure.strerror}")

    async def through_pipes(self, incoming: int, outgoing: int, *, in_turn: bool) -> None:
        """Without a prompt: what is read are lines, and what is written are lines."""
        from .batch import ledger_line, tell_at_once
        from .console_session import Session
        from .terminal.output import Output
        from .terminal.plain import open_plain

        output = Output(outgoing, str)
        async with self._organism() as organism, open_plain(incoming, output, in_turn=in_turn) as plain:
            session = Session(organism, plain, self._grace)

            def at_once() -> None:
                output.write_rest()
                tell_at_once(f"stopped at once: {ledger_line(organism.report)}\n")

            await self._run(session, at_once, None)

    async def _run(self, session: Session, at_once: Callable[[], None], terminal: Terminal | None) -> None:
        import trio

        from .signals import watched_signals

        self._session = session
        with watched_signals(None if terminal is None else terminal.spares) as self._signals:
            self._signals.at_once = at_once
            async with trio.open_nursery() as beside:
                beside.start_soon(_stop_at_signal, self._signals, session, name="wait for a signal")
                beside.start_soon(_one_is_enough, self._signals, session, name="wait for the end")
                await session.run()
                beside.cancel_scope.cancel(reason="the sitting is over")

    @asynccontextmanager
    async def _organism(self) -> AsyncIterator[Organism]:
        from phloem.organism import open_organism

        async with open_organism(self._config) as organism:
            yield organism
        self._report = organism.report

    def end(self) -> int:
        """The books for a person, and the exit code."""
        from .batch import ledger_line

        session, report = self._session, self._report
        if session is not None and session.failure is not None:
            session.failure.filename = "stdin"
            raise session.failure
        if report is not None:
            self._settings.note(ledger_line(report))
        received = () if self._signals is None else self._signals.received
        if session is None or not self._counts:
            return exit_code(Tally(), signals=received)
        undelivered = 0 if report is None else report.undeliverable
        return exit_code(session.tally, signals=received, dead_letters=undelivered)


async def _stop_at_signal(signals: Signals, session: Session) -> None:
    await signals.first.wait()
    session.stop()


async def _one_is_enough(signals: Signals, session: Session) -> None:
    """Who has asked for the end already need not press Ctrl-C twice to have it at once."""
    await session.stopping.wait()
    signals.ending = True
