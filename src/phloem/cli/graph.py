"""``phloem graph``: who may address whom in an organism, as text or as a drawing.

Decides nothing but the format: ``topology`` finds, ``drawing`` draws. Runs no handler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from .printing import print_from
from .shell import Settings, common_options, pass_settings

if TYPE_CHECKING:
    from phloem.config import OrganismConfig

__all__ = ["command"]

_FORMATS: Final = ("text", "mermaid", "dot")  # drawing.DRAWINGS, which --help need not load


@click.command("graph", short_help="Draw who may address whom.")
@click.argument("file", type=click.Path())
@click.option(
    "--format",
    type=click.Choice(_FORMATS, case_sensitive=False),
    default="text",
    show_default=True,
    help="Text, or a drawing for Mermaid or Graphviz.",
)
@common_options
@pass_settings
def command(settings: Settings, file: str, format: str) -> int:
    """Draw the organism in FILE: its listeners, and the payloads they may send to their peers.

    \b
    Pointed out: listeners that only strangers can address, peers that are not
    registered, and cycles without a budget, which only the defaults end.
    Imports the modules that FILE names; runs no handler.
    """
    from phloem.primitives import SERVICE_LISTENERS

    from .drawing import DRAWINGS
    from .topology import topology_of

    def drawn(config: OrganismConfig) -> str:
        return DRAWINGS[format](topology_of(config, SERVICE_LISTENERS))

    print_from(file, settings, drawn)
    return 0
