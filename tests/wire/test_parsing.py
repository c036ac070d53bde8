"""The strict parser: what it refuses and by which code, and that text never changes."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phloem.config import WireLimits
from phloem.errors import InvalidMessage
from phloem.messages import Fault
from phloem.wire.parsing import Element, Parser, canonical, is_xml_text
from phloem.wire.text import escaped
from support.wire import fault_of, refusal

XML_TEXT = st.text(alphabet=st.characters(codec="utf-8").filter(is_xml_text), max_size=40)
SAMPLE = '<Note><Title>a &amp; b</Title><Body kind="x">é<![CDATA[<]]> ü</Body><Empty/></Note>'


# -- what is refused, and by which code -------------------------------------------------------
@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("", "no-payload"),
        (" \n", "no-payload"),
        ("Hello!", "no-payload"),
        ("<?go now?>", "no-payload"),
        ("<!-- nothing -->", "no-payload"),
        ("<", "truncated"),
        ("<?xml version='1.0'", "truncated"),
        ("<!-- a", "truncated"),
        ("<a", "truncated"),
        ("<a b='1", "truncated"),
        ("<a><b>x</b>", "truncated"),
        ("<a><b>x</b></a", "truncated"),
        ("<a><![CDATA[x</a>", "truncated"),
        ("<a><!-- x</a>", "truncated"),
        ("<a><?x </a>", "truncated"),
        ("<a><b>x</a>", "missing-end-tag"),
        ("<a><b>x</c></a>", "mismatched-end-tag"),
        ("<a>x</A>", "mismatched-end-tag"),
        ("<a/></a>", "mismatched-end-tag"),
        ("hi <a/>", "stray-text"),
        ("<a/> bye", "stray-text"),
        ("<a/><b/>", "stray-text"),
        ("<a/><!DOCTYPE a>", "dtd-refused"),
        ("<a><!DOCTYPE a></a>", "dtd-refused"),
        ("<!-- hi --><a/>", "stray-text"),
        ("<?go now?><a/>", "stray-text"),
        (" <?xml version='1.0'?><a/>", "stray-text"),
        ("<![CDATA[x]]><a/>", "stray-text"),
        ("<a b=1/>", "attribute"),
        ("<a b='1' b='2'/>", "attribute"),
        ("<a b='<'/>", "attribute"),
        ("<a>x & y</a>", "bad-char"),
        ("<a>x &amp y</a>", "bad-char"),
        ("<a b='&'/>", "bad-char"),
        ("<a>&nbsp;</a>", "bad-char"),
        ("<a>1 < 2</a>", "bad-char"),
        ("<a>if a<b && c>d</a>", "bad-char"),
        ("<a>x ]]> y</a>", "bad-char"),
        ("<a>\x01</a>", "bad-char"),
        ("<a>\0</a>", "bad-char"),
        ("<a>\ufffe</a>", "bad-char"),
        ("<a>\ud800</a>", "bad-char"),
        ("<a>&#1;</a>", "bad-char"),
        ("<a>&#0;</a>", "bad-char"),
        ("<a>&#xD800;</a>", "bad-char"),
        ("<a>&#xFFFFFFFFFF;</a>", "bad-char"),
        ("<p:a/>", "unexpected-element"),
        ("<!DOCTYPE a><a/>", "dtd-refused"),
        ("<!doctype html><a/>", "dtd-refused"),
        ("<?xml version='1.0'?>\n<!-- x --><?y?> <!DOCTYPE a><a/>", "dtd-refused"),
    ],
)
def test_each_fault_has_its_code(parser: Parser, data: str, code: str) -> None:
    assert refusal(parser, data).code == code
    if "\ud800" not in data:
        assert refusal(parser, data.encode()).code == code


BOMBS = {
    "internal": '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>',
    "external": '<!DOCTYPE a SYSTEM "file:///etc/hostname"><a/>',
    "external entity": '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><a>&b;</a>',
    "parameter": "<!DOCTYPE a [<!ENTITY % b \"<!ENTITY c 'x'>\">%b;]><a>&c;</a>",
    "defaults": '<!DOCTYPE a [<!ATTLIST a to CDATA "root">]><a/>',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.parametrize("prefix", ["", "\ufeff", "<?xml version='1.0'?>", "\n <!-- x -->"])
def test_every_dtd_is_refused_before_the_parser(parser: Parser, bomb: str, prefix: str) -> None:
    assert refusal(parser, prefix + bomb).code == "dtd-refused"
    assert fault_of(lambda: parser.parse_fragments(prefix + bomb)).code == "dtd-refused"
    with pytest.raises(InvalidMessage):
        parser.parse_fragments("<a/>" + bomb)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["<a>x</a>", "<?xml version='1.0' encoding='utf-16'?><a>x</a>"])
def test_wide_encodings_are_refused_with_and_without_a_mark(parser: Parser, encoding: str, text: str) -> None:
    fault = refusal(parser, text.encode(encoding))
    assert (fault.code, fault.expected) == ("bad-char", "UTF-8")


@pytest.mark.parametrize("declared", ["latin-1", "ISO-8859-1", "utf-16", "utf-7", "EBCDIC-CP-US", ""])
@pytest.mark.parametrize("text", ["plain", "é"])
def test_another_declared_encoding_is_refused_even_for_ascii(
    parser: Parser, declared: str, text: str
) -> None:
    document = f'<?xml version="1.0" encoding="{declared}"?><a>{text}</a>'
    assert refusal(parser, document.encode("latin-1")).code == "bad-char"
    assert refusal(parser, document).code == "bad-char"


def test_bytes_that_are_not_utf_8_are_refused_at_their_place(parser: Parser) -> None:
    fault = refusal(parser, b"<a>\n caf\xe9</a>")
    assert (fault.code, fault.path, fault.found) == ("bad-char", "line 2, column 5", "the byte 0xE9")


@pytest.mark.parametrize("cut", range(len(SAMPLE.encode())))
def test_a_truncated_document_is_never_accepted(parser: Parser, cut: int) -> None:
    part = SAMPLE.encode()[:cut]
    refusal(parser, part)
    fault_of(lambda: parser.parse_fragments(part))
    fault_of(lambda: parser.parse_own(part.decode("utf-8", "ignore")))


def test_control_characters_are_named(parser: Parser) -> None:
    for bad, name in (("\0", "U+0000"), ("\x0b", "U+000B"), ("\uffff", "U+FFFF")):
        fault = refusal(parser, f"<a>\n{bad}</a>")
        assert (fault.path, fault.found) == ("line 2, column 1", f"the control character {name}")


def test_faults_say_where_in_the_tree_and_the_text(parser: Parser) -> None:
    fault = refusal(parser, "<Note>\n  <Text>fish & chips</Text></Note>")
    assert fault == Fault(
        "bad-char", "line 2, column 14", "'& chips' in text in /Note/Text", "'&amp;' for '&'"
    )
    fault = refusal(parser, "<Note><Text>x</Note>")
    assert fault == Fault("missing-end-tag", "line 1, column 14", "'</Note>' in /Note/Text", "'</Text>'")


# -- what is accepted, unchanged --------------------------------------------------------------
def test_a_byte_order_mark_a_declaration_and_white_space_may_come_first(parser: Parser) -> None:
    for start in (
        "",
        "\ufeff",
        "\n\t ",
        "<?xml version='1.0'?>",
        '\ufeff<?xml version="1.0" encoding="Utf-8"?>\n',
    ):
        assert parser.parse(f"{start}<a>é</a>").text == "é"
        assert parser.parse(f"{start}<a>é</a>\n".encode()).text == "é"
        assert [one.text for one in parser.parse_fragments(f"{start}<a>é</a>\n<b/>")] == ["é", None]
    assert parser.parse("<?xml version='1.0' encoding='us-ascii'?><a/>").tag == "a"


def test_comments_and_instructions_leave_the_text_whole(parser: Parser) -> None:
    assert parser.parse("<a>admin<!-- -->istr<?x y?>ator</a>").text == "administrator"


@pytest.mark.parametrize(
    "text", ["007", " 12 ", "true", "1e22", "a\n\tb\n", "🎉", 'xmlns="x" xmlns=', "]]", "\r\n", "<a>"]
)
def test_text_never_changes_on_the_way(parser: Parser, text: str) -> None:
    document = f"<a>{escaped(text)}</a>"
    for element in (parser.parse(document), parser.parse_own(document), *parser.parse_fragments(document)):
        assert element.text == text
        assert canonical(element) == document


def test_cdata_is_text(parser: Parser) -> None:
    assert parser.parse("<a><![CDATA[<b>&amp;</b>]]></a>").text == "<b>&amp;</b>"


NAMES = st.sampled_from(["A", "Name", "A_B", "Item-1", "Größe"])
TREES = st.recursive(
    st.builds("<{0}>{1}</{0}>".format, NAMES, XML_TEXT.map(escaped)),
    lambda inner: st.builds(
        lambda name, all: f"<{name}>{''.join(all)}</{name}>", NAMES, st.lists(inner, max_size=4)
    ),
)


@given(TREES)
def test_canonical_form_is_a_fixed_point(document: str) -> None:
    parser = Parser(WireLimits())
    roots = [parser.parse(document), parser.parse(document.encode()), parser.parse_own(document)]
    roots += parser.parse_fragments(document)
    assert [canonical(root) for root in roots] == [document] * 4


FUZZ = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(
            [
                *(
                    "<a>",
                    "</a>",
                    "<b/>",
                    "<",
                    ">",
                    "&",
                    "&amp;",
                    "&#1;",
                    "&#x41;",
                    "<!--",
                    "-->",
                    "<![CDATA[",
                ),
                *(
                    "]]>",
                    "<?x",
                    "?>",
                    "<!DOCTYPE",
                    "<?xml version='1.0'?>",
                    "<?xml?>",
                    "=",
                    '"',
                    "'",
                    " a='1'",
                ),
                *(" xmlns=''", " xmlns:p='u'", "<p:b>", "\ufeff", "\0", "\ud800", "é", " ", "x"),
            ]
        ),
        max_size=12,
    ).map("".join),
)


def attempt(read: Callable[[], object]) -> object:
    try:
        return read()
    except InvalidMessage as error:
        return error.faults


@given(FUZZ)
@example(b"<a>\xff</a>")
def test_anything_at_all_is_an_element_or_an_invalid_message(data: bytes | str) -> None:
    parser = Parser(WireLimits())
    outcomes = [attempt(lambda: parser.parse(data)), attempt(lambda: parser.parse_fragments(data))]
    if isinstance(data, str):
        outcomes.append(attempt(lambda: parser.parse_own(data)))
    for outcome in outcomes:
        assert isinstance(outcome, Element | list) or (isinstance(outcome, tuple) and len(outcome) == 1)


# -- fragments --------------------------------------------------------------------------------
def test_fragments_are_roots_of_their_own(parser: Parser) -> None:
    first, second = parser.parse_fragments("\n<A><B>1</B></A> <!-- x --> <C/>\n")
    assert first.getparent() is None
    assert second.getparent() is None
    assert (first.tail, second.tail) == (None, None)
    assert canonical(first) + canonical(second) == "<A><B>1</B></A><C></C>"


@pytest.mark.parametrize("data", ["x<A/>", "<A/>x<B/>", "<A/>x"])
def test_text_between_fragments_is_stray(parser: Parser, data: str) -> None:
    assert fault_of(lambda: parser.parse_fragments(data)).code == "stray-text"


@pytest.mark.parametrize("data", ["", " ", "<!-- x -->", "<?x?>"])
def test_no_fragment_is_no_payload(parser: Parser, data: str) -> None:
    assert fault_of(lambda: parser.parse_fragments(data)).code == "no-payload"


@pytest.mark.parametrize(
    "data", ["<A/></fragments>", "<A/></fragments><fragments><B/>", "<A/></fragments><!--"]
)
def test_fragments_cannot_close_what_holds_them(parser: Parser, data: str) -> None:
    fault_of(lambda: parser.parse_fragments(data))


def test_faults_in_fragments_speak_of_what_was_sent(parser: Parser) -> None:
    fault = fault_of(lambda: parser.parse_fragments("<A/>\n<B>x</A>"))
    assert fault == Fault("mismatched-end-tag", "line 2, column 5", "'</A>' in /B", "'</B>'")


# -- threads and memory -----------------------------------------------------------------------
def test_one_parser_serves_many_threads(parser: Parser) -> None:
    texts: list[str | None] = []

    def read(number: int) -> None:
        for _ in range(200):
            texts.append(parser.parse(f"<a>{number}</a>").text)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(filter(None, texts)) == sorted(str(n) for n in range(4) for _ in range(200))


def resident_kib() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4


def test_invented_tags_do_not_stay_in_memory(parser: Parser) -> None:
    def read(round: int) -> Element:
        return parser.parse("<a>" + "".join(f"<n{'x' * 40}{round}_{i}/>" for i in range(15_000)) + "</a>")

    for round in range(15):
        read(round)
    gc.collect()
    before = resident_kib()
    for round in range(15, 55):  # without an end these names would take 50 MiB
        read(round)
    assert read(99)[7].tag == f"n{'x' * 40}99_7"
    gc.collect()
    assert resident_kib() - before < 20_000
