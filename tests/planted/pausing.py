"""What stands for the outside world in the planted programs: an await that takes some scheduler steps.

A disk, a network or a model would take real time there. Nothing is decided here.
"""

from __future__ import annotations

import trio


async def pause(steps: int) -> None:
    """Let the scheduler choose anew ``steps`` times. Checkpoint, where there is at least one step."""
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
