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
from typing import Any, Final, cast, final

from phloem.errors import InvalidToken

__all__ = ["Cut", "Recipe", "decode", "encode"]

PREFIX: Final = "sim1-"
LONGEST: Final = 16 << 20  # bytes of a token's content once unpacked: a schedule of some million steps


@final
@dataclass(frozen=True, slots=True)
class Cut:
    """What a sweep did to a run, just before one of its steps.

    ``kind``: ``cancel`` is the whole scenario; ``timeout`` the innermost scope with a deadline around the
    task whose step it is. Steps are counted from 0, which is the first of ``main``.
    """

    step: int
    kind: str = "cancel"

    def __str__(self) -> str:
        what = "the scenario cancelled" if self.kind == "cancel" else "the innermost deadline fired"
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
    content: dict[str, Any] = {"s": recipe.seed, "y": recipe.strategy, "d": recipe.digest[:12]}
    if recipe.schedule is not None:
        content["c"] = _sparse(recipe.schedule)
    if recipe.cuts:
        content["x"] = [[cut.step, cut.kind] for cut in recipe.cuts]
    if recipe.faults is not None:
        content["f"] = [list(fault) for fault in recipe.faults]
    if recipe.resources:
        content["r"] = 1
    text = json.dumps(content, separators=(",", ":"), sort_keys=True).encode()
    packed = zlib.compress(text, 9)
    check = zlib.crc32(text).to_bytes(4, "big")
    return PREFIX + base64.urlsafe_b64encode(check + packed).decode().rstrip("=")


def decode(token: str) -> Recipe:
    """What ``encode`` was given. Raises InvalidToken."""
    word = token.strip()
    if not word.startswith(PREFIX):
        raise InvalidToken(f"token: found {word[:40]!r}, expected one that begins with {PREFIX!r}")
    body = word[len(PREFIX) :]
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(raw[4:], LONGEST)
        if unpacker.unconsumed_tail or zlib.crc32(text).to_bytes(4, "big") != raw[:4]:
            raise InvalidToken(
                f"token: found {word[:40]!r} with a part changed or missing, expected it whole"
            )
        content = json.loads(text)
        faults = content.get("f")
        return Recipe(
            int(content["s"]),
            str(content["y"]),
            None if "c" not in content else _dense(content["c"]),
            tuple(Cut(int(step), str(kind)) for step, kind in content.get("x", ())),
            None if faults is None else tuple((str(p), str(n), int(v), str(k)) for p, n, v, k in faults),
            bool(content.get("r", 0)),
            str(content["d"]),
        )
    except (binascii.Error, zlib.error, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidToken):
            raise
        raise InvalidToken(
            f"token: found {word[:40]!r} that cannot be read ({error}), expected it whole"
        ) from None


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
    numbers = cast("list[int]", told)
    if sum(numbers[::2]) > LONGEST or len(numbers) % 2 or any(number < 0 for number in numbers):
        raise ValueError("a schedule that is none")
    schedule = list[int]()
    for gap, choice in zip(numbers[::2], numbers[1::2], strict=True):
        schedule += [0] * gap + [choice]
    return tuple(schedule)
