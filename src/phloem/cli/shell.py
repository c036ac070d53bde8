"""What every command shares: options, logging, and how an error reaches a person.

Decides that an error first says its cause in one line on stderr, that ``--traceback`` shows
the rest, and which exit code it means. Imports nothing heavy: ``phloem --help`` reads it.
"""

from __future__ import annotations

import copy
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast, final

import click

from phloem.errors import CallerError, ConfigurationError, SenderError

from .exit_codes import ExitCode

__all__ = [
    "LOG_LEVELS",
    "Seconds",
    "Settings",
    "Whole",
    "common_options",
    "complain",
    "counted",
    "pass_settings",
    "tell",
]

LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_LONGEST_CAUSE: Final = 500  # characters of the one line; --traceback has the rest
_Function = TypeVar("_Function", bound=Callable[..., Any])


@final
@dataclass(slots=True)
class Settings:
    """The options that every command takes."""

    traceback: bool = False
    quiet: bool = False
    log_level: str | None = None  # warning, or error under --quiet

    def note(self, text: str) -> None:
        """A line for a person, on stderr; nothing under ``--quiet``."""
        if not self.quiet:
            tell(text)

    def start_logging(self) -> None:
        """Log records go to stderr from here on."""
        handler = _StderrHandler()
        handler.setFormatter(_Formatter(tracebacks=self.traceback))
        root = logging.getLogger()
        root.addHandler(handler)
        root.setLevel((self.log_level or ("error" if self.quiet else "warning")).upper())


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 message``, ``2 messages``."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


@final
class Whole(click.IntRange):
    """A whole number, called so where it is none."""

    name = "whole number"


@final
class Seconds(click.FloatRange):
    """A duration: any number but NaN, which no clock ever reaches."""

    name = "number of seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        seconds = super().convert(value, param, ctx)
        if seconds != seconds:
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return seconds


def tell(text: str) -> None:
    """A line on stderr, where there is one that takes it: nobody could be told otherwise."""
    with suppress(OSError):
        click.echo(text, err=True)


pass_settings = click.make_pass_decorator(Settings)


class _Formatter(logging.Formatter):
    """One line a record: a handler's traceback is a page, and a batch may have thousands."""

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        if self._tracebacks or not record.exc_info or record.exc_info[1] is None:
            return super().format(record)
        plain = copy.copy(record)
        plain.msg, plain.args = f"{record.getMessage()}: {_cause(record.exc_info[1])}", None
        plain.exc_info = plain.exc_text = None
        return super().format(plain)


class _StderrHandler(logging.StreamHandler[Any]):
    """Looks stderr up at each record: a progress bar puts itself in its place for a while."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


def _remember(context: click.Context, option: click.Parameter, value: Any) -> None:
    # Only what was said counts: the same option stands on the group and on the command.
    name = option.name or ""
    if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
        setattr(context.find_object(Settings), name, value)


def common_options(function: _Function) -> _Function:
    """``--traceback``, ``--quiet``, ``--log-level``: before the command's name or after it."""
    levels = click.Choice(LOG_LEVELS, case_sensitive=False)
    shared: dict[str, Any] = {"callback": _remember, "expose_value": False}
    for option in (
        click.option("--traceback", is_flag=True, help="Show the whole traceback of an error.", **shared),
        click.option(
            "--quiet", "-q", is_flag=True, help="No progress, no summary, no warnings; errors only.", **shared
        ),
        click.option(
            "--log-level", type=levels, help="Log from this level on to stderr  [default: warning]", **shared
        ),
    ):
        function = option(function)
    return function


def complain(error: BaseException, settings: Settings) -> ExitCode:
    """Say on stderr what went wrong, its cause first, and which exit code that is."""
    members = list(_members(error))
    if all(isinstance(each, (KeyboardInterrupt, click.Abort)) for each in members):
        if settings.traceback:
            tell(_whole(error))
        return ExitCode.INTERRUPTED
    if any(isinstance(each, BrokenPipeError) for each in members):
        return ExitCode.USAGE  # whoever read our output has left; they know
    for member in members:
        tell(f"phloem: {_cause(member)}")
        if isinstance(member, ConfigurationError) and len(member.faults) > 1:
            for fault in member.faults:
                tell(str(fault))
        elif isinstance(member, click.UsageError) and member.ctx is not None:
            tell(f"Try '{member.ctx.command_path} --help'.")
    codes = {_code(member) for member in members}
    if settings.traceback:
        tell(_whole(error))
    elif ExitCode.FAILED in codes:
        tell("--traceback shows where it happened.")
    return ExitCode.USAGE if ExitCode.USAGE in codes else max(codes)


def _whole(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip()


def _members(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _members(member)
    else:
        yield error


def _cause(error: BaseException) -> str:
    if isinstance(error, ConfigurationError) and len(error.faults) > 1:
        return f"the configuration has {len(error.faults)} faults"
    if isinstance(error, click.ClickException):
        text = error.format_message() + _variable(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    elif isinstance(error, (CallerError, SenderError)):
        text = str(error)
    else:
        from phloem.guarding import said  # loads trio: only where user code may have raised

        text = f"{type(error).__name__}: {said(error)}".removesuffix(": ")
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_CAUSE else text[: _LONGEST_CAUSE - 1] + "…"


def _variable(error: click.ClickException) -> str:
    """Where a bad value came from, if nobody typed it."""
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None:
        return ""
    name = error.param.name or ""
    if error.ctx.get_parameter_source(name) is not click.core.ParameterSource.ENVIRONMENT:
        return ""
    return f" It comes from {error.ctx.auto_envvar_prefix}_{name.upper()} in the environment."


def _code(error: BaseException) -> ExitCode:
    if isinstance(error, (click.ClickException, CallerError, OSError)):
        return ExitCode.USAGE
    return ExitCode.UNDELIVERED if isinstance(error, SenderError) else ExitCode.FAILED
