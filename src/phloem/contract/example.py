"""One message of a class that a reader can copy: fits the XSD, decodes, and says something.

Decides what an unknown value looks like: a default worth showing if there is one, else the first
member of an enum, a number within its bounds, a text as ``natural`` has it. The same class has
the same example on every machine. Called by ``contract`` and whoever writes prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count, islice
from typing import Any, Final, final
from uuid import UUID

from phloem.config import MAX_MARKUP
from phloem.wire.text import escaped

from .constraints import Facets
from .natural import About, about_field, about_key, fitted, is_placeholder, short_codes
from .patterns import sample
from .plans import Choice, Field, Leaf, Many, Nothing, OneOf, Plan, Record, Row, Table, can_hold
from .types import Refusal

__all__ = ["NoExample", "example_of"]

_TRIES: Final = 200  # candidates looked at before we say there is none
_A_DAY: Final = date(2031, 5, 17)
_AN_HOUR: Final = time(9, 30)
_MOST_SPREAD: Final = 200  # how far an open-ended quantifier is stretched to reach a least length
_LONGEST_GUESS: Final = 24  # characters tried against a pattern: a slow one takes ever longer over them
_LONGEST_DEFAULT: Final = 200  # characters; a longer default hides the rest of the example


@final
class NoExample(Exception):
    """Nothing we think of fits; the text says which field."""


def example_of(record: Record) -> str:
    """Canonical text. Raises ``NoExample`` where no value fits, or a class needs itself for ever."""
    return f"<{record.tag}>{_Writer().record(record, ())}</{record.tag}>"


@final
class _Writer:
    """One example in the making. Counts its elements: classes within classes may multiply without end."""

    def __init__(self) -> None:
        self._left = MAX_MARKUP // 2  # each has two tags; more would not pass the parser

    def record(self, record: Record, above: tuple[Record, ...]) -> str:
        if record in above:
            raise NoExample(f"{record.tag} inside itself")
        inside = (*above, record)
        pieces: list[str] = []
        for field in record.fields:
            self._left -= 1
            if self._left < 0:
                raise NoExample("more elements than one message may have")
            try:
                text = self._field(field, record, inside)
            except NoExample:
                if field.required:
                    raise
                continue  # a field with a default may be left out
            pieces.append(f"<{field.tag}>{text}</{field.tag}>")
        return "".join(pieces)

    def _field(self, field: Field, of: Record, above: tuple[Record, ...]) -> str:
        text = _default(field)
        if text is not None:
            return text
        try:
            return self._value(field.plan, about_field(field.name, field.doc, of.cls.__name__), above)
        except NoExample as error:
            raise NoExample(
                f"{field.name}: {error}" if not str(error).startswith(field.name) else str(error)
            ) from None

    def _value(self, plan: Plan, about: About, above: tuple[Record, ...]) -> str:
        match plan:
            case Leaf() | Choice():
                return _different(plan, about, 1, 1)[0]
            case Nothing():
                return ""
            case Many() | Table():
                return self._several(plan, about, above)
            case Row():
                return "".join(
                    f"<{tag}>{self._value(item, about, above)}</{tag}>"
                    for tag, item in zip(plan.tags, plan.items, strict=True)
                )
            case OneOf():
                return self._one_of(plan, about, above)
            case Record():
                return self.record(plan, above)

    def _one_of(self, plan: OneOf, about: About, above: tuple[Record, ...]) -> str:
        last: NoExample | None = None
        for tag, member in sorted(plan.members.items(), key=lambda pair: isinstance(pair[1], Nothing)):
            try:
                return f"<{tag}>{self._value(member, about, above)}</{tag}>"
            except NoExample as error:  # a class that contains itself: another member ends it
                last = error
        raise last or NoExample("an empty union")

    def _several(self, plan: Many | Table, about: About, above: tuple[Record, ...]) -> str:
        wanted = max(plan.least, 1) if plan.most is None or plan.most > 0 else 0
        if wanted > self._left:
            raise NoExample("more items than one message may have")
        self._left -= wanted
        try:
            if isinstance(plan, Table):
                value = self._value(plan.value, about, above)
                keys = _different(plan.key, about_key(about), wanted, plan.least)
                return "".join(f"<Item><Key>{key}</Key><Val>{value}</Val></Item>" for key in keys)
            tag = plan.item.tag
            if isinstance(plan.item, Leaf | Choice) and plan.kind in (set, frozenset):
                items = _different(plan.item, about, wanted, plan.least)
                return "".join(sorted(f"<{tag}>{item}</{tag}>" for item in items))  # as sets are written
            return f"<{tag}>{self._value(plan.item, about, above)}</{tag}>" * wanted
        except NoExample:
            if plan.least == 0:
                return ""
            raise


def _default(field: Field) -> str | None:
    """What is there if the field is left out, where that says something."""
    plan, value = field.plan, field.default
    if isinstance(plan, OneOf):
        held = [(tag, member) for tag, member in plan.members.items() if can_hold(member, value)]
        for tag, member in held:
            if isinstance(member, Leaf | Choice):
                text = _shown(member, value, field.name)
                return None if text is None else f"<{tag}>{text}</{tag}>"
        return None
    return _shown(plan, value, field.name) if isinstance(plan, Leaf | Choice) else None


def _shown(plan: Leaf | Choice, default: Any, name: str) -> str | None:
    if isinstance(plan, Leaf) and isinstance(default, str | bytes) and not _shows(default, name):
        return None
    try:
        return escaped(plan.write(default))
    except Refusal:
        return None  # no default, or one that its own constraints refuse


def _shows(default: str | bytes, name: str) -> bool:
    if not default or len(default) > _LONGEST_DEFAULT:
        return False
    return isinstance(default, bytes) or (default.isprintable() and not is_placeholder(default, name))


def _different(plan: Leaf | Choice, about: About, wanted: int, least: int) -> list[str]:
    """That many different texts that fit, the best there are; fewer only if ``least`` allows."""
    found = list(islice(_texts(plan, about, wanted), wanted))
    if len(found) < least:
        raise NoExample(f"no value of {plan.tag} found that fits")
    return found


def _texts(plan: Leaf | Choice, about: About, wanted: int) -> Iterator[str]:
    if isinstance(plan, Choice):
        plain = sorted(plan.values, key=lambda text: is_placeholder(text) or not text.isprintable())
        yield from (escaped(text) for text in plain)
        return
    known: set[str] = set()
    for value in islice(_candidates(plan, about), _TRIES + 2 * wanted):
        try:
            text = plan.write(value)
        except (Refusal, ValueError, OverflowError):
            continue
        if text not in known:
            known.add(text)
            yield escaped(text)


def _candidates(plan: Leaf, about: About) -> Iterator[Any]:
    facets, kind = plan.facets, plan.scalar.python
    if facets.doc:
        about = about.documented(facets.doc)
    if kind is str:
        yield from _str_candidates(facets, about)
    elif kind is bytes:
        yield from _bytes_candidates(facets, about)
    elif kind is bool:
        yield from (True, False)
    elif kind in (int, float, Decimal):
        yield from _number_candidates(facets, kind, about)
    elif kind is date:
        yield from _date_candidates(facets)
    elif kind is datetime:
        start_at = datetime.combine(_A_DAY, _AN_HOUR, UTC)
        yield from (start_at + timedelta(minutes=minutes) for minutes in count())
    elif kind is time:
        yield from (time(hour % 24, minute) for minute in range(30, 60) for hour in range(9, 9 + 24))
    elif kind is UUID:
        yield from (UUID(int=0x6F1B5C2E_0D4A_4B7E_9C35_8A2F41D6E000 + number) for number in count())


def _str_candidates(facets: Facets, about: About) -> Iterator[str]:
    if facets.pattern is not None:
        yield from (phrase for phrase in about.phrases if len(phrase) <= _LONGEST_GUESS)
        yield from (sample(facets.pattern, spread) for spread in range(1, _MOST_SPREAD))
        yield ""
        return
    yield from about.phrases
    least, most = facets.min_length or 0, facets.max_length
    if most == 0:
        yield ""
    whole = [fitted(phrase, least, most) for phrase in about.phrases]
    yield from (text for text in whole if not is_placeholder(text, about.name))
    yield from whole
    for number in range(2, _TRIES // 2):
        ending = f" {number}"
        room = None if most is None else most - len(ending)
        if room is None or room > 0:
            yield fitted(about.phrases[-1], least - len(ending), room) + ending
    yield from short_codes(most if most is not None and most < 4 else max(least, 4))


def _bytes_candidates(facets: Facets, about: About) -> Iterator[bytes]:
    least, most = facets.min_length or 0, facets.max_length
    for phrase in about.phrases:
        yield phrase.encode()
        whole = fitted(phrase, least, most).encode()  # longer than its text where that is not ASCII
        yield whole if most is None else whole[:most]
    size = most if most is not None and most < 4 else max(least, 4)
    for number in range(256 ** min(size, 4)):
        yield number.to_bytes(size, "big")


def _date_candidates(facets: Facets) -> Iterator[date]:
    yield _A_DAY
    start = facets.ge or facets.gt or facets.le or facets.lt or _A_DAY
    for days in count():
        for step in (days, -days):
            ordinal = start.toordinal() + step
            if 0 < ordinal <= date.max.toordinal():
                yield date.fromordinal(ordinal)


def _number_candidates(facets: Facets, kind: type, about: About) -> Iterator[Any]:
    low = facets.ge if facets.ge is not None else facets.gt
    high = facets.le if facets.le is not None else facets.lt
    usual = about.number()
    if usual is not None and (kind is not int or usual.lstrip("-").isdigit()):
        yield kind(usual)
    if low is not None and high is not None and kind is not int:
        for parts in range(2, 50):
            yield low + (high - low) / parts
    plain = {int: range(1, 20), float: (1.5, 2.5, 0.5), Decimal: (Decimal("19.99"), Decimal("0.5"))}[kind]
    yield from plain
    start = low if low is not None else high if high is not None else kind(20)
    if start + kind(1) == start:  # so far out that a step of one is none
        if kind is float:
            yield from (math.nextafter(start, math.inf), math.nextafter(start, -math.inf))
        else:
            yield from (Decimal(start).next_plus(), Decimal(start).next_minus())
    for step in range(1_000_000):
        yield start + kind(step)
        yield start - kind(step)
