"""``phloem llm``: what has to do with the models that an organism speaks through.

Decides which commands there are below it. Loads nothing heavy: ``phloem --help`` reads it.
"""

from __future__ import annotations

import click

from .llm_ping import ping
from .shell import common_options

__all__ = ["command"]


@click.group("llm", short_help="Try the models that an organism speaks through.")
@common_options
def command() -> None:
    """Look after the backends in the llm section of an organism.yaml."""


command.add_command(ping)
