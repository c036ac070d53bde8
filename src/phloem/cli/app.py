"""The ``phloem`` command: finds its subcommands, and turns whatever they raise into an exit code.

Decides which commands there are. Loads a command's file when it is asked for, and no file
of a command imports trio, lxml or rich before it runs: ``phloem --help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Final, NoReturn, final

import click

from .shell import Settings, common_options, complain
from .standard import let_go, occupied, stdout_failure

__all__ = ["main"]

_COMMANDS: Final = MappingProxyType(
    {
        name: f".{name}"
        for name in (
            "demo",
            "init",
            "check",
            "schema",
            "graph",
            "send",
            "run",
            "console",
            "sim",
            "trace",
            "llm",
        )
    }
)

_EPILOG: Final = """\b
Every option can be given as an environment variable: PHLOEM_LOG_LEVEL,
PHLOEM_QUIET, PHLOEM_TRACEBACK, and PHLOEM_<COMMAND>_<OPTION>, such as
PHLOEM_RUN_OUT. NO_COLOR is respected.

\b
Exit codes: 0 all completed, 1 a handler or agent failed, 2 usage,
configuration or a file that cannot be read or written, 3 out of budget,
4 deadline or deadlock, 5 rejected or undelivered messages, 130 and 143
after SIGINT and SIGTERM. Of several: 143, 130, 2, 4, 3, 1, 5."""


@final
class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (module := _COMMANDS.get(cmd_name)) is None:
            return None
        command: click.Command = import_module(module, __package__).command
        return command


def _show_version(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted:
        version: str = import_module("phloem").__version__  # the one fact the front door alone knows
        click.echo(f"phloem {version}")
        context.exit()


@click.group(
    cls=_LazyGroup,
    epilog=_EPILOG,
    context_settings={"auto_envvar_prefix": "PHLOEM", "help_option_names": ["-h", "--help"]},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
@common_options
def app() -> None:
    """A message pump for organisms of agents: every message ends exactly once, and is accounted for."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The command line. Always leaves by ``SystemExit``."""
    occupied()
    settings = Settings()
    try:
        code = _invoke(list(sys.argv[1:] if arguments is None else arguments), settings)
        click.echo(nl=False)  # flushes what is left, or raises
    except OSError as error:
        code = int(complain(stdout_failure(error), settings))
    let_go()
    sys.exit(code)


def _invoke(arguments: list[str], settings: Settings) -> int:
    try:
        with app.make_context("phloem", arguments, obj=settings) as context:
            return int(app.invoke(context) or 0)
    except click.exceptions.Exit as left:
        return left.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except OSError:
        raise
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:  # noqa: BLE001 - the outermost edge
        return int(complain(error, settings))
