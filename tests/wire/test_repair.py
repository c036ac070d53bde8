"""Repair is lexical, unique and recorded; everything else goes back."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from phloem.config import WireLimits
from phloem.errors import InvalidMessage
from phloem.messages import Fault
from phloem.wire.envelope import EnvelopeReader, write_envelope
from phloem.wire.parsing import Element, Parser, canonical, is_xml_text
from phloem.wire.repair import Mended, read_document
from phloem.wire.text import escaped
from support.wire import Known, fault_of, leaf, message, node

TREE = node("Tree", leaf("Label"))
TREE.inner["Child"] = TREE  # a payload that contains itself
LINES = node("Lines", leaf("Str"), fixed=False)
OTHER = node("Other", leaf("Int"), node("NoneType"), fixed=False)
NOTE = node("Note", leaf("Title"), leaf("Body"), LINES, OTHER)
TWINS = node("Twins", leaf("Ab"), leaf("aB"))
KNOWN = Known({one.tag: one for one in (NOTE, TREE, TWINS, node("Ping"))})
LIMITS = WireLimits()


def read(data: bytes | str, *, from_model: bool = False, shapes: Known = KNOWN) -> Mended:
    return read_document(Parser(LIMITS), data, shapes, from_model=from_model)


def refusal(data: bytes | str, *, from_model: bool = False) -> Fault:
    return fault_of(lambda: read(data, from_model=from_model))


# -- text in a leaf ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("written", "meant", "what"),
    [
        ("AT&T", "AT&T", ["ampersand"]),
        ("a && b &", "a && b &", ["ampersand"]),
        ("?a=1&copy=2", "?a=1&copy=2", ["ampersand"]),
        ("p = &foo;", "p = &foo;", ["ampersand"]),
        ("a && b &lt; c", "a && b < c", ["ampersand"]),
        ("&nbsp;&eacute;", "\xa0é", ["entity"]),
        ("&#X41;&", "A&", ["ampersand", "entity"]),
        ("&fjlig;", "fj", ["entity"]),
        ("1 < 2", "1 < 2", ["less-than"]),
        ("a<b && c>d", "a<b && c>d", ["ampersand", "less-than"]),
        ("vector<int> v;", "vector<int> v;", ["less-than"]),
        ("a < b <b>bold</b>", "a < b <b>bold</b>", ["less-than"]),
        ("if (a<b && c[d[0]]>e)", "if (a<b && c[d[0]]>e)", ["ampersand", "less-than", "cdata-end"]),
        ("</", "</", ["less-than"]),
        ("\n  x < y\n", "\n  x < y\n", ["less-than"]),
        ("<![CDATA[a & <b>]]> & c", "a & <b> & c", ["ampersand"]),
    ],
)
@pytest.mark.parametrize("from_model", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_unescaped_text_in_a_leaf_is_mended(
    written: str, meant: str, what: list[str], from_model: bool, wrapped: bool
) -> None:
    document = f"<Note><Title>ok</Title><Body>{written}</Body></Note>"
    data = message(document.replace("<Note>", '<Note xmlns="">'), '<Ping xmlns=""/>') if wrapped else document
    mended = read(data, from_model=from_model)
    assert [mend.what for mend in mended.mends] == what
    assert {mend.path for mend in mended.mends} == {"/Note/Body"}
    note = EnvelopeReader().read(mended.root).payloads[0] if wrapped else mended.root
    assert [one.text for one in note] == ["ok", meant]


def test_a_mend_shows_what_was_found_and_made() -> None:
    (mend,) = read("<Note><Body>fish & chips</Body></Note>").mends
    assert (mend.what, mend.found, mend.made) == ("ampersand", "'fish & chips'", "'fish &amp; chips'")


def test_leaves_deep_in_lists_unions_and_recursion_are_mended() -> None:
    root = read("<Note><Lines><Str>a<b</Str><Str>c&d</Str></Lines><Other><Int>&</Int></Other></Note>").root
    assert [one.text for one in root[0]] == ["a<b", "c&d"]
    assert root[1][0].text == "&"
    deep = "<Child>" * 50 + "<Label>a & b</Label>" + "</Child>" * 50
    assert next(read(f"<Tree>{deep}</Tree>").root.iter("Label")).text == "a & b"


def test_a_leaf_that_is_well_formed_keeps_its_meaning_beside_one_that_is_not() -> None:
    root = read("<Note><Title>use <b>bold</b> &lt;</Title><Body>a & b</Body></Note>").root
    assert canonical(root[0]) == "<Title>use <b>bold</b> &lt;</Title>"  # for the decoder to refuse


INTENDED = st.text(alphabet=st.sampled_from("a B<>&/;=\"'[]!? \n#é"), max_size=30)


@given(st.lists(INTENDED, min_size=1, max_size=3), st.booleans())
def test_raw_ampersands_and_less_thans_give_the_intended_text(texts: list[str], from_model: bool) -> None:
    for text in texts:  # what is a comment, an instruction, markup or a reference by itself reads another way
        assume("<!" not in text and "<?" not in text and "/>" not in text and "&#" not in text)
        assume(not ("<" in text and "</" in text))
    lines = "".join(f"<Str>{text}</Str>" for text in texts)
    mended = read(f"<Note><Lines>{lines}</Lines></Note>", from_model=from_model)
    assert [one.text or "" for one in mended.root[0]] == texts
    assert bool(mended.mends) is any("<" in text or "&" in text or "]]>" in text for text in texts)


# -- several readings, and what is never mended -----------------------------------------------
@pytest.mark.parametrize(
    ("document", "code"),
    [
        ("<Note><Title>a < b<Body>c</Body></Title></Note>", "ambiguous-payload"),
        ("<Note><Body>say <Note> & <Ping> < x</Body></Note>", "ambiguous-payload"),
        ("<Note><Body>write <message> or a < b</Body></Note>", "ambiguous-payload"),
        ("<Note><Body>a < b <!-- c --></Body></Note>", "ambiguous-payload"),
        ("<Note><Body>a < b <?php x ?></Body></Note>", "ambiguous-payload"),
        ("<Note><Body>a < b <![CDATA[x]]></Body></Note>", "ambiguous-payload"),
        ("<Twins><AB>&</AB></Twins>", "ambiguous-payload"),
        ("<Note><Body>a & b", "bad-char"),
        ("<Note><Body>a & b</Body>", "bad-char"),
        ("<Note><Body>a & b</Body></Note", "bad-char"),
        ("<Note><Body>a</Body>", "truncated"),
        ("<Note><Title>x<Body>y</Body></Note>", "missing-end-tag"),
        ("<Note><Body>x</Title></Note>", "mismatched-end-tag"),
        ("<Note>a & b</Note>", "stray-text"),
        ("<Note><Body>say </Body> & x</Body></Note>", "stray-text"),
        ("<Note><Body>&#1; &</Body></Note>", "bad-char"),
        ("<Note><Body>\x01 &</Body></Note>", "bad-char"),
        ("<Note><Body>\0 &</Body></Note>", "bad-char"),
        ("<Note><Body>&</Body></Note\xa0>", "bad-char"),
        ("<Note><Body\xa0>&</Body></Note>", "bad-char"),
        ("<Unknown>a & b</Unknown>", "bad-char"),
        ("<Note><Unknown>a & b</Unknown></Note>", "bad-char"),
        ("<Note a='&'><Body>x</Body></Note>", "bad-char"),
        ("<Note><Body>&</Body></Note><Ping/>", "bad-char"),
        ("<Note><Body>x</Body></Note><Ping/>", "stray-text"),
        ("hello <Note><Body>x</Body></Note>", "stray-text"),
        ("```xml\n<Note><Body>x</Body></Note>\n```", "stray-text"),
        ("<!DOCTYPE Note><Note><Body>&</Body></Note>", "dtd-refused"),
        ('<?xml version="1.0" encoding="latin-1"?><Note><Body>&</Body></Note>', "bad-char"),
        ('<?xml version="1.0" encoding="latin-1"?><Ping/>', "bad-char"),
        ("<?xml foo?><Ping/>", "stray-text"),
        (message("<Note xmlns=''><Body>&</Body></Note>").replace("<from>a", "<from>a&b"), "bad-char"),
        ("<Note><Body>" + "& " * 600_000 + "</Body></Note>", "too-large"),
        ("<Note><Body>" + "& " * 250_000 + "</Body></Note>", "too-large"),  # once it is escaped
    ],
)
def test_what_is_not_certain_goes_back(document: str, code: str) -> None:
    assert refusal(document).code == code


BROKEN = "<Note><Title>AT&T</Title><Body>a < b</Body><Lines><Str>&nbsp;</Str></Lines></Note>"


@pytest.mark.parametrize(
    "document", [BROKEN, f"```xml\n{BROKEN}\n```", message(BROKEN.replace("Note>", "Note xmlns=''>", 1))]
)
@pytest.mark.parametrize("from_model", [False, True])
def test_a_truncated_document_is_never_mended(document: str, from_model: bool) -> None:
    for cut in range(len(document)):
        refusal(document[:cut], from_model=from_model)
    if from_model or "`" not in document:
        assert len(read(document, from_model=from_model).mends) >= 3


def test_duplicates_and_unknown_elements_are_left_for_the_decoder_to_refuse() -> None:
    for document in (
        "<Note><Body>a</Body><Title>b</Title><Body>c</Body></Note>",
        "<Note><Body>a</Body><X>b</X><Title>c</Title></Note>",
    ):
        mended = read(document)
        assert (canonical(mended.root), mended.mends) == (document, ())
    mended = read("<Note><X>b <y/></X><Body>&</Body></Note>")
    assert canonical(mended.root) == "<Note><X>b <y></y></X><Body>&amp;</Body></Note>"


def test_a_deep_broken_document_is_refused_and_not_followed_down() -> None:
    assert refusal("<Tree>" + "<Child>" * 10_000 + "<Label>&</Label>").code == "too-large"


@pytest.mark.parametrize(
    "piece", ["<Str>&</Str>", "<Str>a<b</Str>", "<Str><!--</Str>", "<Str>", "</Str>", "<", "&"]
)
def test_long_broken_documents_take_linear_time(piece: str) -> None:
    many = piece * (9_000 // max(1, piece.count("<")))
    start = time.perf_counter()
    for document in (f"<Note><Lines>{many}</Lines></Note>", f"<Note><Body>{many}</Body></Note>"):
        for from_model in (False, True):
            attempt(document, from_model=from_model)
    assert time.perf_counter() - start < 5


# -- tag case and field order -----------------------------------------------------------------
@pytest.mark.parametrize(
    "document",
    [
        "<note><title>a</title><BODY>b</BODY></note>",
        "<Note><Title>a</title><Body>b</body></Note>",
        "<note><title>a</title><body>b</body></note>",
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_tag_case_is_mended_where_one_name_fits(document: str, wrapped: bool) -> None:
    data = message(document.replace("ote>", "ote xmlns=''>", 1)) if wrapped else document
    mended = read(data)
    assert {mend.what for mend in mended.mends} == {"tag-case"}
    root = EnvelopeReader().read(mended.root).payloads[0] if wrapped else mended.root
    assert canonical(root) == "<Note><Title>a</Title><Body>b</Body></Note>"


def test_tag_case_is_not_mended_where_two_names_fit() -> None:
    mended = read("<Twins><AB>x</AB></Twins>")
    assert (canonical(mended.root), mended.mends) == ("<Twins><AB>x</AB></Twins>", ())
    two = Known({"Ping": node("Ping"), "PING": node("PING")})
    assert read("<ping/>", shapes=two).root.tag == "ping"
    assert read("<PING/>", shapes=two).mends == ()


def test_tag_case_and_text_are_mended_together() -> None:
    mended = read("<note><body>a & b</body></note>")
    assert canonical(mended.root) == "<Note><Body>a &amp; b</Body></Note>"
    assert {mend.what for mend in mended.mends} == {"tag-case", "ampersand"}


def test_field_order_is_mended_in_a_dataclass() -> None:
    mended = read(
        "<Note>\n  <Lines><Str>b</Str><Str>a</Str></Lines>\n  <Body>y</Body>\n  <Title>x</Title>\n</Note>"
    )
    assert [one.tag for one in mended.root] == ["Title", "Body", "Lines"]
    assert [one.text for one in mended.root[2]] == ["b", "a"]
    (mend,) = mended.mends
    assert (mend.what, mend.path, mend.made) == ("field-order", "/Note", "'Title Body Lines'")


def test_order_is_data_in_lists_and_unions() -> None:
    document = "<Note><Other><NoneType></NoneType><Int>1</Int></Other></Note>"
    mended = read(document)
    assert (canonical(mended.root), mended.mends) == (document, ())


def test_fields_with_stray_text_between_keep_their_order() -> None:
    document = "<Note><Body>b</Body>stray<Title>a</Title></Note>"
    mended = read(document)
    assert (canonical(mended.root), mended.mends) == (document, ())


# -- never wrong ------------------------------------------------------------------------------
def notes() -> st.SearchStrategy[str]:
    text = st.text(alphabet=st.characters(codec="utf-8").filter(is_xml_text), max_size=20).map(escaped)
    lines = st.lists(text.map("<Str>{}</Str>".format), max_size=3).map(
        lambda all: f"<Lines>{''.join(all)}</Lines>"
    )
    return st.builds("<Note><Title>{}</Title><Body>{}</Body>{}</Note>".format, text, text, lines)


@given(notes(), st.booleans(), st.booleans())
def test_a_document_that_is_strict_is_never_changed(document: str, from_model: bool, wrapped: bool) -> None:
    data = (
        write_envelope(sender="a", to=None, thread=None, payloads=[document])
        if wrapped
        else document.encode()
    )
    mended = read(data, from_model=from_model)
    assert mended.mends == ()
    assert canonical(mended.root).encode() == data


PIECES = st.lists(
    st.sampled_from(
        [
            *(
                "<Note>",
                "</Note>",
                "<note>",
                "<Title>",
                "</Title>",
                "<Body>",
                "</Body>",
                "<Ping/>",
                "<b>",
                "</b>",
            ),
            *(
                "&",
                "<",
                ">",
                "&nbsp;",
                "&#1;",
                "x",
                "```",
                "]]>",
                "<!--",
                "-->",
                "<![CDATA[",
                " ",
                "<?x?>",
                "\0",
            ),
            *(message("<Ping xmlns=''/>"), "<!DOCTYPE x>", "<?xml version='1.0'?>"),
        ]
    ),
    max_size=14,
).map("".join)


def attempt(data: bytes | str, *, from_model: bool) -> Mended | Fault:
    try:
        return read(data, from_model=from_model)
    except InvalidMessage as error:
        return error.faults[0]


@given(
    st.one_of(PIECES, st.binary(max_size=60), PIECES.map("<Note><Body>{}</Body></Note>".format)),
    st.booleans(),
)
def test_anything_is_strict_afterwards_or_an_invalid_message(data: bytes | str, from_model: bool) -> None:
    mended = attempt(data, from_model=from_model)
    if isinstance(mended, Fault):
        assert is_xml_text(str(mended))
        return
    parser = Parser(LIMITS)
    again = parser.parse(canonical(mended.root))
    assert tree(again) == tree(mended.root)
    assert read(canonical(mended.root)).mends == ()
    if not mended.mends:  # then it was strict as it came
        assert tree(parser.parse(data)) == tree(mended.root)


def tree(element: Element) -> object:
    return element.tag, element.text or "", element.tail or "", [tree(child) for child in element]
