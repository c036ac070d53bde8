"""A line of the batch becomes a message, or every reason why not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal

import pytest

from phloem.config import WireLimits
from phloem.contract import contract_of
from phloem.framing.fields import FieldTable
from phloem.framing.lines import Piece
from phloem.framing.requests import Refused, Request, RequestReader
from phloem.wire.envelope import EnvelopeReader
from phloem.wire.parsing import Parser


@dataclass
class Greeting:
    name: str


@dataclass
class Price:
    value: Decimal


@dataclass
class Listener:
    name: str
    classes: tuple[type, ...]
    service: bool = False
    private: bool = False

    @property
    def contracts(self):  # type: ignore[no-untyped-def]
        return tuple(contract_of(each) for each in self.classes)


@pytest.fixture
def reader() -> RequestReader:
    listeners = [
        Listener("greeter", (Greeting,)),
        Listener("Shop", (Greeting, Price)),
        Listener("greeter", (Greeting,)),
    ]
    return RequestReader(listeners, FieldTable(), sender="outside", limits=WireLimits())


@dataclass
class Hidden:
    """What only phloem says."""


@dataclass
class Remind:
    about: str = ""


@pytest.fixture
def served() -> RequestReader:
    """One listener of the user's, and those that phloem brings."""
    listeners = [
        Listener("greeter", (Greeting,)),
        Listener("system.boot", (Hidden,), private=True),
        Listener("system.todo", (Remind,), service=True),
    ]
    return RequestReader(listeners, FieldTable(), sender="outside", limits=WireLimits())


def read(reader: RequestReader, line: object, number: int = 7) -> Request | Refused:
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    return reader.read_line(Piece(number, number, text))


def test_fields_become_a_typed_payload(reader: RequestReader) -> None:
    assert read(reader, {"to": "greeter", "payload": {"name": "Ada"}}) == Request(
        7, "greeter", Greeting("Ada")
    )


def test_numbers_keep_their_digits(reader: RequestReader) -> None:
    line = b'{"to": "shop", "type": "Price", "payload": {"value": 0.10000000000000000001}}'
    assert read(reader, line) == Request(7, "shop", Price(Decimal("0.10000000000000000001")))


@pytest.mark.parametrize("kind", ["Price", "price", "handlers.Price"])
def test_type_says_which_class_without_case_or_module(reader: RequestReader, kind: str) -> None:
    line = {"to": "Shop", "type": kind, "payload": {"value": 1}}
    assert read(reader, line) == Request(7, "Shop", Price(Decimal(1)))


def test_without_to_the_type_alone_decides(reader: RequestReader) -> None:
    assert read(reader, {"type": "Price", "payload": {"value": 1}}) == Request(7, None, Price(Decimal(1)))


@pytest.mark.parametrize("name", ["a", "", 0, -5, 10**30])
def test_a_given_id_comes_back(reader: RequestReader, name: str | int) -> None:
    assert read(reader, {"id": name, "to": "greeter", "payload": {"name": "Ada"}}).id == name


def test_xml_is_enveloped_for_its_listener_and_never_pasted(reader: RequestReader) -> None:
    crafted = "</to></meta><Evil/>"
    reader = RequestReader(
        [Listener(crafted, (Greeting,))], FieldTable(), sender="outside", limits=WireLimits()
    )
    request = read(reader, {"to": crafted, "xml": "<Greeting ><Name>A &amp; B</Name><!-- c --></Greeting>"})
    assert isinstance(request, Request)
    envelope = EnvelopeReader().read(Parser(WireLimits()).parse(request.xml))
    assert (envelope.sender, envelope.to) == ("outside", crafted)
    assert [str(payload.tag) for payload in envelope.payloads] == ["Greeting"]
    assert b'<Greeting xmlns=""><Name>A &amp; B</Name></Greeting>' in request.xml


def test_xml_without_to_goes_as_it_is(reader: RequestReader) -> None:
    assert read(reader, {"xml": "<message/>"}) == Request(7, xml=b"<message/>")


@pytest.mark.parametrize(
    ("line", "code", "path", "found"),
    [
        (b"garbage", "not-json", "line 7, column 1", '"garbage"'),
        (b'{"to": ', "not-json", "line 7, column 8", "the end of the line"),
        (b'{"id": NaN}', "not-json", "line 7", "NaN is no JSON"),
        (b"[" * 100_000, "not-json", "line 7", ""),
        (b'{"id": ' + b"1" * 5000 + b"}", "not-json", "line 7", ""),
        (b"[1]", "not-json", "line 7", "a list"),
        (b'"a"', "not-json", "line 7", '"a"'),
        (b'{"to": "\xff"}', "bad-char", "line 7", "byte 0xff at 9"),
        (b'{"to": "a", "to": "b"}', "duplicate-element", "line 7", '"to" twice'),
        ({"to": "greeter"}, "no-payload", "payload", "neither"),
        ({"to": "greeter", "payload": {}, "xml": "<A/>"}, "no-payload", "payload", "both"),
        ({"to": 5, "payload": {}}, "type", "to", "5"),
        ({"to": "greeter", "xml": {}}, "type", "xml", "an object"),
        ({"id": [], "to": "greeter", "payload": {}}, "type", "id", "a list"),
        ({"id": True, "to": "greeter", "payload": {}}, "type", "id", "true"),
        ({"id": "x" * 257, "payload": {}}, "type", "id", '"' + "x" * 58 + "…"),
        ({"To": "greeter", "payload": {}}, "unexpected-element", "To", 'a key "To"'),
        ({"to": "gretter", "payload": {"name": "A"}}, "routing", "to", '"gretter"'),
        ({"to": "shop", "payload": {"name": "A"}}, "missing-element", "type", "nothing"),
        ({"to": "shop", "type": "Cost", "payload": {}}, "routing", "type", '"Cost"'),
        ({"to": "greeter", "type": "Price", "payload": {}}, "routing", "type", '"Price"'),
        ({"to": "greeter", "payload": {"name": 5}}, "type", "payload.name", "5"),
        ({"to": "greeter", "payload": ["Ada"]}, "type", "payload", "a list"),
        ({"to": "greeter", "xml": "<Greeting><Name>"}, "truncated", "", ""),
        ({"to": "greeter", "xml": "<!DOCTYPE a><Greeting/>"}, "dtd-refused", "", ""),
        ({"to": "greeter", "xml": '<a xmlns="u"/>'}, "envelope", "xml", 'the tag "{u}a"'),
        ({"to": "", "xml": "<a/>"}, "routing", "to", '""'),
        ({"to": "greter", "xml": "<Greeting/>"}, "routing", "to", '"greter"'),
        ({"to": "greeter", "xml": "<Price/>"}, "routing", "/Price", '"Price"'),
        ({"to": "greeter", "xml": "<Greeting>\n&"}, "bad-char", "xml, line 2, column 1", "'&'"),
        ({"id": 1.5, "to": "greeter", "payload": {"name": "A"}}, "type", "id", "1.5"),
    ],
)
def test_a_line_that_is_no_message_says_why(
    reader: RequestReader, line: object, code: str, path: str, found: str
) -> None:
    refused = read(reader, line)
    assert isinstance(refused, Refused)
    fault = refused.faults[0]
    assert str(fault.code) == code
    assert path in fault.path
    assert found in fault.found
    assert len(fault.found) <= 80


@pytest.mark.parametrize("rest", [{"payload": {"name": "A"}}, {"xml": "<Greeting><Name>A</Name></Greeting>"}])
def test_a_listener_that_is_not_there_brings_those_that_are_the_nearest_first(
    reader: RequestReader, rest: dict[str, object]
) -> None:
    refused = read(reader, {"to": "Greter", **rest})
    assert isinstance(refused, Refused)
    assert refused.faults[0].expected == 'a listener: greeter, Shop; did you mean "greeter"?'


def test_what_a_listener_takes_instead_is_told_for_fields_and_for_xml(reader: RequestReader) -> None:
    for line in ({"type": "Cost", "payload": {}}, {"xml": "<Cost/>"}):
        refused = read(reader, {"to": "shop", **line})
        assert isinstance(refused, Refused)
        assert refused.faults[0].expected == "one of Greeting, Price"


@pytest.mark.parametrize("to", ["system.todo", "System.Todo"])
def test_a_service_is_addressed_like_any_listener(served: RequestReader, to: str) -> None:
    for more in ({}, {"type": "Remind"}):
        line = {"to": to, "payload": {"about": "tea"}, **more}
        assert read(served, line) == Request(7, to, Remind("tea"))
    written = read(served, {"to": to, "xml": "<Remind><About>tea</About></Remind>"})
    assert isinstance(written, Request)
    assert b"<Remind " in written.xml


def test_without_to_a_service_is_meant_only_if_its_class_is_named(served: RequestReader) -> None:
    assert read(served, {"payload": {"name": "Ada"}}) == Request(7, None, Greeting("Ada"))
    assert read(served, {"type": "remind", "payload": {}}) == Request(7, None, Remind())


def test_a_class_of_the_users_own_comes_before_a_services_of_the_same_name() -> None:
    kept = Remind
    own = type("Remind", (), {"__annotations__": {"name": str}, "name": "", "__module__": __name__})
    listeners = [Listener("mine", (dataclass(own),)), Listener("system.todo", (kept,), service=True)]
    for each in (listeners, listeners[::-1]):
        reader = RequestReader(each, FieldTable(), sender="outside", limits=WireLimits())
        request = read(reader, {"type": "Remind", "payload": {}})
        assert isinstance(request, Request)
        assert type(request.payload) is own


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ({"to": "system.boot", "payload": {}}, "to"),
        ({"to": "SYSTEM.BOOT", "type": "Hidden", "payload": {}}, "to"),
        ({"to": "system.boot", "xml": "<Hidden/>"}, "to"),
        ({"to": "system.boo", "payload": {}}, "to"),
        ({"type": "Hidden", "payload": {}}, "type"),
        ({"to": "greeter", "type": "Hidden", "payload": {}}, "type"),
        ({"to": "greeter", "type": "Remind", "payload": {}}, "type"),
    ],
)
def test_what_hears_from_phloem_alone_is_nobody_here_and_services_are_not_offered(
    served: RequestReader, line: object, path: str
) -> None:
    refused = read(served, line)
    assert isinstance(refused, Refused)
    (fault,) = refused.faults
    assert (fault.code, fault.path) == ("routing", path)
    told, _, nearest = fault.expected.partition("; ")
    assert told == ("a listener: greeter" if path == "to" else "one of Greeting")
    assert "boot" not in nearest


def test_a_misspelt_service_is_found_again(served: RequestReader) -> None:
    refused = read(served, {"to": "System.todos", "payload": {}})
    assert isinstance(refused, Refused)
    assert refused.faults[0].expected == 'a listener: greeter; did you mean "system.todo"?'


def test_names_and_tags_are_compared_as_the_organism_compares_them() -> None:
    listener = Listener("Straße", (Greeting,))
    reader = RequestReader([listener], FieldTable(), sender="outside", limits=WireLimits())
    line = {"to": "STRASSE", "payload": {"name": "Ada"}}
    assert read(reader, line) == Request(7, "STRASSE", Greeting("Ada"))


def test_a_refused_line_keeps_its_id_if_it_has_one(reader: RequestReader) -> None:
    assert read(reader, {"id": "mine", "to": "greeter", "payload": {"nane": 1}}).id == "mine"
    assert read(reader, {"id": {}, "to": "greeter", "payload": {}}).id == 7
    assert read(reader, b"garbage").id == 7


def test_a_line_tells_all_its_faults(reader: RequestReader) -> None:
    refused = read(reader, {"id": [], "To": 1, "xml": 5})
    assert isinstance(refused, Refused)
    assert [fault.path for fault in refused.faults] == ["To", "id", "xml"]


def test_an_envelope_is_left_to_the_organism(reader: RequestReader) -> None:
    assert reader.read_envelope(Piece(3, 9, b"<junk>")) == Request(3, xml=b"<junk>")
