"""An agent that may write eleven kinds of payload, and what an answer of its model comes to.

Shapes of every sort: scalars, lists, dicts, unions, enums, optional fields, nested and recursive
classes, code as text. Text and values only: nothing here opens an organism.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import annotated_types

from phloem.config import WireLimits
from phloem.contract import contract_of
from phloem.contract.shapes import ContractShape
from phloem.wire.answers import Answer, AnswerPart, read_answer
from phloem.wire.parsing import Parser


class Label(enum.Enum):
    GOOD = "good"
    BAD = "bad"
    UNSURE = "not sure"


@dataclass(frozen=True)
class Greeting:
    name: str
    age: int


@dataclass(frozen=True)
class Line:
    article: str
    amount: int
    price: Decimal


@dataclass(frozen=True)
class Order:
    number: str
    lines: list[Line]
    express: bool = False


@dataclass(frozen=True)
class Patch:
    path: str
    code: str
    notes: str | None = None


@dataclass(frozen=True)
class Scores:
    by_name: dict[str, int]
    best: float


@dataclass(frozen=True)
class Verdict:
    label: Label
    confidence: Annotated[float, annotated_types.Interval(ge=0, le=1)]
    reason: str
    tone: Literal["dry", "warm"] = "dry"


@dataclass(frozen=True)
class Query:
    terms: list[str]
    limit: int = 10


@dataclass(frozen=True)
class Meeting:
    when: datetime
    place: str
    who: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    body: int | str | None
    size: tuple[int, int]


@dataclass(frozen=True)
class Page:
    title: str
    html: str
    keywords: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Tree:
    label: str
    children: list[Tree] = field(default_factory=list)


@dataclass(frozen=True)
class Ack:
    """Nothing in it."""


CLASSES: Final[tuple[type, ...]] = (
    *(Greeting, Order, Patch, Scores, Verdict, Query),
    *(Meeting, Figure, Page, Tree, Ack),
)
PARSER: Final = Parser(WireLimits())


class Taken:
    """The shapes of some classes, as the pump hands them in."""

    def __init__(self, classes: Iterable[type] = CLASSES) -> None:
        self._contracts = {contract_of(cls).tag: contract_of(cls) for cls in classes}

    def shape_of(self, tag: str) -> ContractShape | None:
        contract = self._contracts.get(tag)
        return None if contract is None else contract.shape

    def tags(self) -> tuple[str, ...]:
        return tuple(self._contracts)


TAKEN: Final = Taken()
BY_TAG: Final = {contract_of(cls).tag: cls for cls in CLASSES}


def xml(payload: object) -> str:
    """The payload as it would be written without a fault."""
    return contract_of(type(payload)).encode(payload)


def read(text: str, *, start: int = 0) -> Answer:
    return read_answer(PARSER, text, TAKEN, start=start)


def decoded(part: AnswerPart) -> tuple[str, str | None, Any]:
    """(way, to, the payload), all the way through its contract. Raises InvalidMessage."""
    cls = BY_TAG[str(part.element.tag)]
    return part.way.value, part.to, contract_of(cls).read(part.element)


def values(answer: Answer) -> list[tuple[str, str | None, Any]]:
    return [decoded(part) for part in answer.parts]


def values_of(text: str) -> list[tuple[str, str | None, Any]]:
    """What an answer comes to. Raises InvalidMessage."""
    return values(read(text))


def bare(*payloads: object) -> list[tuple[str, str | None, Any]]:
    return [("bare", None, payload) for payload in payloads]
