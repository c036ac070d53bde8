"""``phloem demo``: a small organism at work, with no key and no network, in a few seconds.

Decides what is worth seeing first: a fan-out, a malformed message and its huh, the
corrected retry, a shutdown that accounts for everything, and what to type next. The
organism is ``demo_files/``, and runs with ``phloem run`` as it is.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from .retyping import phloem_name, typed, typed_path
from .shell import Settings, common_options, pass_settings

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["command"]

_FILES: Final = ("organism.yaml", "handlers.py", "messages.ndjson")

_FAN_OUT: Final = """\
<message xmlns="https://xml-pipeline.org/ns/envelope/v1">
  <meta><from>you</from></meta>
  <Order xmlns=""><Item>tea</Item><Quantity>2</Quantity></Order>
  <Order xmlns=""><Item>cups</Item><Quantity>6</Quantity></Order>
  <Note xmlns=""><Text>The kettle is on.</Text></Note>
</message>"""

_MALFORMED: Final = "<Order><Item>sugar</Item><Quantity>two</Quantity></Order>"
_CORRECTED: Final = "<Order><Item>sugar</Item><Quantity>2</Quantity></Order>"


@click.command("demo")
@click.option("--into", metavar="FOLDER", help="Copy the demo's organism there, to change it.")
@common_options
@pass_settings
def command(settings: Settings, into: str | None) -> int:
    """Show a small organism at work: no key, no network, a few seconds."""
    import trio

    from .rich_console import open_console

    settings.start_logging()
    here = Path(__file__).with_name("demo_files")
    folder = here if into is None else _copied(here, Path(into))
    console = open_console()
    trio.run(_show, console, folder)
    _say(console, "Next, the same organism over a batch, one result per line:")
    console.print(f"  {_next_command(folder)}", markup=False, soft_wrap=True)
    if into is None:
        _say(console, "")
        _say(console, "To change it, take a copy first: add --into FOLDER to phloem demo.")
    return 0


async def _show(console: Console, folder: Path) -> None:
    from phloem.contract import encode
    from phloem.errors import MessageRejected
    from phloem.organism import open_organism

    async with open_organism(folder / "organism.yaml") as organism:
        names = ", ".join(each.name for each in organism.config.listeners)  # phloem's own are left out
        _say(console, f"An organism of three listeners: {names}.", bold=True)
        _say(console, "\nOne envelope with three payloads. Each goes to whoever takes it:")
        _quote(console, _FAN_OUT)
        outcome = await organism.wait(await organism.inject(_FAN_OUT, sender="you"))
        _say(console, f"The conversation {outcome.state}, and answered:")
        for payload in outcome.payloads:
            _quote(console, encode(payload))

        _say(console, "\nA malformed message. Nothing of it reaches a handler, and it is told why:")
        _quote(console, _MALFORMED)
        try:
            await organism.inject(_MALFORMED, sender="you")
        except MessageRejected as error:
            huh = error.huh
            _say(console, f"huh ({huh.code}) at {huh.path}: found {huh.found}, expected {huh.expected}")

        _say(console, "\nCorrected, and sent again:")
        _quote(console, _CORRECTED)
        outcome = await organism.wait(await organism.inject(_CORRECTED, sender="you"))
        for payload in outcome.payloads:
            _quote(console, encode(payload))
    report = organism.report
    _say(
        console,
        "\nShut down. Every message is accounted for, phloem's own first one, Boot, as well:",
        bold=True,
    )
    _say(
        console,
        f"  {report.accepted} accepted = {report.handled} handled + {report.rejected} rejected"
        f" + {report.undeliverable} undeliverable + {report.failed} failed + {report.abandoned} abandoned\n",
    )


def _say(console: Console, text: str, *, bold: bool = False) -> None:
    console.print(text, style="bold" if bold else None, markup=False, soft_wrap=True)


def _quote(console: Console, xml: str) -> None:
    for line in xml.splitlines():
        console.print(f"  {line}", style="cyan", markup=False, soft_wrap=True)


def _copied(source: Path, folder: Path) -> Path:
    """The demo's files in a folder of the user's. Never overwrites one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        if (folder / name).exists():
            raise click.UsageError(f"--into {folder}: {name} is there already", click.get_current_context())
    for name in _FILES:
        shutil.copyfile(source / name, folder / name)
    return folder


def _next_command(folder: Path) -> str:
    """A command that works as it is typed: however phloem was started, wherever its files are."""
    files = [os.path.relpath(folder / name) for name in ("organism.yaml", "messages.ndjson")]
    files = [min(each, os.path.abspath(each), key=len) for each in files]
    return typed([*phloem_name(), "run", typed_path(files[0]), "--batch", typed_path(files[1])])
