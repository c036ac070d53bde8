"""``phloem send``: one message to one listener, and its outcome as one line of JSON.

Decides nothing that ``run`` would not: it is a batch of one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

import click

from phloem.framing.lines import MAX_LINE, Piece, Unreadable

from .shell import Seconds, Settings, common_options, pass_settings
from .standard import STDIN, data_stdout

if TYPE_CHECKING:
    from .batch import BatchEnd

__all__ = ["command"]


@click.command("send", short_help="Send one message, print its outcome.")
@click.argument("file", type=click.Path())
@click.argument("listener")
@click.argument("payload")
@click.option(
    "--grace",
    type=Seconds(min=0),
    metavar="SECONDS",
    help="Drain for this long after a signal  [default: shutdown_grace of FILE]",
)
@click.option("--allow-dead-letters", is_flag=True, help="Dead letters do not make the exit code 5.")
@common_options
@pass_settings
def command(
    settings: Settings, file: str, listener: str, payload: str, grace: float | None, allow_dead_letters: bool
) -> int:
    """Send one PAYLOAD to LISTENER of the organism in FILE; print its outcome.

    \b
    PAYLOAD is XML, such as '<Greeting><Name>Ada</Name></Greeting>', or - for stdin.
    The outcome is a result line as phloem run writes them.
    """
    import trio

    from phloem.loading import importable, load_config, unbuilt

    from .batch import run_batch
    from .writing import ResultWriter

    settings.start_logging()
    with data_stdout() as outgoing:
        config = load_config(file, keys=True)
        for sentence in unbuilt(config):
            settings.note(f"phloem: {sentence}")
        source = _OneMessage(listener, _from_stdin() if payload == "-" else payload)
        writer = ResultWriter(outgoing, None)

        async def program() -> BatchEnd:
            return await run_batch(config, source, writer, window=1, grace=grace)

        with importable(os.path.dirname(os.path.abspath(file))):
            end = trio.run(program)
    if end.write_failure is not None:
        end.write_failure.filename = "stdout"
        raise end.write_failure
    return end.exit_code(allow_dead_letters=allow_dead_letters)


def _from_stdin() -> str:
    try:
        with open(STDIN, "rb", closefd=False) as stdin:
            raw = stdin.read(MAX_LINE)
    except OSError as error:
        error.filename = "stdin"
        raise
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"the payload on stdin is not UTF-8 (byte {error.start + 1})") from error


@final
class _OneMessage:
    """A source of one message."""

    def __init__(self, listener: str, payload: str) -> None:
        line = json.dumps({"to": listener, "xml": payload}).encode()
        self._pieces: list[Piece | Unreadable] = [Piece(1, 0, line)]
        self.is_xml = False
        self.consumed = 0

    async def receive(self) -> Sequence[Piece | Unreadable] | None:
        """As in ``Source``. Checkpoint."""
        from trio.lowlevel import checkpoint

        await checkpoint()
        pieces, self._pieces = self._pieces, []
        return pieces or None
