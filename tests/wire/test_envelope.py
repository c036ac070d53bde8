"""Envelopes: read by their schema, written in canonical form, never pasted."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from phloem.config import WireLimits
from phloem.wire.envelope import NAMESPACE, Envelope, EnvelopeReader, is_envelope, write_envelope
from phloem.wire.parsing import Parser, canonical, is_xml_text
from phloem.wire.text import escaped
from support.wire import fault_of

META = "<meta><from>console</from></meta>"


@pytest.fixture(scope="module")
def reader() -> EnvelopeReader:
    return EnvelopeReader()


def message(body: str) -> str:
    return f'<message xmlns="{NAMESPACE}">{body}</message>'


@pytest.fixture(scope="module")
def read(parser: Parser, reader: EnvelopeReader) -> Callable[[str], Envelope]:
    return lambda body: reader.read(parser.parse(message(body)))


Read = Callable[[str], Envelope]


def test_an_envelope_is_read(read: Read) -> None:
    envelope = read(
        '<meta><from>a.b</from><to>c d</to><thread>t-1</thread></meta><Note xmlns=""><T>x</T></Note>'
    )
    assert (envelope.sender, envelope.to, envelope.thread) == ("a.b", "c d", "t-1")
    assert [canonical(one) for one in envelope.payloads] == ["<Note><T>x</T></Note>"]


def test_to_and_thread_may_be_absent(read: Read) -> None:
    envelope = read(f'{META}<Note xmlns=""/>')
    assert (envelope.to, envelope.thread) == (None, None)
    assert read('<meta><from>a</from><thread>t</thread></meta><N xmlns=""/>').thread == "t"


def test_payloads_are_roots_of_their_own_in_no_namespace(read: Read) -> None:
    envelope = read(f'\n{META}\n <A xmlns=""><B/></A>\n <C xmlns=""/>\n')
    for payload in envelope.payloads:
        assert payload.getparent() is None
        assert payload.tail is None
    assert [payload.tag for payload in envelope.payloads] == ["A", "C"]
    assert envelope.payloads[0][0].tag == "B"


def test_a_prefixed_envelope_is_the_same_envelope(parser: Parser, reader: EnvelopeReader) -> None:
    root = parser.parse(
        f'<e:message xmlns:e="{NAMESPACE}"><e:meta><e:from>a</e:from></e:meta><N/></e:message>'
    )
    assert is_envelope(root)
    assert canonical(reader.read(root).payloads[0]) == "<N></N>"


@pytest.mark.parametrize("document", ["<message/>", '<message xmlns="urn:other"/>', "<Note/>"])
def test_anything_else_is_no_envelope(parser: Parser, reader: EnvelopeReader, document: str) -> None:
    assert not is_envelope(parser.parse(document))
    assert fault_of(lambda: reader.read(parser.parse(document))).code == "envelope"


@pytest.mark.parametrize("body", ["", "<?payload x?>", "<!-- payload -->", "\n"])
def test_no_payload_is_said_to_be_none(read: Read, body: str) -> None:
    assert fault_of(lambda: read(META + body)).code == "no-payload"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<Note><T>x</T></Note>", 'a payload in no namespace: write <Note xmlns="">'),
        ('<Note xmlns="urn:x"/>', "a payload in no namespace"),
        (f"<message>{META}<N xmlns=''/></message>", "payload elements, each in no namespace"),
        ('<N xmlns=""/>tail', "nothing but elements"),
        ("text", "nothing but elements"),
    ],
)
def test_a_wrong_payload_is_told_what_would_be_right(read: Read, body: str, expected: str) -> None:
    fault = fault_of(lambda: read(META + body))
    assert (fault.code, fault.expected) == ("envelope", expected)


@pytest.mark.parametrize(
    ("meta", "path"),
    [
        ("", "/message"),
        ("<meta/>", "/message/meta"),
        ("<meta><to>a</to></meta>", "/message/meta"),
        ("<meta><to>a</to><from>b</from></meta>", "/message/meta"),
        ("<meta><from>a</from><from>b</from></meta>", "/message/meta"),
        ("<meta><from>a</from><thread>t</thread><to>b</to></meta>", "/message/meta"),
        ("<meta><from>a</from><cc>b</cc></meta>", "/message/meta"),
        ('<meta><from>a</from><to xmlns="">b</to></meta>', "/message/meta"),
        ("<meta>x<from>a</from></meta>", "/message/meta"),
        ("<meta><from/></meta>", "/message/meta/from"),
        ("<meta><from>a<b/></from></meta>", "/message/meta/from"),
        ("<meta><from>a</from><to></to></meta>", "/message/meta/to"),
        (f"<meta><from>{'x' * 129}</from></meta>", "/message/meta/from"),
        (f"<meta><from>a</from><thread>{'x' * 65}</thread></meta>", "/message/meta/thread"),
        ('<meta id="1"><from>a</from></meta>', "/message/meta"),
        ('<meta><from id="1">a</from></meta>', "/message/meta/from"),
    ],
)
def test_a_wrong_meta_is_an_envelope_fault_at_its_path(read: Read, meta: str, path: str) -> None:
    fault = fault_of(lambda: read(f'{meta}<N xmlns=""/>'))
    assert (fault.code, fault.path) == ("envelope", path)


@pytest.mark.parametrize("place", ["<message{}", "<meta{}", "<from{}", "<to{}"])
@pytest.mark.parametrize(
    "attribute", ['xsi:schemaLocation="urn:a file:///etc/passwd"', 'xsi:nil="true"', 'a="1"']
)
def test_no_attribute_is_let_through(
    parser: Parser, reader: EnvelopeReader, place: str, attribute: str
) -> None:
    plain = message('<meta><from>a</from><to>b</to></meta><N xmlns=""/>')
    xsi = f' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" {attribute}'
    document = plain.replace(place.format(""), place.format(xsi))
    assert document != plain
    assert fault_of(lambda: reader.read(parser.parse(document))).code == "envelope"


def test_names_may_be_as_long_as_the_limits_say(read: Read) -> None:
    name, thread = "é" * 128, "x" * 64
    envelope = read(f'<meta><from>{name}</from><to>{name}</to><thread>{thread}</thread></meta><N xmlns=""/>')
    assert (envelope.sender, envelope.to, envelope.thread) == (name, name, thread)


def test_a_reader_serves_any_thread(parser: Parser, reader: EnvelopeReader) -> None:
    seen: list[str] = []

    def run() -> None:
        seen.append(reader.read(parser.parse(message(f'{META}<N xmlns=""/>'))).sender)
        seen.append(fault_of(lambda: reader.read(parser.parse(message("<x/>")))).code)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == ["console"] * 3 + ["envelope"] * 3


# -- writing ----------------------------------------------------------------------------------
def test_an_envelope_is_written_byte_for_byte() -> None:
    written = write_envelope(sender="a", to="b", thread="t", payloads=["<Note><T>x</T></Note>", "<N></N>"])
    assert written == (
        b'<message xmlns="https://xml-pipeline.org/ns/envelope/v1"><meta><from>a</from><to>b</to><thread>t</thread>'
        b'</meta><Note xmlns=""><T>x</T></Note><N xmlns=""></N></message>'
    )


@pytest.mark.parametrize(
    "to",
    [
        "x</to><thread>root</thread><to>",
        "a&lt;b",
        '"><message xmlns="',
        "]]>",
        "<!-- ",
        "a\rb",
        "&#1;",
        "xmlns=''",
    ],
)
def test_markup_in_to_stays_text(parser: Parser, reader: EnvelopeReader, to: str) -> None:
    written = write_envelope(sender="a", to=to, thread=None, payloads=["<N></N>"])
    envelope = reader.read(parser.parse(written))
    assert (envelope.to, envelope.thread) == (to, None)


NAME = st.text(alphabet=st.characters(codec="utf-8").filter(is_xml_text), min_size=1, max_size=64)
PAYLOADS = st.lists(
    st.builds("<{0}><T>{1}</T></{0}>".format, st.sampled_from(["N", "A_B"]), NAME.map(escaped)), min_size=1
)


@given(NAME, st.none() | NAME, st.none() | NAME, PAYLOADS)
def test_what_is_written_is_canonical_and_reads_back(
    sender: str, to: str | None, thread: str | None, payloads: list[str]
) -> None:
    written = write_envelope(sender=sender, to=to, thread=thread, payloads=payloads)
    root = Parser(WireLimits()).parse(written)
    assert written == etree.tostring(root, method="c14n", exclusive=True)
    envelope = EnvelopeReader().read(root)
    assert (envelope.sender, envelope.to, envelope.thread) == (sender, to, thread)
    assert [canonical(payload) for payload in envelope.payloads] == payloads


@pytest.mark.parametrize(
    ("sender", "to", "thread", "payloads", "code"),
    [
        ("a", "b", None, [], "no-payload"),
        ("", "b", None, ["<N></N>"], "envelope"),
        ("a", "x" * 129, None, ["<N></N>"], "envelope"),
        ("a", "b", "x" * 65, ["<N></N>"], "envelope"),
        ("a", "b\0", None, ["<N></N>"], "bad-char"),
        ("\ud800", "b", None, ["<N></N>"], "bad-char"),
        ("a", "b", None, ["text"], "envelope"),
        ("a", "b", None, ["<N>\ud800</N>"], "bad-char"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(
    sender: str, to: str, thread: str | None, payloads: list[str], code: str
) -> None:
    assert (
        fault_of(lambda: write_envelope(sender=sender, to=to, thread=thread, payloads=payloads)).code == code
    )
