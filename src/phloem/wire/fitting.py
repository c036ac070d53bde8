"""Whether a payload that a model wrote could fit its contract at all, said in words it can act on.

Decides three things that models do and contracts never allow: attributes for fields, markup in a
text, namespaces of their own. The decoder would refuse them too, but not say what to write instead.
A payload that stands in one namespace as a whole, prefix or not, is taken out of it: no contract has
any. Raises ``InvalidMessage``. Called by ``items``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lxml import etree

from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode

from .marks import Kind, Marks
from .mending import Mend
from .parsing import Element, local_name
from .shapes import Shape, Shapes
from .text import path_of, quoted

__all__ = ["check_fit", "drop_namespace"]

_MOST: Final = 10  # faults told at once: more is not read


def drop_namespace(root: Element, marks: Marks, mends: list[Mend]) -> None:
    """Take a payload out of the one namespace that all of its elements are in."""
    tag = str(root.tag)
    if not tag.startswith("{") or tag in marks.tags or marks.kind(local_name(root)) is not Kind.PAYLOAD:
        return
    namespace = tag[: tag.index("}") + 1]
    elements = list(root.iter())
    if any(not str(one.tag).startswith(namespace) or one.attrib for one in elements):
        return
    for one in elements:
        one.tag = local_name(one)
    etree.cleanup_namespaces(root)
    mends.append(Mend("namespace", path_of([str(root.tag)]), quoted(namespace[1:-1]), "no namespace"))


def check_fit(root: Element, shapes: Shapes) -> None:
    """Refuse what no contract allows, where the contract is known."""
    tag = str(root.tag)
    shape = shapes.shape_of(tag)
    if shape is None:
        if tag.startswith("{") and shapes.shape_of(local_name(root)) is not None:
            raise InvalidMessage([_foreign(root, [local_name(root)])])
        return
    faults = [fault for fault, _ in zip(_faults(root, shape, [tag]), range(_MOST), strict=False)]
    if faults:
        raise InvalidMessage(faults)


def _faults(element: Element, shape: Shape, path: list[str]) -> Iterator[Fault]:
    """Depth first; ends with the tree, which the parser's limit bounds."""
    order = shape.order
    if not (shape.leaf or order or shape.fixed):
        return  # a class with an XSD of its own
    for name in element.keys():  # noqa: SIM118 -- an element, not a dict
        meant = [tag for tag in order if tag.casefold() == str(name).casefold()]
        expected = f"a field as an element: <{meant[0]}>…</{meant[0]}>" if meant else "no attributes"
        yield Fault(HuhCode.ATTRIBUTE, path_of(path), f"the attribute {quoted(str(name))}", expected)
    for child in element:
        tag = str(child.tag)
        if shape.leaf:
            found = f"{quoted(f'<{local_name(child)}>')} inside"
            expected = f"text only, then </{path[-1]}>: '&lt;' for '<' and '&amp;' for '&' that are text"
            yield Fault(HuhCode.UNEXPECTED_ELEMENT, path_of(path), found, expected)
            return
        if tag.startswith("{"):
            yield _foreign(child, [*path, local_name(child)])
            continue
        inner = shape.child(tag)
        if inner is not None:
            yield from _faults(child, inner, [*path, tag])


def _foreign(element: Element, path: list[str]) -> Fault:
    found = f"the tag {quoted(str(element.tag))}"
    return Fault(
        HuhCode.UNEXPECTED_ELEMENT, path_of(path), found, "a tag in no namespace: no prefix, no xmlns"
    )
