"""A batch as a whole, read and made into messages before anything is run: for ``sim``.

Decides nothing about what a batch may say, which is ``source``'s and ``requests``': only that all of it
is held, since each of several hundred runs sends it again. Runs no handler. ``sim`` calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import trio

from phloem.config import OrganismConfig
from phloem.framing.fields import FieldTable
from phloem.framing.lines import Piece, Unreadable
from phloem.framing.requests import Refused, Request, RequestReader
from phloem.loading import running_listeners
from phloem.primitives import BOOT_LISTENER, SERVICE_LISTENERS

from .batch import SENDER
from .source import StreamSource

if TYPE_CHECKING:
    from phloem.messages import Fault

__all__ = ["WholeBatch", "read_batch"]


@final
@dataclass(frozen=True, slots=True)
class WholeBatch:
    """What is sent in each run, in the order of the input; and a sentence for what never can be."""

    requests: tuple[Request, ...]
    unreadable: tuple[str, ...]


def read_batch(descriptor: int, config: OrganismConfig) -> WholeBatch:
    """All of a file or pipe. Raises OSError, and ConfigurationError for peers without an example.

    Not async: it runs Trio itself.
    """
    listeners = running_listeners(config, [BOOT_LISTENER], SERVICE_LISTENERS)
    reader = RequestReader(listeners, FieldTable(), sender=SENDER, limits=config.wire, expects=True)
    source = StreamSource(descriptor)
    requests, unreadable = list[Request](), list[str]()
    for piece in trio.run(_pieces, source):
        if isinstance(piece, Unreadable):
            unreadable.append(_sentence(piece.line, (piece.fault,)))
            continue
        request = reader.read_envelope(piece) if source.is_xml else reader.read_line(piece)
        if isinstance(request, Refused):
            unreadable.append(_sentence(piece.line, request.faults))
        else:
            requests.append(request)
    return WholeBatch(tuple(requests), tuple(unreadable))


async def _pieces(source: StreamSource) -> list[Piece | Unreadable]:
    every: list[Piece | Unreadable] = []
    while (pieces := await source.receive()) is not None:
        every += pieces
    return every


def _sentence(line: int, faults: tuple[Fault, ...]) -> str:
    """Where, what was found, what was expected; the first of several faults says most."""
    fault = faults[0]
    where = f"line {line}" if fault.path.startswith(f"line {line}") else f"line {line}, {fault.path}"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{where}: found {fault.found}, expected {fault.expected}{more}"
