"""``phloem sim``: an organism.yaml and a batch under many schedules, cancels and faults, in virtual time.

Decides what the options may say and the exit code. The runs are ``simulation``'s, the words
``sim_summary``'s.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import click

from .exit_codes import ExitCode, Tally, exit_code
from .retyping import phloem_name, typed, typed_path
from .shell import Settings, Whole, common_options, counted, pass_settings
from .standard import data_stdin

if TYPE_CHECKING:
    from phloem.config import OrganismConfig

    from .simulating import Scenario
    from .simulation import Plan
    from .whole_batch import WholeBatch

__all__ = ["command"]

SEEDS: Final = 200  # some seconds of a small organism; shallow bugs are found in fifty
MAX_STEPS: Final = 100_000  # a second; a message takes some twenty, so a batch of thousands has room
TOLD: Final = 10  # lines of the batch that cannot be read, told one by one
STRATEGY: Final = "portfolio"
_STDIN: Final = ("-", "/dev/stdin")
_STDOUT: Final = ("-", "/dev/stdout")


@click.command("sim", short_help="Simulate a batch under many schedules.")
@click.argument("file", type=click.Path())
@click.option("--batch", required=True, metavar="IN", help="NDJSON or XML messages; - is stdin.")
@click.option(
    "--seeds", type=Whole(min=1), default=SEEDS, metavar="N", show_default=True, help="Try N schedules."
)
@click.option(
    "--seed", type=Whole(min=0), default=0, metavar="N", show_default=True, help="The first of them."
)
@click.option(
    "--strategy",
    default=STRATEGY,
    metavar="NAME",
    show_default=True,
    help="How schedules are drawn: calm, shuffle, walk, pct, portfolio.",
)
@click.option(
    "--sweep",
    type=click.Choice(("every-step", "every-site")),
    help="Cancel everything before each step, or once at each place.",
)
@click.option("--timeouts", is_flag=True, help="Let each deadline fire at each step, or place.")
@click.option(
    "--faults",
    metavar="PLAN",
    help="Let fault points misbehave: all, or as in 'handler=raise,hang:0.5:0.1; thread'.",
)
@click.option("--replay", metavar="TOKEN", help="Run only this one, and show who ran when.")
@click.option("--out", metavar="TRACE", help="Write the first run that fails, else the first, as NDJSON.")
@click.option(
    "--no-confluence", is_flag=True, help="Messages may come to something else under another schedule."
)
@click.option(
    "--allow-deadlines", is_flag=True, help="Handlers and conversations may come to their time limit."
)
@click.option(
    "--max-steps",
    type=Whole(min=1),
    default=MAX_STEPS,
    metavar="N",
    show_default=True,
    help="A run of more steps is one without an end.",
)
@common_options
@pass_settings
def command(
    settings: Settings,
    file: str,
    batch: str,
    seeds: int,
    seed: int,
    strategy: str,
    sweep: str | None,
    timeouts: bool,
    faults: str | None,
    replay: str | None,
    out: str | None,
    no_confluence: bool,
    allow_deadlines: bool,
    max_steps: int,
) -> int:
    """Simulate the organism in FILE: send it the whole batch at once, under many schedules.

    \b
    The handlers are the real ones, and run some hundred times: what they do outside
    of the organism they do as often. Time is virtual, chance comes from the seed, and a
    real socket or process is refused. A batch is as in phloem run.

    \b
    A violation is: a promise of phloem's that does not hold (each message ends once
    and is counted, nothing works after the end, no budget is overshot); an exception
    or a bad answer of a handler's; a time limit that was met; a deadlock; one seed that
    did not do the same twice; and a message that came to something else under another
    schedule. Order, time and chance are another in each; where they may change what
    comes of a message, add --no-confluence.

    \b
    PLAN: points (handler, bus subscriber, thread, provider) with kinds (raise, raise-after,
    hang, slow, garbage, base-exception), how likely a run has it and a visit meets it,
    and how many seconds slow is; what is left out is as phloem has it.

    Exit code 0 or 1; 4 for a deadlock or a time limit.
    """
    from phloem.testing.faults import plan as plan_of

    from .simulating import Scenario
    from .simulation import Plan

    settings.start_logging()
    _check_options(strategy, replay, {"--out": out, "FILE": file, "--batch": batch})
    plan = Plan(
        seeds=seeds,
        seed=seed,
        strategy=strategy,
        cancel=sweep,
        timeouts=timeouts,
        faults=None if faults is None else plan_of(faults),
        max_steps=max_steps,
    )
    with ExitStack() as stack:
        config, whole = _loaded(settings, file, batch, stack)
        trace = None if out is None else stack.enter_context(_opened(out))
        from phloem.loading.agents import is_driven

        # Who hears answers in the order in which they come may well say something else in another.
        heard_in_order = any(is_driven(listener) for listener in config.listeners)
        confluent = not (no_confluence or heard_in_order)
        scenario = Scenario(config, whole.requests, confluent=confluent, deadlines=not allow_deadlines)
        words = _words(file, batch, plan, faults)
        words += ["--no-confluence"] if no_confluence else []
        words += ["--allow-deadlines"] if allow_deadlines else []
        work = _Work(settings, plan, scenario, whole, words, out, trace)
        return work.search() if replay is None else work.replay(replay)


@final
@dataclass(frozen=True, slots=True)
class _Work:
    """All that is known before the first run."""

    settings: Settings
    plan: Plan
    scenario: Scenario
    batch: WholeBatch
    words: Sequence[str]
    out: str | None
    trace: int | None  # its descriptor

    def search(self) -> int:
        """Many runs, and the table."""
        from .batch import tell_at_once
        from .interrupts import watched_interrupts
        from .progress import tell_over_bar
        from .rich_console import open_console
        from .sim_summary import drawn_bar, print_summary, print_violations
        from .simulation import Simulation

        with (
            _kept_quiet(self.settings),
            drawn_bar(quiet=self.settings.quiet) as bar,
            watched_interrupts(tell_at_once if bar is None else tell_over_bar) as interrupts,
        ):
            simulation = Simulation(
                self.scenario, self.plan, command=self._again, interrupts=interrupts, progress=bar
            )
            findings = simulation.run()
            text = "" if self.trace is None else simulation.trace()
        console = open_console()
        print_violations(console, findings.violations)
        if not self.settings.quiet:
            print_summary(console, findings, self.plan, self.scenario, self.batch)
        _write(self.trace, self.out, text)
        codes = {each.code for each in findings.violations}
        return exit_code(Tally(codes=codes), signals=interrupts.received)

    def replay(self, token: str) -> int:
        """One run: who ran when, and the verdict."""
        from phloem.errors import InvalidToken

        from .rich_console import open_console
        from .sim_summary import print_replay
        from .simulation import Finding, Simulation

        with _kept_quiet(self.settings, shown=True):
            simulation = Simulation(self.scenario, self.plan, command=self._again)
            try:
                result, failure = simulation.replay(token)
            except InvalidToken as error:  # faults, and no plan
                raise click.BadParameter(
                    str(error), click.get_current_context(), param_hint="--replay"
                ) from None
            text = "" if self.trace is None else simulation.trace_of(token, failure)
        print_replay(open_console(), result, failure, quiet=self.settings.quiet)
        _write(self.trace, self.out, text)
        return ExitCode.COMPLETED if failure is None else Finding(failure).code

    def _again(self, token: str) -> str:
        return typed([*self.words, "--replay", token])


def _words(file: str, batch: str, plan: Plan, faults: str | None) -> list[str]:
    """The command to paste, but for the token: what a run depends on, and no more."""
    words = [*phloem_name(), "sim", typed_path(file), "--batch", batch if batch == "-" else typed_path(batch)]
    for option, value, default in (
        ("--seed", plan.seed, 0),
        ("--strategy", plan.strategy, STRATEGY),
        ("--faults", faults, None),
        ("--max-steps", plan.max_steps, MAX_STEPS),
    ):
        words += [] if value == default else [option, str(value)]
    return words


def _check_options(strategy: str, replay: str | None, files: Mapping[str, str | None]) -> None:
    """Raises BadParameter for words that are none, and for a trace over what it is made of."""
    from phloem.errors import InvalidToken
    from phloem.testing.sim.strategies import LENGTH, concrete
    from phloem.testing.sim.tokens import decode

    context = click.get_current_context()
    try:
        concrete(strategy, 0, LENGTH)
    except ValueError as error:
        raise click.BadParameter(str(error), context, param_hint="--strategy") from None
    try:
        if replay is not None:
            decode(replay)
    except InvalidToken as error:
        raise click.BadParameter(str(error), context, param_hint="--replay") from None
    for name in ("--batch", "--out"):
        if files[name] == "":
            raise click.BadParameter("found nothing, expected the name of a file", context, param_hint=name)
    out = files["--out"]
    if out in _STDOUT:
        raise click.BadParameter("stdout has the table; name a file", context, param_hint="--out")
    for name, path in files.items():
        if name != "--out" and out is not None and path is not None and _is_same(out, path):
            raise click.UsageError(f"--out {out} is the same file as {name} {path}", context)


def _is_same(one: str, other: str) -> bool:
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


def _loaded(settings: Settings, file: str, batch: str, stack: ExitStack) -> tuple[OrganismConfig, WholeBatch]:
    """The organism, its folder importable until the stack is left, and what is sent to it."""
    from phloem.loading import importable, load_config, unbuilt

    from .whole_batch import read_batch

    stdin = stack.enter_context(data_stdin()) if batch in _STDIN else None
    with contextlib.redirect_stdout(sys.stderr):  # a module of the organism may print
        config = load_config(file)
    for sentence in unbuilt(config):
        settings.note(f"phloem: {sentence}")
    stack.enter_context(importable(os.path.dirname(os.path.abspath(file))))
    try:
        with (
            contextlib.nullcontext(stdin) if stdin is not None else _opened(batch, os.O_RDONLY) as descriptor
        ):
            whole = read_batch(descriptor, config)
    except OSError as error:
        error.filename = error.filename or batch
        raise
    name = "stdin" if stdin is not None else batch
    for sentence in whole.unreadable[:TOLD]:
        settings.note(f"phloem: {name}: {sentence}")
    if (more := len(whole.unreadable) - TOLD) > 0:
        settings.note(f"phloem: {name}: and {more:,} more that cannot be read")
    if not whole.requests:
        found = (
            f"{counted(len(whole.unreadable), 'message')} that cannot be read"
            if whole.unreadable
            else "nothing"
        )
        raise click.UsageError(
            f"--batch {name}: found {found}, expected a message", click.get_current_context()
        )
    return config, whole


@contextmanager
def _opened(path: str, flags: int = os.O_WRONLY | os.O_CREAT) -> Iterator[int]:
    """A file's descriptor, before the first run: what cannot be opened is said at once. Raises OSError."""
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0), 0o666)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):  # which opens for reading, and cannot be read
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int | None, path: str | None, text: str) -> None:
    """The whole file, in place of what was there. Raises OSError."""
    if descriptor is None:
        return
    rest = memoryview(text.encode("utf-8", "backslashreplace"))
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.ftruncate(descriptor, 0)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        error.filename = path
        raise


@contextmanager
def _kept_quiet(settings: Settings, *, shown: bool = False) -> Iterator[None]:
    """What handlers print and log some hundred times is not shown; of a replay it is, on stderr.

    Whoever reads stdin meets its end: else each of some hundred runs would wait for a person.
    """
    if shown:
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    before = logging.root.manager.disable
    stdin, sys.stdin = sys.stdin, io.StringIO()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        if settings.log_level is None:
            logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
            sys.stdin = stdin
