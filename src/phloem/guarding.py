"""The one place that catches whatever user code raises, and lets real cancellation through.

Decides which exceptions are the user's (data: a failed dispatch) and which must go on
(``KeyboardInterrupt``, and ``Cancelled`` while a scope around us is really cancelled).
Never logs and never retries. Called wherever the
pump runs what users wrote.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, cast, final

import trio

# Marks a function in which Ctrl-C must wait, since half of it done is a broken book. No cost at its call:
# Trio looks the mark up when the signal comes. What the function calls is covered as well.
from trio.lowlevel import enable_ki_protection as uninterrupted

__all__ = ["Raised", "attempted", "guarded", "holds_cancelled", "said", "uninterrupted"]


@final
class Raised:
    """What a user's function raised, as a value. A group keeps its members."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def guarded(function: Callable[..., Awaitable[Any]], *args: object) -> Any:
    """The result of ``function(*args)``, or ``Raised`` for whatever it raised.

    A checkpoint where the function is one. A stray ``Cancelled`` (caught in a scope that has
    been left, and raised again) is the function's own error: let through, it would be absorbed
    by a scope that never asked for it.
    """
    try:
        return await function(*args)
    except BaseException as error:
        going_on = _going_on(error, cancelled=trio.current_effective_deadline() == -math.inf)
        if going_on is None:
            return Raised(error)  # kept by no name here: the traceback leads to this frame
        if going_on is error:
            raise
        beside = [f"{type(each).__name__}: {said(each)}" for each in getattr(error, "exceptions", ())]
        going_on.add_note(f"raised together: {'; '.join(beside)}")
        raise going_on from None


@trio.lowlevel.disable_ki_protection  # one that never ends can still be interrupted
def attempted(function: Callable[..., Any], *args: object) -> Any:
    """As ``guarded``, for plain functions that run a user's code on the way: constructors, properties."""
    try:
        return function(*args)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Raised(error)


def holds_cancelled(error: BaseException) -> bool:
    """True if some scope waits for it: a ``Cancelled``, or a group with one in it."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).subgroup(trio.Cancelled) is not None
    return isinstance(error, trio.Cancelled)


def said(error: BaseException) -> str:
    """An exception's text. Its class may be the user's, and its ``__str__`` raise in turn."""
    text = attempted(lambda: str.__str__(str(error)))  # of a str subclass, the plain text
    return f"(its text raised {type(text.error).__name__})" if isinstance(text, Raised) else cast("str", text)


def _going_on(error: BaseException, *, cancelled: bool) -> BaseException | None:
    """What of it is not the user's: a group's part, or all, or nothing."""
    going_on = (KeyboardInterrupt, trio.Cancelled) if cancelled else KeyboardInterrupt
    whole: BaseException = error
    if not isinstance(error, BaseExceptionGroup):
        return whole if isinstance(whole, going_on) else None
    part, rest = cast("BaseExceptionGroup[BaseException]", error).split(going_on)
    return whole if rest is None else part
