"""Which backends a model can go to, and which of them is next. Pure.

Decides by names: a model's, the backends', what each of them supports; and by the strategy, from the
loads it is shown. Knows no clock, no failure and no request. Called by the router, and by ``settings`` for
a default model that nobody takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeVar, final

__all__ = ["PROVIDER_MODELS", "Chooser", "Described", "Route", "Standing", "Strategy", "matches", "route"]

PROVIDER_MODELS: Final[Mapping[str, tuple[str, ...]]] = {  # of providers that name their models alike
    "xai": ("grok*",),
    "anthropic": ("*claude*", "*anthropic*"),
    "openai": ("*gpt*", "o1*", "o3*", "o4*", "ft:o1*", "ft:o3*", "ft:o4*", "codex*"),
}


class Strategy(StrEnum):
    """How the next backend is chosen among those that take a model and are up."""

    FAILOVER = "failover"  # the lowest priority number, then the first in the file
    ROUND_ROBIN = "round-robin"  # one after the other
    LEAST_LOADED = "least-loaded"  # the fewest calls running and waiting


class Described(Protocol):
    """What a backend is known by."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def supported_models(self) -> tuple[str, ...]: ...


class Standing(Protocol):
    """A backend as strategies see it. ``rank`` orders by priority, then by place in the file."""

    @property
    def rank(self) -> tuple[int, int]: ...
    @property
    def load(self) -> int: ...


S = TypeVar("S", bound=Standing)


@final
@dataclass(frozen=True, slots=True)
class Route:
    """Where a model can go: places in the list of backends, and the name that they are asked for.

    ``named`` take it by its name, and go before those that take ``any`` model.
    """

    model: str
    named: tuple[int, ...]
    any: tuple[int, ...]


def matches(name: str, pattern: str) -> bool:
    """True if the name is of the pattern, in which ``*`` stands for any text. Case is no difference."""
    text = name.casefold()
    first, *rest = pattern.casefold().split("*")
    if not rest:
        return text == first
    *middle, last = rest
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for (
        part
    ) in middle:  # each at its first place: what is left is then most; a regular expression may try all
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def route(model: str, backends: Sequence[Described]) -> Route:
    """Where a model can go, by its name or as ``backend/model``; nowhere is an empty route.

    ``supported_models`` are all that a backend takes, whatever its provider; without them it takes what its
    provider's models are called, or, where they are called anything (Ollama's, scripted and own ones), any.
    A backend that is named takes every model, or those it supports.
    """
    head, slash, rest = model.partition("/")
    if slash and rest:
        for place, backend in enumerate(backends):
            if backend.name.casefold() == head.casefold():
                supports = not backend.supported_models or _in(rest, backend.supported_models)
                return Route(rest, (place,) if supports else (), ())
    named, anything = list[int](), list[int]()
    for place, backend in enumerate(backends):
        patterns = backend.supported_models or PROVIDER_MODELS.get(backend.kind)
        if patterns is None:
            anything.append(place)
        elif _in(model, patterns):
            named.append(place)
    return Route(model, tuple(named), tuple(anything))


def _in(model: str, patterns: Sequence[str]) -> bool:
    return any(matches(model, pattern) for pattern in patterns)


@final
class Chooser:
    """A strategy, and whose turn it is. One for each router."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        # By group: calls of one model in between do not make another's uneven. There are no more groups
        # than ways in which models share the configured backends.
        self._turns: dict[tuple[tuple[int, int], ...], int] = {}

    def pick(self, group: Sequence[S], free: Callable[[S], bool]) -> S | None:
        """The next of a group, which is in order of rank, among those that are free; None if none is."""
        if self._strategy is Strategy.ROUND_ROBIN:
            return self._in_turn(group, free)
        candidates = (each for each in group if free(each))
        if self._strategy is Strategy.LEAST_LOADED:
            return min(candidates, key=lambda each: (each.load, each.rank), default=None)
        return next(candidates, None)

    def _in_turn(self, group: Sequence[S], free: Callable[[S], bool]) -> S | None:
        key = tuple(each.rank for each in group)
        begin = self._turns.get(key, 0)
        for step in range(len(group)):
            place = (begin + step) % len(group)
            if free(group[place]):
                self._turns[key] = (place + 1) % len(group)
                return group[place]
        return None
