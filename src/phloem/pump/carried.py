"""What a message carries beside its payload, for users' steps; never on the wire.

Decides nothing. ``walking`` makes one for each message that has passed users' steps.
"""

from __future__ import annotations

from typing import Any, final

__all__ = ["Carried"]


@final
class Carried:
    """What users' steps gave a message to carry: their notes, and until when it may take (Trio's clock)."""

    __slots__ = ("expires", "notes")

    def __init__(self, notes: dict[str, Any], expires: float) -> None:
        self.notes, self.expires = notes, expires
