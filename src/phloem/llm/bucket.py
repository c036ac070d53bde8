"""A token bucket: so many tokens a minute, reserved before a call and settled after it.

Decides who may go and when, strictly in the order in which they came. Knows no backend and no request.
Time is Trio's clock. Called by ``gateway`` only.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, final

import trio

__all__ = ["Bucket", "Reservation"]

MINUTE: Final = 60.0  # seconds; what a rate limit of tokens is counted by


@final
class _Waiter:
    __slots__ = ("tokens", "woken")

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.woken = trio.Event()


@final
class Reservation:
    """Tokens taken for one call. Ends once: settled with what was used, or given back."""

    __slots__ = ("_bucket", "tokens")

    def __init__(self, bucket: Bucket, tokens: int) -> None:
        self._bucket: Bucket | None = bucket
        self.tokens = tokens

    def settle(self, tokens: int) -> bool:
        """The call has used so many, more or fewer than were reserved. False if it has ended."""
        bucket, self._bucket = self._bucket, None
        if bucket is None:
            return False
        bucket._ended(self.tokens, tokens)
        return True

    def release(self) -> None:
        """Nothing was used. For ``finally``: nothing happens if it has ended already."""
        self.settle(0)


@final
class Bucket:
    """Holds ``capacity`` tokens, full at first, and fills at ``capacity`` a minute.

    What is in it may be less than nothing, where calls have used more than they had reserved: then it
    takes longer. ``reserved``: tokens of calls that have not ended.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.reserved = 0
        # One number says all: when it will be full, were nobody to take anything. What is in it, and when
        # so many will be, are differences from it; a level kept beside the time of its last change gathers
        # rounding, and a waiter woken a rounding too early could never leave.
        self._full_at = -math.inf
        self._line: deque[_Waiter] = deque()

    @property
    def available(self) -> float:
        """Tokens in it now; below zero if more was used than it holds."""
        return self.available_at(trio.current_time())

    def available_at(self, now: float) -> float:
        """The same at another time, if nothing happens until then."""
        missing = max(0.0, self._full_at - now)
        return self.capacity - missing * self.capacity / MINUTE

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._line)

    async def reserve(self, tokens: int) -> Reservation:
        """Wait for one's turn and take so many. Checkpoint. Cancelled means: nothing taken, place given up.

        Raises ValueError for more than it can ever hold.
        """
        if not 0 <= tokens <= self.capacity:
            raise ValueError(
                f"found {tokens} tokens, expected at most {self.capacity}, the bucket's capacity"
            )
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._line and trio.current_time() >= self._ready(tokens):
            taken = self._take(tokens)
            try:
                await trio.lowlevel.cancel_shielded_checkpoint()
            except BaseException:  # Ctrl-C
                taken.release()
                raise
            return taken
        waiter = _Waiter(tokens)
        self._line.append(waiter)
        try:
            await self._turn(waiter)
            return self._take(tokens)
        finally:  # gone or served: who stood behind it is looked at anew
            self._line.remove(waiter)
            self._wake()

    async def _turn(self, waiter: _Waiter) -> None:
        """Until it is first, and what it wants is there."""
        while True:
            if self._line[0] is not waiter:
                await waiter.woken.wait()
            else:
                ready = self._ready(waiter.tokens)
                if trio.current_time() >= ready:
                    return
                with trio.move_on_at(ready):
                    await waiter.woken.wait()
            waiter.woken = trio.Event()

    def _ready(self, tokens: int) -> float:
        """When so many are there, if nobody else takes any."""
        return self._full_at - (self.capacity - tokens) * MINUTE / self.capacity

    def _take(self, tokens: int) -> Reservation:
        self._full_at = max(self._full_at, trio.current_time()) + tokens * MINUTE / self.capacity
        self.reserved += tokens
        return Reservation(self, tokens)

    def _ended(self, reserved: int, used: int) -> None:
        self.reserved -= reserved
        seconds = (used - reserved) * MINUTE / self.capacity
        if seconds > 0:  # taken now: what flowed over since the call began was nobody's to save
            self._full_at = max(self._full_at, trio.current_time()) + seconds
        else:
            self._full_at += seconds
            self._wake()

    def _wake(self) -> None:
        if self._line:
            self._line[0].woken.set()
