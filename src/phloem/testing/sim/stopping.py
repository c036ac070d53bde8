"""A program that can say in a run: no more runs, whatever is planned.

Decides nothing about a search, which goes on with runs that do nothing and come to an end at once; whoever
began the search asks afterwards what stopped it. For test runners, whose tests may skip themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, final

__all__ = ["Stoppable"]


@final
class Stoppable:
    """``main``, whose errors go to ``stops`` first; what that gives back is kept, and is no failure."""

    def __init__(
        self,
        main: Callable[[], Awaitable[Any]],
        stops: Callable[[BaseException], BaseException | None],
    ) -> None:
        own: Any = getattr(main, "func", main)  # of a partial
        self.__module__, self.__qualname__ = own.__module__, own.__qualname__
        self.stopped: BaseException | None = None
        self._main, self._stops = main, stops

    async def __call__(self) -> Any:
        """What ``main`` returns; None once it was stopped. A checkpoint where ``main`` is one."""
        if self.stopped is not None:
            return None
        try:
            return await self._main()
        except BaseException as error:  # noqa: ASYNC103 - whoever stops it takes it, else it goes on
            self.stopped = self._stops(error)
            if self.stopped is None:
                raise
            return None  # noqa: ASYNC104
