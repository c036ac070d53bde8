"""The ports an organism uses when it is given none: Trio's clock, random ids.

Decides where time and ids come from outside of tests. Called by ``organism`` only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import final

import trio

__all__ = ["SeededIds", "TrioClock"]


@final
class TrioClock:
    """Monotonic seconds from Trio (so a mock clock moves them), wall seconds from the system."""

    def __init__(self) -> None:
        # Bound, for each event of the pump reads it; here, for a simulation has its own while it runs.
        self.wall: Callable[[], float] = time.time

    def monotonic(self) -> float:
        """``trio.current_time()``."""
        return trio.current_time()


@final
class SeededIds:
    """Conversation ids drawn from (seed, number): 26 hexadecimal digits, no seed means a random one."""

    def __init__(self, seed: bytes | None = None) -> None:
        self._key = os.urandom(16) if seed is None else seed[:64]

    def conversation(self, number: int) -> str:
        """The id of the ``number``-th conversation."""
        return blake2b(number.to_bytes(8, "big"), digest_size=13, key=self._key).hexdigest()
