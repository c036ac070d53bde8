"""The shape of one payload class, as a tree of few kinds of node.

Decides what there is to know of a type once its annotations are understood; everything
else here (schema, codec, generated code, examples, shapes for the repairer) reads this
tree and nothing of ``typing``. Nodes hold no behaviour but what is the same for all their
readers. Built by ``analysis`` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

from phloem.messages import HuhCode
from phloem.wire.parsing import quoted

from .constraints import Facets
from .types import Refusal, Scalar, wrong_type

__all__ = [
    "Choice",
    "Field",
    "Leaf",
    "Many",
    "Nothing",
    "OneOf",
    "Plan",
    "Record",
    "Row",
    "Table",
    "can_hold",
]

NO_DEFAULT: Final = object()


@final
@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar: text only."""

    scalar: Scalar
    facets: Facets

    @property
    def tag(self) -> str:
        return self.scalar.tag

    def write(self, value: Any) -> str:
        text = self.scalar.write(value)
        if self.facets.any:
            self._check(value, text)
        return text

    def read(self, text: str) -> Any:
        value = self.scalar.read(text)
        if self.facets.any:
            self._check(value, text)
        return value

    def _check(self, value: Any, text: str) -> None:
        facets = self.facets
        if (
            (facets.ge is not None and not value >= facets.ge)
            or (facets.gt is not None and not value > facets.gt)
            or (facets.le is not None and not value <= facets.le)
            or (facets.lt is not None and not value < facets.lt)
            or (facets.min_length is not None and len(value) < facets.min_length)
            or (facets.max_length is not None and len(value) > facets.max_length)
            or (facets.regex is not None and not facets.regex.fullmatch(value))
        ):
            found = f"{len(value)} of length" if facets.sized and not facets.pattern else quoted(text)
            raise Refusal(HuhCode.FACET, found, f"{self.scalar.words}, {', '.join(facets.words())}")


@final
@dataclass(frozen=True, slots=True)
class Choice:
    """An Enum or a Literal: one of a few texts. ``values`` keeps the order of declaration."""

    tag: str
    values: dict[str, Any]
    texts: dict[tuple[type, Any], str]
    doc: str

    def write(self, value: Any) -> str:
        try:
            text = self.texts.get((value.__class__, value))
        except TypeError:  # unhashable
            text = None
        if text is None:
            raise wrong_type(value, self.words)
        return text

    def read(self, text: str) -> Any:
        if text not in self.values:
            raise Refusal(HuhCode.ENUM, quoted(text), self.words)
        return self.values[text]

    @property
    def words(self) -> str:
        shown = [quoted(text) for text in list(self.values)[:12]]
        more = f" or {len(self.values) - 12} more" if len(self.values) > 12 else ""
        return "one of " + ", ".join(shown) + more


@final
@dataclass(frozen=True, slots=True)
class Nothing:
    """None: an empty element."""

    tag: str = "NoneType"


@final
@dataclass(frozen=True, slots=True)
class Many:
    """A list, set, frozenset or ``tuple[X, ...]``: the same element over and over."""

    kind: type
    item: Plan
    least: int = 0
    most: int | None = None

    @property
    def tag(self) -> str:
        return self.kind.__name__.capitalize()

    @property
    def words(self) -> str:
        return {"tuple": "a tuple", "list": "a list"}.get(self.kind.__name__, f"a {self.kind.__name__}")


@final
@dataclass(frozen=True, slots=True)
class Row:
    """A tuple of fixed length."""

    items: tuple[Plan, ...]
    tag: str = "Tuple"

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(f"Item-{number}" for number in range(1, len(self.items) + 1))


@final
@dataclass(frozen=True, slots=True)
class Table:
    """A dict: pairs of a scalar key and any value."""

    key: Leaf | Choice
    value: Plan
    least: int = 0
    most: int | None = None
    tag: str = "Dict"


@final
@dataclass(frozen=True, slots=True)
class OneOf:
    """A union: exactly one member, named by its type. ``members`` is by tag, in order."""

    members: dict[str, Plan]
    tag: str = "Item"  # the reference cannot have a union in a list; this is what a dict calls its items


@final
@dataclass(frozen=True, slots=True)
class Field:
    """One field of a payload class: everything that a prompt, a table or a form needs of it."""

    name: str
    tag: str
    plan: Plan
    type_words: str
    required: bool
    doc: str = ""
    constraints: tuple[str, ...] = ()
    default: Any = NO_DEFAULT  # a default_factory's value is not known here


@final
class Record:
    """A dataclass. ``fields`` is set once all is known, since classes may refer to themselves."""

    __slots__ = ("cls", "doc", "fields", "tag", "type_name")

    def __init__(self, cls: type, tag: str, type_name: str, doc: str) -> None:
        self.cls, self.tag, self.type_name, self.doc = cls, tag, type_name, doc
        self.fields: tuple[Field, ...] = ()


Plan: TypeAlias = Leaf | Choice | Nothing | Many | Row | Table | OneOf | Record


def can_hold(plan: Plan, value: object) -> bool:
    """Whether the value is of the plan's kind; a look at its type, not inside."""
    match plan:
        case Leaf():
            if isinstance(value, bool):
                return plan.scalar.python is bool
            return isinstance(value, plan.scalar.python)
        case Choice():
            try:
                return (type(value), value) in plan.texts
            except TypeError:
                return False
        case Nothing():
            return value is None
        case Many():
            return isinstance(value, plan.kind)
        case Row():
            return isinstance(value, tuple)
        case Table():
            return isinstance(value, dict)
        case OneOf():
            return any(can_hold(member, value) for member in plan.members.values())
        case Record():
            return type(value) is plan.cls
