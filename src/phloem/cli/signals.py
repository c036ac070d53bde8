"""SIGINT and SIGTERM: the first asks for an end, the second makes one.

Decides which signal counts as which. The first sets an event in the loop. The second acts
in the signal handler itself, because a loop that a handler keeps busy would never hear of
it: it runs ``at_once`` and leaves the process. For ``batch`` and ``console``, in the main thread.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, final

import trio

from .exit_codes import Tally, exit_code

__all__ = ["Signals", "handled_by", "watched_signals"]

_WATCHED: Final = (signal.SIGINT, signal.SIGTERM)


@final
class Signals:
    """What has been received. ``at_once`` is called by the second one, and must not raise.

    By the first one already where the end has been asked for in another way: ``ending``.
    """

    def __init__(self) -> None:
        self.received: tuple[signal.Signals, ...] = ()
        self.ending = False
        self.first = trio.Event()
        self.at_once: Callable[[], None] = lambda: None


@contextmanager
def watched_signals(spared: Callable[[signal.Signals], bool] | None = None) -> Iterator[Signals]:
    """Signals until the block is left. Inside ``trio.run``; does nothing outside the main thread.

    One that ``spared`` takes, in the signal handler, does not count.
    """
    signals, token = Signals(), trio.lowlevel.current_trio_token()

    def receive(number: signal.Signals) -> None:
        if spared is not None and spared(number):
            return
        signals.received += (number,)
        if len(signals.received) == 1 and not signals.ending:
            token.run_sync_soon(signals.first.set, idempotent=True)
            return
        try:
            signals.at_once()
        finally:
            os._exit(exit_code(Tally(), signals=signals.received))

    with handled_by(receive):
        yield signals


@contextmanager
def handled_by(receive: Callable[[signal.Signals], object]) -> Iterator[None]:
    """Each SIGINT and SIGTERM goes to ``receive``, in the signal handler, until the block is left.

    Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, frame: FrameType | None) -> None:
        receive(signal.Signals(number))

    before = {number: signal.getsignal(number) for number in _WATCHED}
    for number in _WATCHED:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, stock in before.items():
            signal.signal(number, stock)
