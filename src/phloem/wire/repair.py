"""What may be mended without changing meaning, and a record of what was.

Decides nothing about a document that is strict and fits its contract: that is left alone.
Otherwise a repair must be lexical and the only reading: letters, not intentions. Truncation,
duplicates, unknown and missing elements, control characters and anything that reads two ways
go back to their sender. Never validates: what it mended passes the strict parser again, then
XSD and decoding like everything else. Called by the pump.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from phloem.errors import InvalidMessage
from phloem.messages import HuhCode

from .diagnosis import unreadable
from .envelope import is_envelope
from .gate import to_bytes
from .mending import Mend, Mender, NoReading
from .parsing import Element, Parser, local_name
from .prose import Extract, extract
from .shapes import Shape, Shapes
from .text import path_of, quoted

__all__ = ["Mend", "Mended", "Shape", "Shapes", "fit_root", "read_document"]

_FINAL: Final = frozenset({HuhCode.TOO_LARGE, HuhCode.DTD_REFUSED})


@final
@dataclass(frozen=True, slots=True)
class Mended:
    """A document that is strict now, and what had to be done for it: nothing, mostly."""

    root: Element
    mends: tuple[Mend, ...]


def read_document(parser: Parser, data: bytes | str, shapes: Shapes, *, from_model: bool = False) -> Mended:
    """The document, mended where that is the only reading. Never a checkpoint.

    From a model's output (at most ``max_model_bytes``), fences and prose around one payload go
    too. Raises ``InvalidMessage`` with one fault.
    """
    limit = parser.limits.max_model_bytes if from_model else parser.limits.max_bytes
    mends: list[Mend] = []
    try:
        root = parser.parse(data, limit=limit)
    except InvalidMessage as error:
        root = _mend(parser, data, shapes, error, limit, mends, from_model)
    for payload in list(root)[1:] if is_envelope(root) else [root]:
        fit_root(payload, shapes, mends)
    return Mended(root, tuple(mends))


def _mend(
    parser: Parser,
    data: bytes | str,
    shapes: Shapes,
    strict: InvalidMessage,
    limit: int,
    mends: list[Mend],
    from_model: bool,
) -> Element:
    """The root of what the text can only mean; ``strict`` if nothing tells what it means."""
    code = strict.faults[0].code
    if code in _FINAL:
        raise strict
    raw = to_bytes(data, limit)
    fault = unreadable(raw)
    if fault is not None:  # in anything but characters of XML, nothing is certain
        raise strict if code == HuhCode.BAD_CHAR else InvalidMessage([fault])
    text = raw.decode("utf-8-sig")
    mender = Mender(parser, text, shapes)
    told = strict
    try:
        found = extract(text, shapes.tags(), from_model=from_model)
        told = _without_prose(parser, found, limit, strict)
        end = mender.document(found.start)
        mends += found.mends(end)
    except NoReading as reason:
        raise told if reason.fault is None else InvalidMessage([reason.fault]) from None
    mends += mender.mends
    if not mends:
        raise strict  # what it refused is still there, or went without a record: neither may pass
    return parser.parse(found.declaration + "".join(mender.written), limit=limit)


def _without_prose(parser: Parser, found: Extract, limit: int, strict: InvalidMessage) -> InvalidMessage:
    """What the parser says of the payload itself: of prose it would only say that it is prose."""
    if not found.before:
        return strict
    try:
        parser.parse(found.text[found.start :], limit=limit)
    except InvalidMessage as error:
        return error
    return strict


def fit_root(payload: Element, shapes: Shapes, mends: list[Mend]) -> None:
    """Spell and order a payload as its contract does, where that is plain; says so in ``mends``."""
    tag = str(payload.tag)
    shape = shapes.shape_of(tag)
    if shape is None:
        named = [one for one in shapes.tags() if one.casefold() == tag.casefold()]
        if len(named) != 1:
            return
        mends.append(Mend("tag-case", path_of([tag]), quoted(tag), quoted(named[0])))
        payload.tag = named[0]
        shape = shapes.shape_of(named[0])
    if shape is not None:
        _fit(payload, shape, [shape.tag], mends)


def _fit(element: Element, shape: Shape, path: list[str], mends: list[Mend]) -> None:
    """Spell and order the children as the contract does, where it is plain which is which.

    Recursion ends with the tree, which the parser's depth limit bounds.
    """
    if shape.leaf:
        return
    order = shape.order
    for child in element:
        tag = str(child.tag)
        inner = shape.child(tag)
        if inner is None:
            named = [one for one in order if one.casefold() == tag.casefold()]
            if len(named) != 1:
                continue  # unknown, or several readings: decoding says so
            mends.append(Mend("tag-case", path_of([*path, local_name(child)]), quoted(tag), quoted(named[0])))
            child.tag = named[0]
            inner = shape.child(named[0])
        if inner is not None and not inner.leaf:
            _fit(child, inner, [*path, inner.tag], mends)
    if shape.fixed and len(element) > 1:
        _fit_order(element, order, path, mends)


def _fit_order(element: Element, order: Sequence[str], path: list[str], mends: list[Mend]) -> None:
    tags = [str(child.tag) for child in element]
    if tags == list(order):  # nearly always: every field there, in its place
        return
    places = {tag: place for place, tag in enumerate(order)}
    if any(tag not in places for tag in tags):
        return
    wanted = sorted(tags, key=places.__getitem__)
    if tags == wanted or len(set(tags)) < len(tags):
        return
    if any(child.tail and child.tail.strip() for child in element):
        return  # stray text belongs to a place; decoding refuses it where it stands
    element[:] = sorted(element, key=lambda child: places[str(child.tag)])
    mends.append(Mend("field-order", path_of(path), quoted(" ".join(tags)), quoted(" ".join(wanted))))
