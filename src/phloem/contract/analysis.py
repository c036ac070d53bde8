"""From a dataclass and its annotations to a plan.

Decides which types a payload may have, what is refused and what to use instead; a
refusal always names the field. Resolves string annotations, also of classes that are
local to a function. Writes nothing, reads no XML. Called by ``contract`` alone.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
import typing
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal, Union, final, get_args, get_origin

from phloem.errors import ContractError

from .constraints import NO_FACETS, Facets, Unsupported, read_metadata
from .hints import is_own_dataclass, resolved
from .names import is_xml_name, pascalize
from .plans import NO_DEFAULT, Choice, Field, Leaf, Many, Nothing, OneOf, Plan, Record, Row, Table
from .types import SCALARS, Refusal

__all__ = ["analyse"]

_INSTEAD: Final[Mapping[Any, str]] = {
    Any: "name the type, or a union of those that may occur",
    object: "name the type, or a union of those that may occur",
    list: "say what is in it: list[str]",
    dict: "say what is in it: dict[str, int]",
    tuple: "say what is in it: tuple[int, str] or tuple[int, ...]",
    set: "say what is in it: set[str]",
    frozenset: "say what is in it: frozenset[str]",
    complex: "use two float fields",
    bytearray: "use bytes",
    memoryview: "use bytes",
    range: "use two int fields",
}
_GENERIC_INSTEAD: Final[Mapping[str, str]] = {
    "Sequence": "use list[...]",
    "MutableSequence": "use list[...]",
    "Iterable": "use list[...]",
    "Iterator": "use list[...]",
    "Collection": "use list[...]",
    "deque": "use list[...]",
    "Mapping": "use dict[..., ...]",
    "MutableMapping": "use dict[..., ...]",
    "defaultdict": "use dict[..., ...]",
    "OrderedDict": "use dict[..., ...]",
    "Set": "use set[...]",
    "MutableSet": "use set[...]",
    "Callable": "send data: a payload carries no code",
    "type": "use a Literal or an Enum of the names",
}
_CONTAINERS: Final = (list, set, frozenset, tuple, dict)
_NUMBERS: Final = (int, float, Decimal)
_DEEPEST: Final = 64  # nested annotations; only an alias that contains itself gets there


def analyse(cls: type, names: Mapping[str, Any]) -> Record:
    """The plan of a dataclass. ``names``: where string annotations may look beside its module.

    Raises ``ContractError``, or ``NotYetDefined`` if a name in an annotation has no value.
    """
    return _Analysis(names).record(cls)


@final
class _Analysis:
    """One contract's worth of classes."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._records: dict[type, Record] = {}
        self._type_names: set[str] = set()

    def record(self, cls: type) -> Record:
        known = self._records.get(cls)
        if known is not None:
            return known
        _check_class(cls)
        type_name, number = cls.__name__, 1
        while type_name in self._type_names:  # two classes of one name: only their XSD types differ
            number += 1
            type_name = f"{cls.__name__}_{number}"
        self._type_names.add(type_name)
        record = Record(
            cls, pascalize(cls.__name__) if self._records else cls.__name__, type_name, _class_doc(cls)
        )
        self._records[cls] = record
        hints = resolved(cls, self._names)
        record.fields = tuple(self._fields(cls, hints))
        return record

    def _fields(self, cls: type, hints: Mapping[str, Any]) -> list[Field]:
        found: list[Field] = []
        by_tag: dict[str, str] = {}
        for name, raw in cls.__dict__["__dataclass_fields__"].items():
            where = f"{cls.__qualname__}.{name}"
            if raw._field_type is dataclasses._FIELD_INITVAR:  # type: ignore[attr-defined] # no public name
                raise ContractError(f"{where}: found an InitVar, which cannot be sent; make it a field")
            if raw._field_type is not dataclasses._FIELD or not raw.init:  # type: ignore[attr-defined] # ditto
                continue  # a ClassVar is no field; what __init__ does not take cannot come from the wire
            tag = pascalize(name)
            if not is_xml_name(tag):
                raise ContractError(f"{where}: {tag!r} cannot be the name of an element; rename the field")
            if tag in by_tag:
                raise ContractError(
                    f"{where}: its element {tag} is that of {by_tag[tag]!r}, too; rename one of them"
                )
            by_tag[tag] = name
            try:
                plan, facets = self._plan(hints[name], NO_FACETS, 0)
            except Unsupported as error:
                raise ContractError(f"{where}: found {error}") from None
            required = raw.default is dataclasses.MISSING and raw.default_factory is dataclasses.MISSING
            default = NO_DEFAULT if raw.default is dataclasses.MISSING else raw.default
            found.append(
                Field(name, tag, plan, words_of(plan), required, facets.doc, facets.words(), default)
            )
        return found

    # -- one annotation ---------------------------------------------------------------------

    def _plan(self, hint: Any, facets: Facets, depth: int) -> tuple[Plan, Facets]:
        """The plan, and the facets with their doc as a field's words want them."""
        if depth > _DEEPEST:
            raise Unsupported("an alias that contains itself", "use a dataclass that refers to itself")
        origin, args = get_origin(hint), get_args(hint)
        if origin is Annotated:
            inner, *metadata = args
            # what stands inside was said first; what stands outside narrows it
            return self._plan(inner, _merged(read_metadata(metadata), facets), depth + 1)
        if origin is Final:
            return self._plan(args[0], facets, depth + 1)
        if isinstance(hint, typing.NewType):
            return self._plan(hint.__supertype__, facets, depth + 1)
        if (
            type(hint).__name__ == "TypeAliasType"
        ):  # type X = ... of Python 3.12; typing_extensions has it, too
            return self._plan(hint.__value__, facets, depth + 1)
        if origin is Literal:
            return self._literal(args, facets, depth)
        if origin is Union or origin is types.UnionType:
            return self._union(args, facets, depth)
        if origin in _CONTAINERS:
            return self._container(origin, args, facets, depth)
        if hint is None or hint is type(None):
            return Nothing(), _none_of(facets, "None")
        if isinstance(hint, type) and origin is None:
            return self._class(hint, facets)
        raise _unsupported(hint)

    def _class(self, cls: type[Any], facets: Facets) -> tuple[Plan, Facets]:
        scalar = SCALARS.get(cls)
        if scalar is not None:
            plan = Leaf(scalar, _fitting(facets, cls))
            return plan, plan.facets
        if issubclass(cls, enum.Enum):
            return _enum(cls, facets), facets
        if is_own_dataclass(cls):
            return self.record(cls), _none_of(facets, f"the dataclass {cls.__name__}")
        raise _unsupported(cls)

    def _literal(self, args: tuple[Any, ...], facets: Facets, depth: int) -> tuple[Plan, Facets]:
        if None in args:  # by definition the same as a union with None
            rest = tuple(arg for arg in args if arg is not None)
            return self._union((Literal[rest], None) if rest else (None,), facets, depth)
        _none_of(facets, "a Literal")
        values: dict[str, Any] = {}
        for value in args:
            text = _literal_text(value)
            if text in values:
                raise Unsupported(
                    f"a Literal whose values {values[text]!r} and {value!r} read alike", "drop one"
                )
            values[text] = value
        kinds: set[type] = {type(value) for value in args}
        kind = kinds.pop()
        tag = "Literal" if kinds else SCALARS[kind].tag if kind in SCALARS else pascalize(kind.__name__)
        return _choice(tag, values, facets), facets

    def _union(self, args: tuple[Any, ...], facets: Facets, depth: int) -> tuple[Plan, Facets]:
        real = [arg for arg in args if arg is not None and arg is not type(None)]
        if facets.any and len(real) != 1:
            raise Unsupported(
                "a constraint on a whole union", "put it on the member: Annotated[int, Ge(0)] | str"
            )
        members: dict[str, Plan] = {}
        told = facets
        for arg in args:
            alone = arg is not None and arg is not type(None)
            plan, own = self._plan(arg, facets if alone else NO_FACETS, depth + 1)
            if alone and len(real) == 1:
                told = own
            inner = plan.members if isinstance(plan, OneOf) else {plan.tag: plan}
            for tag, member in inner.items():
                if tag in members and members[tag] != member:
                    raise Unsupported(
                        f"a union with two members called {tag}",
                        "only the tag tells them apart: wrap one in a dataclass",
                    )
                members[tag] = member
        return OneOf(members), told

    def _container(
        self, kind: type, args: tuple[Any, ...], facets: Facets, depth: int
    ) -> tuple[Plan, Facets]:
        if kind is tuple and not (len(args) == 2 and args[1] is Ellipsis):
            _none_of(facets, "a tuple of fixed length")
            return Row(tuple(self._plan(arg, NO_FACETS, depth + 1)[0] for arg in args)), facets
        if facets.bounded or facets.pattern is not None:
            raise Unsupported(
                f"a bound or pattern on a {kind.__name__}", "put it on the items, or use MinLen, MaxLen"
            )
        least, most = facets.min_length or 0, facets.max_length
        if most is not None and least > most:
            raise Unsupported(f"a length of at least {least} and at most {most}", "swap them")
        first = self._plan(args[0], NO_FACETS, depth + 1)[0]
        if kind is dict:
            if not isinstance(first, Leaf | Choice):
                raise Unsupported(
                    "a dict with keys that are no scalars", "use str keys, or a list of dataclasses"
                )
            return Table(first, self._plan(args[1], NO_FACETS, depth + 1)[0], least, most), facets
        if kind in (set, frozenset) and not isinstance(first, Leaf | Choice):
            raise Unsupported(f"a {kind.__name__} of what is no scalar", "use list[...]")
        return Many(kind, first, least, most), facets


# -- classes, enums, literals, refusals, words --------------------------------------------------


def _check_class(cls: type) -> None:
    if getattr(cls, "__parameters__", ()):
        raise ContractError(
            f"{cls.__qualname__}: found a generic dataclass; write one class per type it is used with"
        )
    if not is_xml_name(cls.__name__):
        raise ContractError(
            f"{cls.__qualname__}: its name cannot be the name of an element; rename the class"
        )


def _class_doc(cls: type) -> str:
    written = cls.__dict__.get("__doc__") or ""
    generated = written.startswith(f"{cls.__name__}(")  # what @dataclass puts where nothing was written
    return "" if generated else inspect.cleandoc(written)


def _enum(cls: type, facets: Facets) -> Choice:
    """Members whose values are all text are written by value, others by name. Aliases are not written."""
    _none_of(facets, f"the enum {cls.__name__}")
    if not issubclass(cls, enum.Enum) or issubclass(cls, enum.Flag):
        raise Unsupported(f"the flags {cls.__name__}", "use a set of a plain Enum")
    members = list(cls)
    if not members:
        raise Unsupported(f"the enum {cls.__name__} without members", "give it some")
    by_value = all(isinstance(member.value, str) for member in members)
    return _choice(pascalize(cls.__name__), {m.value if by_value else m.name: m for m in members}, facets)


def _literal_text(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return _enum(type(value), NO_FACETS).write(value)
    try:
        return SCALARS[type(value)].write(value)
    except Refusal as error:
        raise Unsupported(f"a Literal with {error.found}", f"use {error.expected}") from None


def _choice(tag: str, values: dict[str, Any], facets: Facets) -> Choice:
    for text in values:
        try:
            SCALARS[str].write(text)
        except Refusal as error:
            raise Unsupported(f"{tag} with {error.found}", f"use {error.expected}") from None
    return Choice(tag, values, {(type(value), value): text for text, value in values.items()}, facets.doc)


def _merged(inner: Facets, outer: Facets) -> Facets:
    """Both at once: an outer ``Annotated`` narrows what an inner one says, and its doc wins."""
    if inner.pattern is not None and outer.pattern is not None:
        raise Unsupported("a second pattern", "join both into one")
    joined = read_metadata([outer], inner)
    return dataclasses.replace(joined, doc=outer.doc or inner.doc)


def _none_of(facets: Facets, kind: str) -> Facets:
    if facets.any:
        raise Unsupported(f"a constraint on {kind}", "drop it, or check it in __post_init__")
    return facets


def _fitting(facets: Facets, cls: type) -> Facets:
    """The facets with bounds of the type's own kind."""
    if facets.pattern is not None and cls is not str:
        raise Unsupported(f"a pattern on {cls.__name__}", "use it on str")
    if facets.sized and cls not in (str, bytes):
        raise Unsupported(f"a length on {cls.__name__}", "use Ge and Le for numbers")
    if facets.sized and facets.max_length is not None and (facets.min_length or 0) > facets.max_length:
        raise Unsupported("a least length above the greatest", "swap them")
    if not facets.bounded:
        return facets
    if cls not in (*_NUMBERS, date):
        raise Unsupported(
            f"a bound on {cls.__name__}", "use it on numbers and dates, or check in __post_init__"
        )
    bounds: dict[str, Any] = {}
    for name in ("ge", "gt", "le", "lt"):
        bound = getattr(facets, name)
        if bound is not None:
            bounds[name] = _bound(bound, cls)
    if "ge" in bounds and "gt" in bounds:  # XSD takes one of the two: the stricter
        bounds.update({"ge": None} if bounds["gt"] >= bounds["ge"] else {"gt": None})
    if "le" in bounds and "lt" in bounds:
        bounds.update({"le": None} if bounds["lt"] <= bounds["le"] else {"lt": None})
    low = [bound for name in ("ge", "gt") if (bound := bounds.get(name)) is not None]
    high = [bound for name in ("le", "lt") if (bound := bounds.get(name)) is not None]
    if (
        low
        and high
        and (
            low[0] > high[0] or (low[0] == high[0] and (bounds.get("ge") is None or bounds.get("le") is None))
        )
    ):
        raise Unsupported(f"bounds that nothing is within ({', '.join(facets.words())})", "widen them")
    return dataclasses.replace(facets, **bounds)


def _bound(bound: Any, cls: type) -> Any:
    if cls is date:
        if type(bound) is date:
            return bound
    elif type(bound) in _NUMBERS:
        try:
            fitting = Decimal(repr(bound)) if cls is Decimal and type(bound) is float else cls(bound)
            SCALARS[cls].write(fitting)
        except (ValueError, OverflowError, InvalidOperation, Refusal):
            fitting = None
        if fitting is not None and (cls is Decimal or fitting == bound):
            return fitting
    raise Unsupported(f"the bound {bound!r} on {cls.__name__}", f"use a {cls.__name__}")


def _unsupported(hint: Any) -> Unsupported:
    shown = hint.__name__ if isinstance(hint, type) else str(hint)
    found = f"{shown}, which a payload cannot carry"
    try:
        instead = _INSTEAD.get(hint)
    except TypeError:
        instead = None
    if instead is None and isinstance(hint, typing.TypeVar):
        instead = "name the type: payload classes are not generic"
    if instead is None:
        name = getattr(get_origin(hint) or hint, "__name__", "")
        instead = _GENERIC_INSTEAD.get(name)
    if instead is None and isinstance(hint, type):
        if hasattr(hint, "_fields") or hasattr(hint, "__total__"):
            instead = "make it a dataclass"
        elif any(issubclass(hint, known) for known in SCALARS):
            instead = f"use {next(known.__name__ for known in SCALARS if issubclass(hint, known))} itself"
        else:
            instead = "use a dataclass, or one of the scalar types"
    return Unsupported(found, instead or "use a dataclass, list, dict, tuple or scalar")


def words_of(plan: Plan) -> str:
    """A type as a reader would say it."""
    match plan:
        case Leaf():
            return plan.scalar.words
        case Choice():
            return plan.words
        case Nothing():
            return "nothing"
        case Many():
            return f"{plan.words} of {words_of(plan.item)}"
        case Row():
            return (
                "a tuple of " + ", ".join(words_of(item) for item in plan.items)
                if plan.items
                else "an empty tuple"
            )
        case Table():
            return f"a table from {words_of(plan.key)} to {words_of(plan.value)}"
        case OneOf():
            return " or ".join(words_of(member) for member in plan.members.values())
        case Record():
            return plan.tag
