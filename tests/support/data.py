"""What publishers put into events: kinds of values, pleasant and hostile, and short ways to freeze them."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from typing import Any

import pytest

from phloem.errors import InvalidEvent
from phloem.events.freezing import freeze, thaw


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, ["x"])
    NESTED = ("inner", PAIR)


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    tags: list[str]


class Text(str):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Number(int):
    def __index__(self) -> int:
        return 99

    def __repr__(self) -> str:
        return "NaN, and not JSON"


@dataclasses.dataclass
class Holder:
    data: Mapping[str, Any]


class Raises:
    """Whose every word is an error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error

    __str__ = __hash__ = __eq__ = __len__ = __iter__ = __repr__  # type: ignore[assignment]


def frozen(value: object) -> Any:
    return freeze({"a": value})[0]["a"]


def in_json(value: object) -> Any:
    return json.loads(json.dumps(thaw(freeze({"a": value})[0]), allow_nan=False))["a"]


def refusal(data: Any) -> str:
    with pytest.raises(InvalidEvent) as caught:
        freeze(data)
    return str(caught.value)
