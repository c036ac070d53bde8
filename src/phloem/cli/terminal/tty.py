"""A terminal that a person types on while others speak: keys in, the editor's line and texts out.

Decides when the terminal is in raw mode (from opening to leaving, but not while the process is stopped)
and that it never stays in it: not after an error, a signal or a stop. Ctrl-C, Ctrl-Z and Ctrl-\\ stay
signals, for a loop that is kept busy would never read them as keys. For ``console``.
"""

from __future__ import annotations

import os
import select
import signal
import termios
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, Final, final

import trio

from phloem.messages import Fault

from .above import Above
from .drawing import Bottom, Prompt, Size, clear_screen
from .editor import Choices, Entered, LineEditor, Signal, common_start
from .face import Kind
from .harmless import clipped, one_line
from .history import History
from .jobs import job_control
from .keys import PASTE_OFF, PASTE_ON, KeyReader
from .output import Output

__all__ = ["Terminal", "open_terminal", "usable"]

ESCAPE_PATIENCE: Final = 0.05  # seconds; a sequence comes in one piece, a person's next key later
ECHO: Final = 2_000  # columns of a line that is left standing once it is entered
_CHUNK: Final = 4096  # bytes read at once; what a terminal holds
_TYPED_AHEAD: Final = 16  # lines a session may be behind: it takes them without waiting for anything
_RESET: Final = "\x1b[0m"
_WHO: Final = "\x1b[1;36m"
_COLOURS: Final[Mapping[Kind, str]] = {Kind.ANSWER: "", Kind.NOTICE: "\x1b[2m", Kind.WRONG: "\x1b[31m"}


def usable(incoming: int, outgoing: int, environment: Mapping[str, str]) -> bool:
    """Whether both are a terminal on which a line can be drawn anew."""
    return (
        os.isatty(incoming)
        and os.isatty(outgoing)
        and environment.get("TERM", "dumb") not in ("", "dumb", "unknown")
    )


@final
class Terminal:
    """As in ``Face``. Made by ``open_terminal``."""

    def __init__(
        self,
        incoming: int,
        outgoing: int,
        history: History,
        *,
        colours: bool,
    ) -> None:
        self.in_full = self.in_turn = False
        self.complete: Callable[[str], Sequence[str]] = lambda before: ()  # what a text may be completed to
        self.output = Output(outgoing, self._composed)
        self._incoming, self._outgoing, self._colours = incoming, outgoing, colours
        self._history = history
        self._editor = LineEditor(history, lambda before: self.complete(before))
        self._bottom = Bottom()
        self._prompt: Prompt | None = None
        self._keep = True
        self._tails: dict[str, str] = {}
        self._bell = self._clear = self._away = self._interrupted = False
        self._token = trio.lowlevel.current_trio_token()
        self._send, self._lines = trio.open_memory_channel[str](_TYPED_AHEAD)
        self._before = termios.tcgetattr(incoming)

    # -- as in Face ------------------------------------------------------------------------------

    def show(self, text: str, kind: Kind = Kind.ANSWER, who: str = "") -> None:
        """As in ``Face``."""
        colour = _COLOURS[kind] if self._colours else ""
        text = f"{colour}{text}{_RESET}" if colour else text
        self.output.say(f"{self._named(who)}{text}\n" if who else f"{text}\n")

    def tail(self, who: str, text: str) -> None:
        """As in ``Face``."""
        if text:
            self._tails[who] = text
        else:
            self._tails.pop(who, None)
        self.output.say()

    def ask(self, prompt: str, *, keep: bool = True) -> None:
        """As in ``Face``."""
        self._prompt, self._keep = Prompt(prompt, _WHO if self._colours else ""), keep
        self.output.say()

    async def receive(self) -> str | Fault | None:
        """As in ``Face``."""
        try:
            return await self._lines.receive()
        except trio.EndOfChannel:
            return None

    async def room(self) -> None:
        """As in ``Face``."""
        await self.output.room()

    # -- for signals -----------------------------------------------------------------------------

    def spares(self, number: signal.Signals) -> bool:
        """Whether this signal only ends the line that is being typed; in the signal handler.

        A second one that the loop has not come to is for the loop: it is kept busy.
        """
        if number != signal.SIGINT or not self._editor.text or self._prompt is None or self._interrupted:
            return False
        self._interrupted = True
        self._token.run_sync_soon(self._interrupt)
        return True

    def _interrupt(self) -> None:
        self._interrupted = False
        self._leave_standing(f"{self._editor.text}^C")
        self._editor.clear()

    def close(self) -> None:
        """As in ``Face``."""
        self._prompt = None
        self._tails.clear()
        self._send.close()
        self.output.say()

    def give_back(self, last: str = "") -> None:
        """The terminal as it was, and some last words: here and now, in a signal handler too."""
        self._away = True
        self.output.write_rest(PASTE_OFF + last)
        self._set(self._before)

    # -- typing ----------------------------------------------------------------------------------

    async def read(self) -> None:
        """Keys, until the terminal or what is typed ends. Cancelled means: a key may be lost."""
        keys = KeyReader()
        with self._send:
            while True:
                with trio.move_on_after(ESCAPE_PATIENCE if keys.waiting else float("inf")) as patience:
                    await trio.lowlevel.wait_readable(self._incoming)
                if patience.cancelled_caught:
                    keys.give_up()
                    continue
                try:
                    raw = os.read(self._incoming, _CHUNK)  # never waits: VMIN is 0
                except OSError:
                    return  # the terminal is gone
                if not raw and _hung_up(self._incoming):
                    return
                if not raw:
                    await trio.sleep(ESCAPE_PATIENCE)  # somebody else was faster
                for key in keys.feed(raw):
                    happened = self._editor.press(key)
                    if happened is Signal.END_OF_INPUT:
                        return
                    if isinstance(happened, Entered):
                        await self._entered(happened.text)
                    elif happened is not None:
                        self._happened(happened)
                self.output.say()

    async def _entered(self, text: str) -> None:
        self._leave_standing(text)
        if self._keep:
            self._history.add(text)
        try:
            await self._send.send(text)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            return  # it was entered too late

    def _happened(self, happened: Choices | Signal) -> None:
        if isinstance(happened, Choices):
            from_word = common_start(happened.words).rfind(" ") + 1
            self.show(one_line("  ".join(word[from_word:].strip() for word in happened.words)), Kind.NOTICE)
        elif happened is Signal.CLEAR_SCREEN:
            self._clear = True
        else:
            self._bell = True

    def _leave_standing(self, text: str) -> None:
        """The prompt with what was typed, as a line of the past."""
        if self._prompt is None:
            return
        self.output.say(f"{self._painted(self._prompt.text)}{clipped(one_line(text), ECHO)}\n")

    # -- drawing ---------------------------------------------------------------------------------

    def _composed(self, said: str) -> str:
        size = self._size()
        erased = self._bottom.erase(size)
        if self._clear:
            self._clear, erased = False, clear_screen()
        bell, self._bell = "\x07" if self._bell else "", False
        if self._away:
            return f"{erased}{said}"
        editor = self._editor
        tails = [(self._prompt_of(who), text) for who, text in self._tails.items()]
        drawn = self._bottom.draw(size, self._prompt, editor.text, editor.cursor, tails)
        return f"{erased}{said}{drawn}{bell}"

    def _named(self, who: str) -> str:
        return self._painted(f"{who}: ")

    def _painted(self, text: str) -> str:
        return f"{_WHO}{text}{_RESET}" if self._colours else text

    def _prompt_of(self, who: str) -> Prompt:
        return Prompt(f"{who}: ", _WHO if self._colours else "")

    def _size(self) -> Size:
        try:
            columns, rows = os.get_terminal_size(self._outgoing)
        except OSError:
            return Size()
        return Size(columns or Size().columns, rows or Size().rows)  # a bare pty says 0

    # -- the terminal's modes ----------------------------------------------------------------------

    @contextmanager
    def raw(self) -> Iterator[None]:
        """Keys instead of lines, until the block is left or the process is stopped."""
        self._enter()
        try:
            with job_control(stop=self.give_back, go_on=self._go_on, resized=self.output.say):
                yield
        finally:
            self.give_back()

    def _enter(self) -> None:
        modes: list[Any] = termios.tcgetattr(self._incoming)
        modes[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.ISTRIP | termios.IXON)
        modes[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        modes[6] = [*modes[6]]
        modes[6][termios.VMIN] = modes[6][termios.VTIME] = 0
        self._set(modes)
        self._away = False
        self.output.write_rest(PASTE_ON)

    def _go_on(self) -> None:
        with suppress(OSError):
            if os.tcgetpgrp(self._incoming) != os.getpgrp():  # in the background it is somebody else's
                return
        self._bottom.forget()
        self._enter()
        self.output.say()

    def _set(self, modes: list[Any]) -> None:
        with suppress(termios.error):  # it is gone
            termios.tcsetattr(self._incoming, termios.TCSANOW, modes)


@asynccontextmanager
async def open_terminal(
    incoming: int,
    outgoing: int,
    history: History,
    *,
    colours: bool,
) -> AsyncIterator[Terminal]:
    """A terminal in raw mode.

    Until the block is left, whatever is printed stands above the prompt. Left normally, all that was said
    is written. Raises OSError if the terminal cannot be waited on. Checkpoint. Cancelled means: what is
    not yet written is written at once.
    """
    terminal = Terminal(incoming, outgoing, history, colours=colours)
    with trio.move_on_after(0):
        await trio.lowlevel.wait_readable(incoming)  # raises where the system cannot
    out, log = Above(terminal.show, colours=colours), Above(terminal.show, colours=False)
    with terminal.raw(), redirect_stdout(out), redirect_stderr(log):
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(terminal.output.run, name="draw the terminal")
                nursery.start_soon(terminal.read, name="read keys")
                yield terminal
                terminal.close()
                out.end()
                log.end()
                await terminal.output.written()
                nursery.cancel_scope.cancel(reason="the terminal is given back")
        finally:
            out.end()
            log.end()


def _hung_up(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
