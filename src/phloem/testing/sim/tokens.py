"""Replay tokens: a run in one word that can be pasted.

Decides what has to be kept of a run to have it again: its seed, its strategy or its schedule, what
was cut, which faults fired, and the beginning of its digest, by which a replay knows itself. Pure.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast, final

from phloem.errors import InvalidToken

from .injecting import FaultKind
from .strategies import LENGTH, concrete

__all__ = ["Cut", "Recipe", "decode", "encode"]

PREFIX: Final = "sim1-"
LONGEST: Final = 16 << 20  # bytes of a token's content once unpacked: a schedule of some million steps
CUTS: Final = ("cancel", "timeout")

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True)
class Cut:
    """What a sweep did to a run, just before one of its steps.

    ``kind``: ``cancel`` is the whole scenario; ``timeout`` the innermost scope with a deadline around the
    task whose step it is, or around ``task``, which waits then (its number in the run's trace). Steps are
    counted from 0, which is the first of ``main``.
    """

    step: int
    kind: str = "cancel"
    task: int | None = None

    def __str__(self) -> str:
        whose = "" if self.task is None else f" of waiting task #{self.task}"
        what = "the scenario cancelled" if self.kind == "cancel" else f"the innermost deadline{whose} fired"
        return f"{what} before step {self.step}"


@final
@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides a run, besides its code. ``schedule`` is None where seed and strategy say it."""

    seed: int = 0
    strategy: str = "walk"
    schedule: tuple[int, ...] | None = None
    cuts: tuple[Cut, ...] = ()
    faults: tuple[tuple[str, str, int, str], ...] | None = None  # point, name, visit, kind; None: as planned
    resources: bool = False  # what is left behind is a failure
    digest: str = field(default="", compare=False)

    @property
    def batches(self) -> bool:
        """Each tick runs all that can run, as stock Trio does; else one task a tick."""
        return self.strategy == "shuffle"


def encode(recipe: Recipe) -> str:
    """The token."""
    content: dict[str, Any] = {"s": int(recipe.seed), "y": recipe.strategy, "d": recipe.digest[:12]}
    if recipe.schedule is not None:
        content["c"] = _sparse(recipe.schedule)
    if recipe.cuts:
        content["x"] = [
            [cut.step, cut.kind, *(() if cut.task is None else (cut.task,))] for cut in recipe.cuts
        ]
    if recipe.faults is not None:
        content["f"] = [list(fault) for fault in recipe.faults]
    if recipe.resources:
        content["r"] = 1
    text = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    packed = zlib.compress(text, 9)
    check = zlib.crc32(packed).to_bytes(4, "big")
    return PREFIX + base64.urlsafe_b64encode(check + packed).decode().rstrip("=")


def decode(token: str) -> Recipe:
    """What ``encode`` was given, but for zeros at a schedule's end: they say nothing. Raises InvalidToken."""
    word = token.strip()
    if not word.startswith(PREFIX):
        raise InvalidToken(f"token: found {word[:40]!r}, expected one that begins with {PREFIX!r}")
    body = word[len(PREFIX) :]
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        if zlib.crc32(raw[4:]).to_bytes(4, "big") != raw[:4]:
            raise ValueError("a part of it is changed or missing")
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(raw[4:], LONGEST)
        if not unpacker.eof or unpacker.unused_data:
            raise ValueError("a part of it is missing, or there is more of it")
        return _read(json.loads(text))
    except (binascii.Error, zlib.error, KeyError, TypeError, ValueError, RecursionError) as error:
        found = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidToken(
            f"token: found {word[:40]!r} that cannot be read ({found}), expected it whole"
        ) from None


def _read(content: Any) -> Recipe:
    """The recipe in a token's content. Raises ValueError, KeyError or TypeError for one that is none."""
    schedule = None if "c" not in content else _dense(content["c"])
    strategy = _a(str, content["y"])
    if schedule is None and concrete(strategy, 0, LENGTH) != strategy:
        raise ValueError(f"strategy {strategy!r} leaves something open")
    faults = content.get("f")
    return Recipe(
        _a(int, content["s"]),
        strategy,
        schedule,
        tuple(
            Cut(_count(step), _cut_kind(kind), *map(_count, task))
            for step, kind, *task in content.get("x", ())
        ),
        None
        if faults is None
        else tuple((_a(str, p), _a(str, n), _count(v), str(FaultKind(k))) for p, n, v, k in faults),
        bool(content.get("r", 0)),
        _a(str, content["d"]),
    )


def _a(kind: type[T], value: object) -> T:
    if type(value) is not kind:
        raise ValueError(f"found {value!r:.40}, expected {kind.__name__}")
    return value


def _count(value: object) -> int:
    number = _a(int, value)
    if number < 0:
        raise ValueError(f"found {number}, expected 0 or more")
    return number


def _cut_kind(value: object) -> str:
    if value not in CUTS:
        raise ValueError(f"found {value!r:.40}, expected {' or '.join(CUTS)}")
    return str(value)


def _sparse(schedule: Sequence[int]) -> list[int]:
    """Zeros are most of a shrunk schedule: gap, choice, gap, choice …"""
    told, gap = list[int](), 0
    for choice in schedule:
        if choice:
            told += [gap, choice]
            gap = 0
        else:
            gap += 1
    return told


def _dense(told: object) -> tuple[int, ...]:
    numbers = [_count(number) for number in cast("list[object]", _a(list, told))]
    if sum(numbers[::2]) > LONGEST or len(numbers) % 2:
        raise ValueError("a schedule that is none")
    schedule = list[int]()
    for gap, choice in zip(numbers[::2], numbers[1::2], strict=True):
        schedule += [0] * gap + [choice]
    return tuple(schedule)
