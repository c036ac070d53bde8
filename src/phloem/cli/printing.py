"""What a command of one result has in common with the others: the configuration in, one text out.

Decides that nothing but the result is on stdout, whatever a module of the organism prints
when it is imported, and that the result is UTF-8 wherever it goes. For ``schema`` and ``graph``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from .shell import Settings
from .standard import data_stdout

if TYPE_CHECKING:
    from phloem.config import OrganismConfig

__all__ = ["print_from"]


def print_from(file: str, settings: Settings, result: Callable[[OrganismConfig], str]) -> None:
    """Print what ``result`` makes of the organism in a file. Raises ConfigurationError, OSError."""
    from phloem.loading import importable, load_config, unbuilt

    settings.start_logging()
    with data_stdout() as outgoing:
        config = load_config(file)
        for sentence in unbuilt(config):
            settings.note(f"phloem: {sentence}")
        with importable(os.path.dirname(os.path.abspath(file))):
            text = result(config)
        _write(outgoing, text)


def _write(descriptor: int, text: str) -> None:
    rest = memoryview(text.encode("utf-8", "backslashreplace"))  # a lone surrogate is in no file of ours
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        error.filename = "stdout"
        raise
