"""Element -> instance, slowly and with every fault.

Decides what a document must look like to fit a plan, and says all that is wrong at once,
each with its element path, what was found and what was expected. This is the truth that the
decoder of ``codec`` is a fast copy of: whatever that stumbles on is done again here. Linear
in the size of its input, whatever is wrong with it. Called by ``contract`` alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode
from phloem.wire.parsing import Element, quoted

from .faults import TOO_DEEP, check_length, kind_of, refused
from .plans import Choice, Field, Leaf, Many, Nothing, OneOf, Plan, Record, Row, Table
from .types import BLANK, Refusal

__all__ = ["read_element"]

_BAD: Final = object()  # what a reader returns when it has said why in its faults


def read_element(record: Record, element: Element) -> Any:
    """The instance an element stands for; raises ``InvalidMessage`` with every fault."""
    faults: list[Fault] = []
    if element.tag != record.tag:
        found = str(element.tag) if isinstance(element.tag, str) else "no element"
        raise InvalidMessage(
            [
                Fault(
                    HuhCode.UNEXPECTED_ELEMENT,
                    f"/{_plain(found)}",
                    quoted(found),
                    f"the element {record.tag}",
                )
            ]
        )
    value: Any = _BAD
    try:
        value = _read(record, element, f"/{record.tag}", faults)
    except RecursionError:
        faults.append(Fault(HuhCode.TOO_LARGE, f"/{record.tag}", TOO_DEEP, "a flatter document"))
    if faults:
        raise InvalidMessage(faults)
    return value


def _read(plan: Plan, element: Element, path: str, faults: list[Fault]) -> Any:
    for name in element.keys():  # noqa: SIM118  -- an element, not a dict: iterating gives its children
        faults.append(Fault(HuhCode.ATTRIBUTE, path, f"the attribute {quoted(str(name))}", "no attributes"))
    match plan:
        case Leaf() | Choice():
            return _read_leaf(plan, element, path, faults)
        case Nothing():
            _read_empty(element, path, faults)
            return None
        case Many():
            return _read_many(plan, element, path, faults)
        case Row():
            if not plan.items:
                _read_empty(element, path, faults)
                return ()
            found = _read_fixed(_row_fields(plan), element, path, faults)
            return _BAD if found is None else tuple(found[name] for name in plan.tags)
        case Table():
            return _read_table(plan, element, path, faults)
        case OneOf():
            return _read_union(plan, element, path, faults)
        case Record():
            return _read_record(plan, element, path, faults)


def _read_leaf(plan: Leaf | Choice, element: Element, path: str, faults: list[Fault]) -> Any:
    inner = [_name(child) for child in element]
    if inner:
        faults.append(Fault(HuhCode.UNEXPECTED_ELEMENT, path, f"{inner[0]} inside", "text only"))
        return _BAD
    try:
        return plan.read(element.text or "")
    except Refusal as refusal:
        faults.append(refused(path, refusal))
        return _BAD


def _read_empty(element: Element, path: str, faults: list[Fault]) -> None:
    for child in element:
        faults.append(
            Fault(HuhCode.UNEXPECTED_ELEMENT, f"{path}/{_name(child)}", _name(child), "nothing inside")
        )
    if element.text or any(child.tail for child in element):  # XML Schema takes not even a line break here
        faults.append(Fault(HuhCode.STRAY_TEXT, path, quoted(element.text or " "), "an empty element"))


def _children(element: Element, path: str, faults: list[Fault]) -> list[Element]:
    """The child elements; text and whatever else between them is a fault."""
    if element.text and element.text.strip(BLANK):
        faults.append(Fault(HuhCode.STRAY_TEXT, path, quoted(element.text.strip(BLANK)), "elements only"))
    children: list[Element] = []
    for child in element:
        if isinstance(child.tag, str):
            children.append(child)
        else:
            faults.append(Fault(HuhCode.UNEXPECTED_ELEMENT, path, _name(child), "elements only"))
        if child.tail and child.tail.strip(BLANK):
            faults.append(Fault(HuhCode.STRAY_TEXT, path, quoted(child.tail.strip(BLANK)), "elements only"))
    return children


def _read_many(plan: Many, element: Element, path: str, faults: list[Fault]) -> Any:
    items: list[Any] = []
    before = len(faults)
    for number, child in enumerate(_children(element, path, faults), 1):
        if child.tag != plan.item.tag:
            faults.append(_unexpected(child, path, number, f"only {plan.item.tag} elements"))
        else:
            items.append(_read(plan.item, child, f"{path}/{plan.item.tag}[{number}]", faults))
    if len(faults) > before:
        return _BAD
    check_length(plan, len(items), path, faults)
    if plan.kind is list:
        return items
    value = plan.kind(items)
    if len(value) != len(items):
        twice = next(item for item, times in Counter(items).items() if times > 1)
        faults.append(
            Fault(
                HuhCode.DUPLICATE_ELEMENT,
                path,
                f"{quoted(str(twice))} twice",
                f"each item of {plan.words} once",
            )
        )
    return value


def _read_table(plan: Table, element: Element, path: str, faults: list[Fault]) -> Any:
    pairs: dict[Any, Any] = {}
    before = len(faults)
    number = 0
    fields = (
        Field("key", "Key", plan.key, kind_of(plan.key), True),
        Field("value", "Val", plan.value, kind_of(plan.value), True),
    )
    for number, child in enumerate(_children(element, path, faults), 1):
        here = f"{path}/Item[{number}]"
        if child.tag != "Item":
            faults.append(_unexpected(child, path, number, "only Item elements"))
            continue
        for name in child.keys():  # noqa: SIM118
            faults.append(
                Fault(HuhCode.ATTRIBUTE, here, f"the attribute {quoted(str(name))}", "no attributes")
            )
        pair = _read_fixed(fields, child, here, faults)
        if pair is None:
            continue
        if pair["Key"] in pairs:
            faults.append(
                Fault(
                    HuhCode.DUPLICATE_ELEMENT,
                    f"{here}/Key",
                    f"{quoted(str(pair['Key']))} again",
                    "each key once",
                )
            )
        pairs[pair["Key"]] = pair["Val"]
    if len(faults) > before:
        return _BAD
    check_length(plan, number, path, faults)
    return pairs


def _read_union(plan: OneOf, element: Element, path: str, faults: list[Fault]) -> Any:
    before = len(faults)
    children = _children(element, path, faults)
    if len(children) != 1 or children[0].tag not in plan.members:
        inside = ", ".join(_name(child) for child in children[:3]) + (" …" if len(children) > 3 else "")
        if not children:
            inside = "nothing inside"
        faults.append(Fault(HuhCode.UNION, path, inside, f"exactly one element, {' or '.join(plan.members)}"))
        return _BAD
    tag = str(children[0].tag)
    value = _read(plan.members[tag], children[0], f"{path}/{tag}", faults)
    return _BAD if len(faults) > before else value


def _row_fields(plan: Row) -> tuple[Field, ...]:
    return tuple(
        Field(tag, tag, item, kind_of(item), True) for tag, item in zip(plan.tags, plan.items, strict=True)
    )


def _read_record(plan: Record, element: Element, path: str, faults: list[Fault]) -> Any:
    before = len(faults)
    found: dict[str, Any] | None = {}
    if plan.fields:
        found = _read_fixed(plan.fields, element, path, faults)
    else:
        _read_empty(element, path, faults)
    if found is None or len(faults) > before:
        return _BAD
    arguments = {field.name: found[field.tag] for field in plan.fields if field.tag in found}
    make: Callable[..., Any] = plan.cls
    try:
        return make(**arguments)
    except RecursionError:
        raise
    except Exception as error:  # noqa: BLE001 -- its __post_init__ refused: the message is at fault, not we
        said = str(error) or type(error).__name__
        faults.append(
            Fault(
                HuhCode.TYPE,
                path,
                "values that do not go together",
                f"what {plan.tag} asks for: {quoted(said, 200)}",
            )
        )
        return _BAD


def _read_fixed(
    fields: tuple[Field, ...], element: Element, path: str, faults: list[Fault]
) -> dict[str, Any] | None:
    """Each field at most once, in this order; what was read by tag, or None if there was a fault."""
    before = len(faults)
    at = {field.tag: index for index, field in enumerate(fields)}
    found: dict[str, Any] = {}
    seen: dict[str, int] = {}
    last = -1
    for child in _children(element, path, faults):
        tag = str(child.tag)
        index = at.get(tag)
        if index is None:
            faults.append(_unexpected(child, path, 1, _one_of_these(fields)))
            continue
        seen[tag] = seen.get(tag, 0) + 1
        if seen[tag] > 1:
            faults.append(
                Fault(HuhCode.DUPLICATE_ELEMENT, f"{path}/{tag}[{seen[tag]}]", f"{tag} again", "it once")
            )
            continue
        if index < last:
            after = fields[last].tag
            faults.append(
                Fault(
                    HuhCode.UNEXPECTED_ELEMENT,
                    f"{path}/{tag}",
                    f"{tag} after {after}",
                    f"{tag} before {after}",
                )
            )
        last = max(last, index)
        found[tag] = _read(fields[index].plan, child, f"{path}/{tag}", faults)
    for field in fields:
        if field.required and field.tag not in seen:
            faults.append(Fault(HuhCode.MISSING_ELEMENT, f"{path}/{field.tag}", "nothing", field.type_words))
    return None if len(faults) > before else found


def _one_of_these(fields: tuple[Field, ...]) -> str:
    shown = ", ".join(field.tag for field in fields[:20])
    return f"only {shown}" + (" …" if len(fields) > 20 else "")


def _unexpected(child: Element, path: str, number: int, expected: str) -> Fault:
    name = _name(child)
    here = f"{path}/{name}" if number == 1 else f"{path}/{name}[{number}]"
    return Fault(HuhCode.UNEXPECTED_ELEMENT, here, f"the element {quoted(str(child.tag))}", expected)


def _name(child: Element) -> str:
    return _plain(child.tag) if isinstance(child.tag, str) else "a comment or processing instruction"


def _plain(tag: str) -> str:
    """A name as a path has it: without its namespace, and not longer than anyone reads."""
    name = tag.rpartition("}")[2]
    return name if len(name) <= 60 else name[:59] + "…"
