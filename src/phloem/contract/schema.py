"""From a plan to its XSD.

Decides how each shape is said in XML Schema: one named complexType per class, elements in
the order of the fields, ``minOccurs="0"`` for a field with a default. Built as a tree,
never pasted. Holds no compiled schema: ``contract`` does, one per thread, because libxml2's
are not to be shared.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from phloem.wire.parsing import Element
from phloem.wire.text import printable

from .constraints import Facets
from .plans import Choice, Leaf, Many, Nothing, OneOf, Plan, Record, Row, Table
from .types import SCALARS, Scalar

__all__ = ["compiled", "is_recursive", "schema_of"]

_XS: Final = "http://www.w3.org/2001/XMLSchema"
_BOUNDS: Final = (
    ("ge", "minInclusive"),
    ("gt", "minExclusive"),
    ("le", "maxInclusive"),
    ("lt", "maxExclusive"),
)


def schema_of(record: Record) -> str:
    """The XSD of a payload class, as text."""
    root = etree.Element(f"{{{_XS}}}schema", {"elementFormDefault": "qualified"}, {"xs": _XS})
    for each in _closure([record]):
        kind = _sub(root, "complexType", name=each.type_name)
        _document(kind, each.doc)
        inside = _sub(kind, "sequence")
        for field in each.fields:
            element = _element(inside, field.tag, field.plan, field.doc)
            if not field.required:
                element.set("minOccurs", "0")
    _sub(root, "element", name=record.tag, type=record.type_name)
    etree.indent(root)
    return etree.tostring(root, encoding="unicode") + "\n"


def compiled(xsd_text: str) -> etree.XMLSchema:
    """The schema ready to validate; for one thread."""
    return etree.XMLSchema(etree.fromstring(xsd_text))


def _sub(parent: Element, name: str, /, **attributes: str) -> Element:
    return etree.SubElement(parent, f"{{{_XS}}}{name}", attributes)


def _document(parent: Element, doc: str) -> None:
    if doc:
        _sub(_sub(parent, "annotation"), "documentation").text = printable(
            doc, 6 * len(doc)
        )  # an escape takes six


def is_recursive(record: Record) -> bool:
    """Whether some class in it can contain itself, so that only the value bounds the depth."""
    return any(each in _closure(_mentioned(each)) for each in _closure([record]))


def _closure(records: list[Record]) -> list[Record]:
    """These and all they refer to, each once, in order of first mention."""
    found = list(records)
    for each in found:  # grows while we walk it
        found.extend(other for other in _mentioned(each) if other not in found)
    return found


def _mentioned(record: Record) -> list[Record]:
    """The classes that a class's own fields name, each once."""
    found: list[Record] = []
    waiting: list[Plan] = [field.plan for field in reversed(record.fields)]
    while waiting:
        match waiting.pop():
            case Record() as plan if plan not in found:
                found.append(plan)
            case Many(item=item):
                waiting.append(item)
            case Row(items=items):
                waiting.extend(reversed(items))
            case Table(value=value):
                waiting.append(value)
            case OneOf(members=members):
                waiting.extend(reversed(members.values()))
            case _:
                pass
    return found


def _element(parent: Element, tag: str, plan: Plan, doc: str = "") -> Element:
    element = _sub(parent, "element", name=tag)
    _document(element, doc)
    match plan:
        case Record():
            element.set("type", plan.type_name)
        case Leaf():
            _simple(element, plan.scalar, plan.facets)
        case Choice():
            restriction = _sub(_sub(element, "simpleType"), "restriction", base="xs:string")
            for text in plan.values:
                _sub(restriction, "enumeration", value=text)
        case Nothing():
            _sub(element, "complexType")
        case Many():
            _occurs(_element(_sequence(element), plan.item.tag, plan.item), plan.least, plan.most)
        case Row():
            inside = _sequence(element)
            for name, item in zip(plan.tags, plan.items, strict=True):
                _element(inside, name, item)
        case Table():
            pair = _sub(_sequence(element), "element", name="Item")
            _occurs(pair, plan.least, plan.most)
            inside = _sequence(pair)
            _element(inside, "Key", plan.key)
            _element(inside, "Val", plan.value)
        case OneOf():
            choice = _sub(_sub(element, "complexType"), "choice")
            for name, member in plan.members.items():
                _element(choice, name, member)
    return element


def _sequence(element: Element) -> Element:
    return _sub(_sub(element, "complexType"), "sequence")


def _occurs(element: Element, least: int, most: int | None) -> None:
    element.set("minOccurs", str(least))
    element.set("maxOccurs", "unbounded" if most is None else str(most))


def _simple(element: Element, scalar: Scalar, facets: Facets) -> None:
    if not facets.any and scalar.pattern is None:
        element.set("type", f"xs:{scalar.xsd}")
        return
    restriction = _sub(_sub(element, "simpleType"), "restriction", base=f"xs:{scalar.xsd}")
    for name, facet in _BOUNDS:
        bound = getattr(facets, name)
        if bound is not None:
            _sub(restriction, facet, value=SCALARS[scalar.python].write(bound))
    if facets.min_length is not None:
        _sub(restriction, "minLength", value=str(facets.min_length))
    if facets.max_length is not None:
        _sub(restriction, "maxLength", value=str(facets.max_length))
    # NaN is within no bound; libxml2 lets it through
    no_nan = "[^N]*" if scalar.python is float and facets.bounded else None
    for pattern in (scalar.pattern, facets.xsd_pattern, no_nan):
        if pattern is not None:
            _sub(restriction, "pattern", value=pattern)
