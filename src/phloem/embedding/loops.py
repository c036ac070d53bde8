"""Asyncio, as far as phloem speaks of it: waiting for a bell, cancels that come, tasks for Trio's side.

The only file that says asyncio. Decides what a host's cancel is to a wait that must see its other
side come to an end, and who owns the signals. Knows nothing of organisms, and starts no Trio.
Called by the other files of ``embedding``, in the loop's own thread.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, Final, final

import anyio

__all__ = [
    "Bell",
    "HostTask",
    "Interrupt",
    "Loop",
    "before_close",
    "checkpoint",
    "in_task",
    "is_cancel",
    "load_shield",
    "outwait",
    "redeliver",
    "running_loop",
    "signals_left_alone",
    "start_task",
]

Loop = asyncio.AbstractEventLoop
BODY_ENDS: Final = "what the block holds has ended"


def running_loop() -> Loop | None:
    """The loop that the calling code runs in; None outside of one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def in_task() -> bool:
    """True in a task of a running loop's. Within Trio's tick it is not one, though the loop runs."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:  # no loop runs here
        return False


async def checkpoint() -> None:
    """Let the loop run once. Checkpoint of the host's."""
    await asyncio.sleep(0)


def is_cancel(error: BaseException | None) -> bool:
    """True for what asyncio cancels a task with."""
    return isinstance(error, asyncio.CancelledError)


# -- waiting ---------------------------------------------------------------------------------------


@final
class Bell:
    """Rung once on Trio's side, waited for by tasks of the host's."""

    __slots__ = ("_loop", "_waiting", "rung")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: list[asyncio.Future[None]] = []
        self.rung = False

    def ring(self) -> None:
        """Wake all who wait. In the loop's thread. Never a checkpoint."""
        self.rung = True
        for future in self._waiting:
            if not future.done() and not self._loop.is_closed():
                future.set_result(None)
        self._waiting.clear()

    async def wait(self) -> None:
        """Until it has rung. Cancelled means: only the waiting ended; it may have rung all the same."""
        if not self.rung:
            future = self._loop.create_future()
            self._waiting.append(future)
            try:
                await future
            finally:
                if future in self._waiting:
                    self._waiting.remove(future)


async def outwait(bell: Bell, cancel: Callable[[], object], end: Bell | None = None) -> BaseException | None:
    """Wait for ``bell``; the cancel that came meanwhile, or None.

    A cancel calls ``cancel``, and then nothing but ``end`` (the bell, where none is given) ends the
    wait: further ones are counted by their task and else passed over, and a scope of anyio's that
    cancels again and again is kept off, or the loop would do nothing else.
    """
    end = bell if end is None else end
    try:
        await bell.wait()
    except asyncio.CancelledError as cancelled:  # noqa: ASYNC103 - the caller raises it, or has it come again
        if not end.rung:
            cancel()
            with anyio.CancelScope(shield=True):
                while not end.rung:
                    try:
                        await end.wait()
                    except asyncio.CancelledError:  # noqa: ASYNC103 - one more; the task counts it
                        continue  # noqa: ASYNC104
        return cancelled  # noqa: ASYNC104
    except BaseException:  # thrown away, where no await is allowed; or Ctrl-C, of which nobody is to wait
        cancel()
        raise
    return None


def load_shield() -> None:
    """Have anyio load its half for asyncio now, in a task; else the first cancel would wait for it."""
    anyio.CancelScope()


def redeliver(cancelled: BaseException) -> None:
    """Have a cancel that was passed over come again at the task's next await.

    For a result that came together with the cancel, and must not be lost. Not where whoever asked
    for the cancel has taken it back by then (a timeout whose block is over): it would hit somebody else.
    """
    task = asyncio.current_task()
    if task is not None:
        task.get_loop().call_soon(_cancel_again, task, task.cancelling(), cancelled.args)


def _cancel_again(task: asyncio.Task[Any], counted: int, args: tuple[Any, ...]) -> None:
    if not task.done() and task.cancelling() >= counted:
        task.uncancel()  # it is counted already
        task.cancel(*args)


@final
class Interrupt:
    """The task in a block, to be cancelled if what the block holds ends first. Made in that task."""

    __slots__ = ("_sent", "_task")

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._sent = False

    def send(self) -> None:
        """Cancel the body, once."""
        if self._task is not None and not self._sent and not self._task.done():
            self._sent = self._task.cancel(BODY_ENDS)

    def take_back(self) -> bool:
        """At the block's end: the cancel was ours and is dealt with. True if others have cancelled too."""
        task = asyncio.current_task()
        if task is None:
            return False
        if self._sent and task is self._task:
            self._sent = False
            return task.uncancel() > 0
        return task.cancelling() > 0


# -- tasks ---------------------------------------------------------------------------------------------


def start_task(
    loop: Loop,
    main: Callable[[], Coroutine[Any, Any, Any]],
    ended: Callable[[], object],
    *,
    name: str,
) -> object:
    """A task of the loop's, in a context of its own. ``ended`` is called when it has. Hold what it gives."""
    task = loop.create_task(main(), name=name, context=Context())
    task.add_done_callback(lambda _: ended())
    return task


@final
class HostTask:
    """``await function(*args)`` as a task of the host's, for somebody on Trio's side."""

    __slots__ = ("_ended", "_function", "_task", "_unwanted", "error", "value")

    def __init__(self, function: Callable[[], Awaitable[Any]], ended: Callable[[], object]) -> None:
        self._function, self._ended = function, ended
        self._task: asyncio.Task[Any] | None = None
        self._unwanted = False
        self.value: Any = None
        self.error: BaseException | None = None

    def start(self, loop: Loop, context: Context) -> None:
        """Have it begin in the loop's next turn: not within Trio's, whose task would seem to call it."""
        loop.call_soon(self._begin, loop, context)

    def cancel(self) -> None:
        """Cancel it; ``ended`` comes once it has ended."""
        self._unwanted = True
        if self._task is not None:
            self._task.cancel("the handler was cancelled")

    def _begin(self, loop: Loop, context: Context) -> None:
        if self._unwanted:
            self.error = asyncio.CancelledError()
            self._ended()
        else:
            self._task = loop.create_task(self._run(), name="phloem host call", context=context)
            self._task.add_done_callback(self._done)

    async def _run(self) -> Any:
        return await self._function()

    def _done(self, task: asyncio.Task[Any]) -> None:
        try:
            self.value = task.result()
        except BaseException as error:  # noqa: BLE001, ASYNC103 - for whoever waits on Trio's side
            self.error = error
        self._ended()


# -- the loop's end and its signals ---------------------------------------------------------------------


def before_close(loop: Loop, closing: Callable[[Callable[[], None]], None]) -> Callable[[], None]:
    """Have ``loop.close()`` call ``closing(close)`` instead, with its own as the argument; how to undo that.

    A loop tells nobody that it closes, so its method is replaced on this one object. A close while
    it runs, or a second one, goes to its own.
    """
    own = loop.close

    def close() -> None:
        if loop.is_running() or loop.is_closed():
            own()
        else:
            closing(own)

    def undo() -> None:
        if own_names.get("close") is close:
            del own_names["close"]

    own_names: dict[str, Any] = getattr(loop, "__dict__", {})  # one without is found out by the next tick
    own_names["close"] = close
    return undo


@contextmanager
def signals_left_alone() -> Iterator[None]:
    """Within it a starting guest finds SIGINT taken: the host owns it, with or without a handler.

    Trio takes over where it finds Python's own handler; as a guest it would keep a Ctrl-C to
    itself until one of its tasks runs, while the host's body waits for ever.
    """
    own = signal.default_int_handler
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not own:
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: own(number, frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, own)
