"""One message of a class that a reader can copy: fits the XSD, decodes, and says something.

Decides what an unknown value looks like: a default if there is one, else the first member
of an enum, a number within its bounds, a text from the field's documentation or name. The
same class has the same example on every machine. Called by ``contract`` and whoever writes
prompts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count, islice
from typing import Any, Final, final
from uuid import UUID

from phloem.wire.text import escaped

from .constraints import Facets
from .patterns import sample
from .plans import Choice, Field, Leaf, Many, Nothing, OneOf, Plan, Record, Row, Table
from .types import Refusal

__all__ = ["NoExample", "example_of"]

_TRIES: Final = 200  # candidates looked at before we say there is none
_A_DAY: Final = date(2031, 5, 17)
_AN_HOUR: Final = time(9, 30)
_MOST_SPREAD: Final = 200  # how far an open-ended quantifier is stretched to reach a least length


@final
class NoExample(Exception):
    """Nothing we think of fits; the text says which field."""


def example_of(record: Record) -> str:
    """Canonical text. Raises ``NoExample`` where no value fits, or a class needs itself for ever."""
    return f"<{record.tag}>{_record(record, (), 0)}</{record.tag}>"


def _record(record: Record, above: tuple[Record, ...], number: int) -> str:
    if record in above:
        raise NoExample(f"{record.tag} inside itself")
    inside = (*above, record)
    pieces: list[str] = []
    for field in record.fields:
        try:
            text = _field(field, inside, number)
        except NoExample:
            if field.required:
                raise
            continue  # a field with a default may be left out
        pieces.append(f"<{field.tag}>{text}</{field.tag}>")
    return "".join(pieces)


def _field(field: Field, above: tuple[Record, ...], number: int) -> str:
    words = field.doc or field.name.replace("_", " ").strip() or field.tag
    default = field.default
    if isinstance(field.plan, Leaf | Choice) and default not in ("", b"") and number == 0:
        try:
            return escaped(field.plan.write(default))
        except Refusal:
            pass  # no default, or one that its own constraints refuse: invent a value
    try:
        return _value(field.plan, words, above, number)
    except NoExample as error:
        raise NoExample(
            f"{field.name}: {error}" if not str(error).startswith(field.name) else str(error)
        ) from None


def _value(plan: Plan, words: str, above: tuple[Record, ...], number: int) -> str:
    match plan:
        case Leaf() | Choice():
            return next(islice(_texts(plan, words), number, None), None) or _none_fits(plan, words, number)
        case Nothing():
            return ""
        case Many() | Table():
            return _several(plan, words, above)
        case Row():
            return "".join(
                f"<{tag}>{_value(item, words, above, number)}</{tag}>"
                for tag, item in zip(plan.tags, plan.items, strict=True)
            )
        case OneOf():
            last: NoExample | None = None
            for tag, member in sorted(plan.members.items(), key=lambda pair: isinstance(pair[1], Nothing)):
                try:
                    return f"<{tag}>{_value(member, words, above, number)}</{tag}>"
                except NoExample as error:  # a class that contains itself: another member ends it
                    last = error
            raise last or NoExample("an empty union")
        case Record():
            return _record(plan, above, number)


def _several(plan: Many | Table, words: str, above: tuple[Record, ...]) -> str:
    wanted = max(plan.least, 1) if plan.most is None or plan.most > 0 else 0
    pieces: list[str] = []
    for number in range(wanted):
        try:
            if isinstance(plan, Table):
                key = _value(plan.key, f"{words} key", above, number)
                inner = _value(plan.value, words, above, 0)
                pieces.append(f"<Item><Key>{key}</Key><Val>{inner}</Val></Item>")
            else:
                # only a set's items must differ, but a list's may
                tag, own = plan.item.tag, number if plan.kind in (set, frozenset) else 0
                pieces.append(f"<{tag}>{_value(plan.item, words, above, own)}</{tag}>")
        except NoExample:
            if number >= plan.least:
                break
            raise
    return "".join(pieces)


def _none_fits(plan: Leaf | Choice, words: str, number: int) -> str:
    if isinstance(plan, Leaf) and plan.scalar.python in (str, bytes) and number == 0:
        empty = next(_texts(plan, words), None)
        if empty is not None:
            return empty  # the empty text is what fits
    raise NoExample(f"no value of {plan.tag} found that fits")


def _texts(plan: Leaf | Choice, words: str) -> Iterator[str]:
    """Different texts that fit, the best first."""
    if isinstance(plan, Choice):
        yield from (escaped(text) for text in plan.values)
        return
    known: set[str] = set()
    for value in islice(_candidates(plan, words), _TRIES):
        try:
            text = plan.write(value)
        except (Refusal, ValueError, OverflowError):
            continue
        if text not in known:
            known.add(text)
            yield escaped(text)


def _candidates(plan: Leaf, words: str) -> Iterator[Any]:
    facets, kind = plan.facets, plan.scalar.python
    if kind is str:
        yield from _str_candidates(facets, words)
    elif kind is bytes:
        for number in count():
            yield _sized(words.encode() if number == 0 else f"{words} {number}".encode(), facets, b".")
    elif kind is bool:
        yield from (True, False)
    elif kind in (int, float, Decimal):
        yield from _number_candidates(facets, kind)
    elif kind is date:
        start = facets.ge or facets.gt or facets.le or facets.lt or _A_DAY
        for days in count():
            yield from (start + timedelta(days), start - timedelta(days))
    elif kind is datetime:
        start_at = datetime.combine(_A_DAY, _AN_HOUR, UTC)
        yield from (start_at + timedelta(days=days) for days in count())
    elif kind is time:
        yield from (time(hour, 30) for hour in range(9, 18))
    elif kind is UUID:
        yield from (UUID(int=0x6F1B5C2E_0D4A_4B7E_9C35_8A2F41D6E000 + number) for number in count())


def _str_candidates(facets: Facets, words: str) -> Iterator[str]:
    if facets.pattern is not None:
        spreads = {sample(facets.pattern, spread): None for spread in (1, 2, *range(3, _MOST_SPREAD))}
        yield from spreads
        yield ""
        return
    for number in count():
        yield _sized(words if number == 0 else f"{words} {number + 1}", facets, " and so on")


def _sized(value: Any, facets: Facets, filler: Any) -> Any:
    """A text or bytes, cut or filled to the lengths asked for."""
    least, most = facets.min_length or 0, facets.max_length
    while len(value) < least:
        value = value + filler
    limit = most if most is not None else max(least, len(value))
    return value[:limit]


def _number_candidates(facets: Facets, kind: type) -> Iterator[Any]:
    low = facets.ge if facets.ge is not None else facets.gt
    high = facets.le if facets.le is not None else facets.lt
    if low is not None and high is not None and kind is not int:
        for parts in range(2, 50):
            yield low + (high - low) / parts
    plain = {int: range(1, 20), float: (1.5, 2.5, 0.5), Decimal: (Decimal("19.99"), Decimal("0.5"))}[kind]
    yield from plain
    start = low if low is not None else high if high is not None else kind(20)
    for step in range(_TRIES):
        yield start + kind(step)
        yield start - kind(step)
