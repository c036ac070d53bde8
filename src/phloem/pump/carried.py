"""What a message carries beside its payload, for users' steps; never on the wire.

Decides nothing. ``walking`` makes one for each message that has passed users' steps.
"""

from __future__ import annotations

from typing import Any, final

__all__ = ["Carried"]


@final
class Carried:
    """What users' steps gave a message to carry: their notes, and until when it may take (Trio's clock)."""

    __slots__ = ("expires", "notes", "timer")

    def __init__(self, notes: dict[str, Any], expires: float) -> None:
        self.notes, self.expires = notes, expires
        self.timer: Any = None  # the cancel scope of the task that watches it while it waits in the queue

    def end_timer(self) -> None:
        """It waits no longer."""
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel(reason="the message waits no longer")
