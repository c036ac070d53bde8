"""How the configured backends come into being, and how they go.

Decides who makes which: a provider of ours, the scripted one, a factory, or nobody, for an object that is
there already. Says all that cannot be made at once. Never calls a model. Called by ``router``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any, Final, cast

import trio

from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.guarding import Raised, attempted, said
from phloem.messages import Clock

from .backend_settings import SCRIPTED, BackendSettings, is_backend
from .checks import shown
from .requests import Backend

__all__ = ["open_backends"]

CLOSING: Final = 2.0  # seconds for a backend to close; what it holds is gone with the process anyway
LONGEST: Final = 500  # characters of what a factory's error says


async def open_backends(
    settings: Sequence[BackendSettings], stack: AsyncExitStack, clock: Clock
) -> list[Backend]:
    """The backends, in order. What must be closed is the stack's.

    One that is an async context manager is entered; else one with ``aclose`` is closed, within 2 seconds,
    also when all is cancelled. Raises ConfigurationError. A checkpoint only if a backend's entering is one.
    """
    backends: list[Backend] = []
    faults: list[ConfigurationFault] = []
    for own in settings:
        try:
            backends.append(await _opened(own, stack, clock))
        except ConfigurationError as error:
            faults += error.faults
    if faults:
        raise ConfigurationError(faults)
    return backends


async def _opened(own: BackendSettings, stack: AsyncExitStack, clock: Clock) -> Backend:
    if isinstance(own.provider, str) and own.provider != SCRIPTED:
        # Here, not above: an organism without one needs none of what a provider imports.
        from .providers import open_provider

        return await open_provider(own, stack, clock)
    backend = _made(own)
    if hasattr(type(backend), "__aenter__") and hasattr(type(backend), "__aexit__"):
        entered: object = await stack.enter_async_context(
            cast("AbstractAsyncContextManager[object]", backend)
        )
        return cast("Backend", entered) if is_backend(entered) else backend
    close = getattr(backend, "aclose", None)
    if callable(close):
        stack.push_async_callback(_close, cast("Callable[[], Awaitable[object]]", close))
    return backend


def _made(own: BackendSettings) -> Backend:
    if own.provider == SCRIPTED:
        from .scripted import scripted_backend

        return _called(own, scripted_backend, {**own.options, "name": own.name})
    if is_backend(own.provider):
        return cast("Backend", own.provider)
    return _called(own, own.provider, own.options)


def _called(own: BackendSettings, factory: Callable[..., Any], options: Mapping[str, Any]) -> Backend:
    where = f"backend {own.name!r}"
    expected = "a function that makes a backend of the entry's keys"
    made = attempted(partial(factory, **options))
    if isinstance(made, Raised):
        if isinstance(made.error, ConfigurationError):
            raise made.error
        text = f"{type(made.error).__name__}: {' '.join(said(made.error).split())[:LONGEST]}"
        raise ConfigurationError([ConfigurationFault(where, text, expected)]) from made.error
    if is_backend(made):
        return cast("Backend", made)
    if hasattr(made, "close") and hasattr(made, "__await__"):
        made.close()  # or Python warns that nobody awaited it
        found, expected = "an async function", "a plain " + expected[2:]
    else:
        found = f"{shown(made)} of its factory"
        expected = "an object with async complete(request)"
    raise ConfigurationError([ConfigurationFault(where, found, expected)])


async def _close(close: Callable[[], Awaitable[object]]) -> None:
    with trio.move_on_after(CLOSING, shield=True):
        await close()
