"""``phloem run``: an organism.yaml and a batch of messages in, one accounted result per message out.

Without a batch the organism stays up and serves its sources. Decides which files are opened, which
options go together, and that nothing is written before the configuration is known to be good. The work
is ``batch``'s and ``serving``'s.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import click

from .shell import Seconds, Settings, Whole, common_options, pass_settings, tell
from .standard import data_stdin, data_stdout

if TYPE_CHECKING:
    from .batch import BatchEnd

__all__ = ["command"]

REORDER_WINDOW: Final = 1_000  # messages read ahead of the slowest: as many as have seats by default
_STDIN: Final = ("-", "/dev/stdin")  # opened by that name, handlers could still read it
_STDOUT: Final = ("-", "/dev/stdout")
SEED: Final = 0  # of a virtual clock without one: the same each time, as a script is
_OF_A_BATCH: Final = ("out", "dead_letters", "unordered", "reorder_window", "virtual", "seed")


@click.command("run", short_help="Run a batch of messages, or serve sources.")
@click.argument("file", type=click.Path())
@click.option("--batch", metavar="IN", help="NDJSON or XML messages; - is stdin.")
@click.option(
    "--out", default="-", metavar="OUT", show_default=True, help="Where results go, as NDJSON; - is stdout."
)
@click.option("--dead-letters", metavar="FILE", help="Write every dead letter there, as NDJSON.")
@click.option("--unordered", is_flag=True, help="Write results as they come instead of in input order.")
@click.option(
    "--reorder-window",
    type=Whole(min=1),
    default=REORDER_WINDOW,
    metavar="N",
    show_default=True,
    help="Read at most N messages ahead of the slowest.",
)
@click.option(
    "--grace",
    type=Seconds(min=0),
    metavar="SECONDS",
    help="Drain for this long after a signal  [default: shutdown_grace of FILE]",
)
@click.option(
    "--virtual", is_flag=True, help="Run on a virtual clock: hours of waiting end at once, as in a script."
)
@click.option(
    "--seed",
    type=Whole(min=0),
    metavar="N",
    help="The same on a virtual clock: ids, chance and order are N's, and so is every byte written.",
)
@click.option("--allow-dead-letters", is_flag=True, help="Dead letters do not make the exit code 5.")
@common_options
@pass_settings
def command(
    settings: Settings,
    file: str,
    batch: str | None,
    out: str,
    dead_letters: str | None,
    unordered: bool,
    reorder_window: int,
    grace: float | None,
    virtual: bool,
    seed: int | None,
    allow_dead_letters: bool,
) -> int:
    """Run the organism in FILE over a batch of messages, or, without one, serve its sources.

    \b
    A line of the batch (an "id" of yours comes back; else the line's number):
      {"id": 7, "to": "greeter", "payload": {"name": "Ada"}}
      {"to": "greeter", "type": "Greeting", "payload": {"name": "Ada"}}
      {"to": "greeter", "xml": "<Greeting><Name>Ada</Name></Greeting>"}
    or XML: <message> envelopes, alone, one after the other, or within <messages>.

    A line may say what it expects ("expect": {"state": "completed", "payloads": [{"text": "HI"}],
    "within_ms": 100}): what differs is told, and the exit code is 1.

    A line that cannot be read is a result of state "rejected". The first Ctrl-C or SIGTERM
    takes no more input and drains, the second stops at once; both write what is known of
    every message taken.

    Without --batch it reads the sources that FILE declares and prints a line for each message
    that ends, until all sources have ended, or a signal.
    """
    settings.start_logging()
    if batch is None:
        _refuse_batch_options()
        return _serve(settings, file, grace, allow_dead_letters)
    if out in _STDOUT and dead_letters in _STDOUT:
        raise click.UsageError("--dead-letters - needs --out FILE: both on stdout would mix")
    if virtual and seed is None:
        seed = SEED
    end = _run_batch(settings, file, batch, out, dead_letters, not unordered, reorder_window, grace, seed)
    return end.exit_code(allow_dead_letters=allow_dead_letters)


def _run_batch(
    settings: Settings,
    file: str,
    batch: str,
    out: str,
    dead_letters: str | None,
    ordered: bool,
    window: int,
    grace: float | None,
    seed: int | None,
) -> BatchEnd:
    """``seed``: on a virtual clock, under the simulation; None: on the real one."""
    import trio

    from phloem.loading import importable, load_config, unbuilt

    from .batch import run_batch, tell_at_once
    from .progress import drawn_progress, summary, tell_over_bar, wanted
    from .source import StreamSource
    from .writing import ResultWriter

    with ExitStack() as stack:
        # From here on: a module of the organism may print as soon as it is imported.
        stdin = stack.enter_context(data_stdin()) if batch in _STDIN else None
        stdout = stack.enter_context(data_stdout()) if out in _STDOUT or dead_letters in _STDOUT else None
        config = load_config(file, keys=True)
        for sentence in unbuilt(config):
            settings.note(f"phloem: {sentence}")
        incoming = stdin if stdin is not None else stack.enter_context(_opened(batch, os.O_RDONLY))
        _refuse_same(batch, incoming, (file, out, dead_letters))
        names: dict[int, str] = {}

        def writable(path: str) -> int:
            if path in _STDOUT and stdout is not None:
                names[stdout] = "stdout"
                return stdout
            opened = stack.enter_context(_opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
            names[opened] = path
            return opened

        outgoing = writable(out)
        letters = writable(dead_letters) if dead_letters is not None else None
        stack.enter_context(importable(os.path.dirname(os.path.abspath(file))))
        writer = ResultWriter(outgoing, letters)
        drawn = wanted(outgoing) and not settings.quiet
        watch = drawn_progress(_size(incoming)) if drawn else None
        tell_now = tell_over_bar if drawn else tell_at_once
        started = time.perf_counter()

        async def program() -> BatchEnd:
            return await run_batch(
                config,
                StreamSource(incoming),
                writer,
                window=window,
                ordered=ordered,
                grace=grace,
                watch=watch,
                tell=tell_now,
            )

        if seed is None:
            end = trio.run(program)
        else:
            from .scripted import run_scripted

            source = StreamSource(incoming)
            end = run_scripted(config, source, writer, seed=seed, window=window, ordered=ordered, grace=grace)
    for line in summary(end, time.perf_counter() - started):
        settings.note(line)
    if end.read_failure is not None:
        tell(f"phloem: {'stdin' if batch in _STDIN else batch}: {end.read_failure.strerror}")
    if end.write_failure is not None and not isinstance(end.write_failure, BrokenPipeError):
        tell(f"phloem: {names.get(end.write_failure.filename, out)}: {end.write_failure.strerror}")
    return end


def _serve(settings: Settings, file: str, grace: float | None, allow_dead_letters: bool) -> int:
    import trio

    from phloem.loading import importable, load_config, unbuilt

    from .inputs import opened_input
    from .serving import ServeEnd, serve
    from .serving_summary import serve_summary

    folder = os.path.dirname(os.path.abspath(file))
    with ExitStack() as stack:
        outgoing = stack.enter_context(data_stdout())
        config = load_config(file, keys=True)
        for sentence in unbuilt(config):
            settings.note(f"phloem: {sentence}")
        if not config.sources:
            raise click.UsageError(
                f"{file} declares no sources, so nothing would come in (stdin is read by a source of path "
                "'-'): add sources to it, or give --batch IN",
                click.get_current_context(),
            )
        files: dict[str, int] = {}
        for source in config.sources:
            if source.path in _STDIN:
                files[source.name] = stack.enter_context(data_stdin())
            elif source.path:
                files[source.name] = opened_input(os.path.join(folder, source.path))
                stack.callback(os.close, files[source.name])
        stack.enter_context(importable(folder))

        def summary(end: ServeEnd, width: int | None) -> str:
            return "" if settings.quiet else serve_summary(end, width)

        async def program() -> ServeEnd:
            return await serve(config, files, folder, outgoing, summary, grace=grace)

        end = trio.run(program)
    for each in end.sources:
        if each.wrong:
            tell(f"phloem: source {each.source.name} ({each.where}): {each.wrong}")
    if end.write_failure is not None and not isinstance(end.write_failure, BrokenPipeError):
        tell(f"phloem: stdout: {end.write_failure.strerror}")
    return end.exit_code(allow_dead_letters=allow_dead_letters)


def _refuse_batch_options() -> None:
    """What was typed and means something for a batch only. From the environment it may be for other runs."""
    context = click.get_current_context()
    for name in _OF_A_BATCH:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} needs --batch IN: without one no results are written", context)


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    """A file's descriptor. Raises OSError."""
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0), 0o666)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):  # which opens for reading, and cannot be read
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        yield descriptor
    finally:
        os.close(descriptor)


def _refuse_same(batch_file: str, incoming: int, others: tuple[str | None, ...]) -> None:
    """Results written over what they are read from would lose it, and two streams in one mix."""
    regular = [("--batch", batch_file, os.fstat(incoming))]
    for name, path in zip(("FILE", "--out", "--dead-letters"), others, strict=True):
        if path is None or path in _STDOUT or not os.path.exists(path):
            continue
        status = os.stat(path)
        for other_name, other, other_status in regular:
            if stat.S_ISREG(status.st_mode) and os.path.samestat(status, other_status):
                raise click.UsageError(
                    f"{name} {path} is the same file as {other_name} {other}", click.get_current_context()
                )
        regular.append((name, path, status))


def _size(descriptor: int) -> int | None:
    status = os.fstat(descriptor)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
