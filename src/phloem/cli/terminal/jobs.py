"""What happens to a terminal in raw mode when its process is stopped, goes on, is resized or killed.

Decides that nobody else ever finds the terminal in raw mode: before the process stops or is ended by a
signal that ends it at once, the modes are given back. Does nothing outside the main thread. ``tty`` uses it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import trio

__all__ = ["job_control"]

_DEADLY: Final = (signal.SIGQUIT, signal.SIGHUP)  # with nobody else's handler in their place


@contextmanager
def job_control(
    *, stop: Callable[[], object], go_on: Callable[[], object], resized: Callable[[], object]
) -> Iterator[None]:
    """``stop`` before the process stops or dies, ``go_on`` when it goes on. Inside ``trio.run``.

    All are called between two steps of the loop; ``stop`` in the signal handler if the loop is kept busy.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    token = trio.lowlevel.current_trio_token()
    asked = [False]  # for a stop that the loop has not come to

    def stop_now() -> None:
        if not asked[0]:
            return
        asked[0] = False
        stop()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, stopped)  # here it has gone on; or nobody is there who could stop it
        token.run_sync_soon(go_on, idempotent=True)

    def stopped(number: int, frame: FrameType | None) -> None:
        if asked[0]:
            stop_now()
            return
        asked[0] = True
        token.run_sync_soon(stop_now, idempotent=True)

    def continued(number: int, frame: FrameType | None) -> None:
        token.run_sync_soon(go_on, idempotent=True)

    def wound(number: int, frame: FrameType | None) -> None:
        token.run_sync_soon(resized, idempotent=True)

    def died(number: int, frame: FrameType | None) -> None:
        stop()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    handlers = {signal.SIGTSTP: stopped, signal.SIGCONT: continued, signal.SIGWINCH: wound}
    for deadly in _DEADLY:
        if signal.getsignal(deadly) is signal.SIG_DFL:
            handlers[deadly] = died
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, stock in before.items():
            signal.signal(number, stock)
