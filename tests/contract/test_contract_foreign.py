"""Classes that bring their own XSD, and payloads that write themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from lxml import etree

from phloem.config import WireLimits
from phloem.contract import contract_of, encode
from phloem.errors import ContractError, InvalidMessage
from phloem.wire.parsing import Element, Parser

PARSER = Parser(WireLimits())
XSD = (
    '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">'
    '<xs:element name="Ping"><xs:complexType><xs:sequence>'
    '<xs:element name="N" type="xs:integer"/></xs:sequence></xs:complexType></xs:element></xs:schema>'
)


class Ping:
    """A class of another library."""

    def __init__(self, n: int) -> None:
        self.n = n

    @classmethod
    def xsd(cls) -> Any:
        return etree.ElementTree(etree.fromstring(XSD))

    def xml_value(self, name: str) -> Any:
        root = etree.Element(name)
        root.append(etree.Comment("theirs"))
        etree.SubElement(root, "N").text = str(self.n)
        return etree.ElementTree(root)

    @classmethod
    def from_element(cls, element: Element) -> Ping:
        if element.findtext("N") == "13":
            raise KeyError("unlucky")
        return cls(int(element.findtext("N") or ""))


class Reading:
    """What the reference's classes give: get_xobject and parse, on objectify's elements."""

    def __init__(self, name: str, ok: bool) -> None:
        self.name, self.ok = name, ok

    @staticmethod
    def xsd() -> str:
        return XSD.replace("Ping", "Reading").replace(
            '<xs:element name="N" type="xs:integer"/>',
            '<xs:element name="Name" type="xs:string"/><xs:element name="Ok" type="xs:boolean"/>',
        )

    def xml_value(self, name: str) -> Any:
        return etree.fromstring(f"<{name}><Name>{self.name}</Name><Ok>{str(self.ok).lower()}</Ok></{name}>")

    @staticmethod
    def get_xobject() -> None:
        return None

    @staticmethod
    def parse(obj: Any) -> Reading:
        return Reading(str(obj.Name), bool(obj.Ok))


def test_a_foreign_class_is_written_read_and_validated_by_its_own_means() -> None:
    contract = contract_of(Ping)
    assert (contract.tag, contract.doc) == ("Ping", "A class of another library.")
    assert contract.encode(Ping(5)) == "<Ping><N>5</N></Ping>"
    assert contract.read(PARSER.parse("<Ping><N>5</N></Ping>")).n == 5


def test_a_foreign_class_is_asked_only_after_its_xsd_has_passed() -> None:
    with pytest.raises(InvalidMessage) as caught:
        contract_of(Ping).read(PARSER.parse("<Ping><N>x</N></Ping>"))
    assert [(fault.path, fault.code) for fault in caught.value.faults] == [("/Ping/N", "type")]


def test_what_a_foreign_class_raises_is_a_fault_of_the_message() -> None:
    with pytest.raises(InvalidMessage, match="unlucky"):
        contract_of(Ping).read(PARSER.parse("<Ping><N>13</N></Ping>"))


@pytest.mark.parametrize("name", ["007", " 12 ", "true", "1e22"])
def test_the_reference_way_of_reading_no_longer_loses_text(name: str) -> None:
    contract = contract_of(Reading)
    read = contract.read(PARSER.parse(contract.encode(Reading(name, False))))
    assert (read.name, read.ok) == (name, False)


def test_a_foreign_class_that_nothing_can_read_is_refused_with_what_to_add() -> None:
    class Mute:
        xsd = Reading.xsd
        xml_value = Reading.xml_value

    with pytest.raises(ContractError, match=r"from_element\(element\), or from_xml"):
        contract_of(Mute)


def test_a_foreign_xsd_that_is_none_or_has_a_namespace_is_refused() -> None:
    class Broken(Ping):
        @classmethod
        def xsd(cls) -> Any:
            return "<nope"

    class Spaced(Ping):
        @classmethod
        def xsd(cls) -> Any:
            return XSD.replace("<xs:schema ", '<xs:schema targetNamespace="urn:x" ')

    with pytest.raises(ContractError, match="no usable XSD"):
        contract_of(Broken)
    with pytest.raises(ContractError, match="namespace"):
        contract_of(Spaced)


@pytest.mark.parametrize(
    "written", ["<Note> <Text  a='1' >hi</Text></Note>", b"<Note> <Text a='1'>hi</Text></Note>"]
)
def test_a_payload_with_to_xml_is_sent_as_what_it_writes_in_canonical_form(written: str | bytes) -> None:
    @dataclass
    class Note:
        text: str

        def to_xml(self) -> str | bytes:
            return written

    assert encode(Note("x")) == '<Note> <Text a="1">hi</Text></Note>' == contract_of(Note).encode(Note("x"))


@pytest.mark.parametrize("written", ["<a", "<!DOCTYPE a><a/>", b"\xff", 5, None, "<a/>tail"])
def test_a_to_xml_that_writes_no_xml_is_refused(written: Any) -> None:
    class Writer:
        def to_xml(self) -> Any:
            return written

    with pytest.raises(InvalidMessage):
        encode(Writer())


def test_a_class_that_is_neither_is_refused() -> None:
    with pytest.raises(ContractError, match="make it a dataclass"):
        contract_of(int)
