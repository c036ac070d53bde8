"""Documents as strangers and models write them, the shapes they are read by, and their one fault.

Text and trees only: nothing here opens an organism.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pytest

from phloem.errors import InvalidMessage
from phloem.messages import Fault
from phloem.wire.parsing import Parser, is_xml_text

# Spelled out as it stands on the wire: a test that took ours would not see it change.
NAMESPACE: Final = "https://xml-pipeline.org/ns/envelope/v1"


def message(*payloads: str, meta: str = "<from>a</from>") -> str:
    return f'<message xmlns="{NAMESPACE}"><meta>{meta}</meta>{"".join(payloads)}</message>'


def fault_of(call: Callable[[], object]) -> Fault:
    """The one fault a call has; every fault is complete, short, and can go on the wire."""
    with pytest.raises(InvalidMessage) as caught:
        call()
    (fault,) = caught.value.faults
    assert fault.path
    assert fault.found
    assert fault.expected
    assert is_xml_text(str(fault))
    assert len(str(fault)) < 700
    return fault


def refusal(parser: Parser, data: bytes | str) -> Fault:
    return fault_of(lambda: parser.parse(data))


@dataclass
class Node:
    """A shape as a contract would hand it in."""

    tag: str
    inner: dict[str, Node] = field(default_factory=dict)
    fixed: bool = True
    leaf: bool = False

    @property
    def order(self) -> Sequence[str]:
        return list(self.inner)

    def child(self, tag: str) -> Node | None:
        return self.inner.get(tag)


@dataclass
class Known:
    """The shapes of all that is taken, by tag."""

    shapes: Mapping[str, Node]

    def shape_of(self, tag: str) -> Node | None:
        return self.shapes.get(tag)

    def tags(self) -> Iterable[str]:
        return self.shapes.keys()


def node(tag: str, *inner: Node, fixed: bool = True) -> Node:
    return Node(tag, {one.tag: one for one in inner}, fixed)


def leaf(tag: str) -> Node:
    return Node(tag, leaf=True)
