"""What a model wrote is read as whole payloads, framed as it said, or refused with what to do."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import pytest

from phloem.errors import InvalidMessage
from phloem.messages import Fault
from phloem.wire.answers import Way, read_answer
from phloem.wire.parsing import is_xml_text
from support.answering import (
    CLASSES,
    PARSER,
    TAKEN,
    Ack,
    Greeting,
    Patch,
    Query,
    Taken,
    bare,
    read,
    values,
    values_of,
    xml,
)

ADA, BOB, TREES = Greeting("Ada", 36), Greeting("Bob", 7), Query(["trees"], 3)
A, B, Q = xml(ADA), xml(BOB), xml(TREES)


def faults(text: str) -> tuple[Fault, ...]:
    with pytest.raises(InvalidMessage) as caught:
        read(text)
    for fault in caught.value.faults:
        assert fault.path
        assert fault.found
        assert fault.expected
        assert is_xml_text(str(fault))
        assert len(str(fault)) < 900
    return caught.value.faults


def fault(text: str) -> Fault:
    (one,) = faults(text)
    return one


# -- the grammar ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (A, bare(ADA)),
        (f"{A}{Q}", bare(ADA, TREES)),
        (f'<send to="critic">{A}</send>', [("send", "critic", ADA)]),
        (f"<send to='critic'>\n{A}\n{B}\n</send>", [("send", "critic", ADA), ("send", "critic", BOB)]),
        (f'<send to="a">{A}</send>\n\n<send to="b">{A}</send>', [("send", "a", ADA), ("send", "b", ADA)]),
        (f"<respond>{A}{B}</respond>", [("respond", None, ADA), ("respond", None, BOB)]),
        (f'{A}<send to="b">{Q}</send>', [*bare(ADA), ("send", "b", TREES)]),
        (f'<send to="a &amp; b">{A}</send>', [("send", "a & b", ADA)]),
        ("<Ack/>", bare(Ack())),
    ],
)
def test_items_are_read_in_order(text: str, meant: object) -> None:
    for written in (
        text,
        f"Sure.\n{text}",
        f"{text}\nBye.",
        f"```xml\n{text}\n```",
        f"<think>{B}</think>{text}",
    ):
        answer = read(written)
        assert values(answer) == meant
        assert answer.waits is False


@pytest.mark.parametrize(
    "text", ["<wait/>", "<wait></wait>", "Not yet.\n<wait />\nLater.", "```\n<wait/>\n```", "<WAIT/>"]
)
def test_wait_alone_says_that_there_is_nothing_to_send_yet(text: str) -> None:
    answer = read(text)
    assert answer.waits is True
    assert answer.parts == ()


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "no-payload", "one of <Greeting>"),
        ("I am done.", "no-payload", "one of <Greeting>"),
        ("<Greting><Name>Ada</Name></Greting>", "no-payload", "<Greting>"),
        (A + B, "ambiguous-payload", '<send to="the name of a peer">'),
        (f"{A} and {B}", "ambiguous-payload", "one run of payloads"),
        (f"{A}\nand\n{Q}", "ambiguous-payload", "one run of payloads"),
        (f'<respond>{A}</respond><send to="a">{A}</send>', "ambiguous-payload", "<respond> beside <send>"),
        (f"<respond>{A}</respond><respond>{B}</respond>", "ambiguous-payload", "one <respond>"),
        (f"<wait/>{A}", "ambiguous-payload", "<wait/> alone"),
        ("<wait/><wait/>", "ambiguous-payload", "<wait/> alone"),
        ("<wait>Bob</wait>", "stray-text", "nothing inside"),
        (f"<send>{A}</send>", "attribute", "the name of a peer"),
        (f'<send to=" ">{A}</send>', "attribute", "the name of a peer"),
        (f'<send to="a" from="b">{A}</send>', "attribute", "nothing else"),
        (f'<respond to="a">{A}</respond>', "attribute", "no attributes"),
        ('<send to="a"></send>', "no-payload", "<Greeting>"),
        ('<send to="a"/>', "no-payload", "<Greeting>"),
        (f'<send to="a">Here: {A}</send>', "stray-text", "then </send>"),
        (f'<send to="a"><Other/>{A}</send>', "unexpected-element", "<Other> inside"),
        (f'<send to="a"><respond>{A}</respond></send>', "ambiguous-payload", "<respond> inside"),
        (f'<send to="a">{A}</respond>', "mismatched-end-tag", "</send>"),
        (f'<send to="a">{A}', "truncated", "</send>"),
        (f'<send to="a">{A}</sen', "truncated", "</send>"),
        (f"<think>{A}", "truncated", "</think>, then the answer"),
        (f"<think>so</think>{A}</think>", "mismatched-end-tag", "outside of any payload"),
        (f"{A}\n```", "truncated", "the whole output"),
        (f"<answer>{A}</answer>", "stray-text", "the payload by itself"),
        (f"{A}<", "truncated", "the whole output"),
        (f"{A} or <Quer", "truncated", "the whole output"),
        (f"{A} <b>x", "stray-text", "</b>"),
        (f"<!DOCTYPE a>{A}", "dtd-refused", "DTDs are refused"),
        (f"<!-- x -->{A}", "stray-text", "prose"),
        (A.replace("Ada", "A\x01da"), "bad-char", "characters of XML"),
        ("x" * (PARSER.limits.max_model_bytes + 1), "too-large", "at most 262,144 bytes"),
        ("é" * (PARSER.limits.max_model_bytes // 2 + 1), "too-large", "at most 262,144 bytes"),
        ("\ud800" + A, "bad-char", "characters of XML"),
        (f"<message><meta><from>a</from>{A}</message>", "envelope", "the payloads alone"),
        ("&lt;Greeting&gt; &lt;b&gt;", "no-payload", "as markup"),
    ],
)
def test_what_is_no_answer_is_refused_with_what_to_write(text: str, code: str, words: str) -> None:
    told = fault(text)
    assert told.code == code
    assert words in str(told)


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ('<Greeting name="Ada"><Age>3</Age></Greeting>', "/Greeting", "<Name>…</Name>"),
        (f"So:\n\n{A.replace('Ada', '<b>Ada</b>')}", "/Greeting/Name", "'&lt;' for '<'"),
        (f"So:\n\n {A.replace('Ada</Name>', 'Ada')}", "line 3, column 34", "</Name>"),
        (f'<send to="a">\n{A.replace("36<", "36<|im_end|><")}</send>', "/Greeting/Age", "control token"),
        (A.replace("Ada", "<!-- x -->Ada"), "/Greeting/Name", "comment"),
        (A.replace("Ada", "a & b &lt; c"), "/Greeting/Name", "a reference beside text that is not escaped"),
        (A.replace("<Name>", '<Name xmlns="urn:x">'), "/Greeting/Name", "no namespace"),
    ],
)
def test_a_fault_says_where_it_is(text: str, path: str, words: str) -> None:
    told = fault(text)
    assert told.path == path
    assert words in str(told)


def test_faults_of_one_payload_are_told_together() -> None:
    found = faults('<Query kind="x"><Terms n="1"><Str><b/></Str></Terms></Query>')
    assert [one.path for one in found] == ["/Query", "/Query/Terms", "/Query/Terms/Str"]


# -- what is taken as it stands ---------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        *(
            "007",
            " 12 ",
            "true",
            "1e22",
            'xmlns="urn:x"',
            "a\n\tb\n",
            "```xml\n<x>\n```",
            "&nbsp;",
            "<think>",
            "</Greeting>",
        ),
        *("<|im_end|>", "“quoted”", '",', "&lt;Name&gt;", "😀", "<send to='x'>", "<!-- x -->", "]]>", "\r\n"),
    ],
)
def test_a_strict_text_arrives_as_it_left(text: str) -> None:
    patch = Patch(text, text, text)
    answer = read(f"Sure.\n<respond>{xml(patch)}</respond>")
    assert values(answer) == [("respond", None, patch)]
    assert answer.mends == ()


def test_text_in_a_section_is_taken_as_it_stands() -> None:
    code = "if (a < b && c) { x = [/INST] <|im_end|> <!-- y --> &nbsp; }"
    text = f"<Patch><Path>a</Path><Code><![CDATA[{code}]]></Code></Patch>"
    assert values_of(text) == bare(Patch("a", code))
    assert read(text).mends == ()


# -- prose ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "prose"),
    [
        (A, ""),
        (f" Sure:\n{A}\n\nBye. ", "Sure:\n\nBye."),
        (f"```xml\n{A}\n```\nBye.", "Bye."),
        (f"So:\n```xml\n{A}\n```", "So:"),
        (f"<think>x {B}</think>\nSo:\n{A}", f"<think>x {B}</think>\nSo:"),
        (f"{A}<|im_end|>", ""),
        (f'See\n<?xml version="1.0"?>\n{A}', "See"),
        (f"`{A}`", ""),
    ],
)
def test_the_prose_is_what_stands_around(text: str, prose: str) -> None:
    assert read(text).prose == prose


def test_what_was_mended_is_recorded_with_its_path() -> None:
    answer = read(f"<send to=critic>{A.replace('Ada', 'A<T>').replace('Age', 'age')}</send><|im_end|>")
    assert [(mend.what, mend.path) for mend in answer.mends] == [
        ("control-token", "/"),
        ("quotes", "/send"),
        ("less-than", "/Greeting/Name"),
        ("tag-case", "/Greeting/Age"),
        ("tag-case", "/Greeting/Age"),
    ]


# -- words of ours as names -------------------------------------------------------------------
@dataclass(frozen=True)
class Send:
    name: str


@dataclass(frozen=True)
class Analysis:
    name: str


@dataclass(frozen=True)
class Message:
    name: str


@dataclass(frozen=True)
class wait:  # noqa: N801
    name: str


def test_a_payload_spelled_like_a_frame_wins_over_it() -> None:
    shapes = Taken([*CLASSES, Send, wait])
    answer = read_answer(PARSER, f'<Send><Name>x</Name></Send><send to="a">{A}</send>', shapes)
    assert [(str(one.element.tag), one.way) for one in answer.parts] == [
        ("Send", Way.BARE),
        ("Greeting", Way.SEND),
    ]
    answer = read_answer(PARSER, "<wait><Name>x</Name></wait>", shapes)
    assert (answer.waits, [one.way for one in answer.parts]) == (False, [Way.BARE])
    with pytest.raises(InvalidMessage) as caught:
        read_answer(PARSER, "<SEND><Name>x</Name></SEND>", shapes)
    assert caught.value.faults[0].code == "ambiguous-payload"


@pytest.mark.parametrize("word", ["analysis", "message"])
def test_a_spelling_that_could_be_a_payload_or_a_word_of_ours_is_refused(word: str) -> None:
    shapes = Taken([*CLASSES, Analysis, Message])
    exact = f"<{word.title()}><Name>x</Name></{word.title()}>"
    assert len(read_answer(PARSER, exact, shapes).parts) == 1
    with pytest.raises(InvalidMessage) as caught:
        read_answer(PARSER, exact.replace(word.title(), word), shapes)
    assert caught.value.faults[0].code == "ambiguous-payload"


class Shared:
    """Two classes of one tag: it is listed, and has no shape."""

    def shape_of(self, tag: str) -> None:
        return None

    def tags(self) -> tuple[str, ...]:
        return ("Greeting",)


def test_a_tag_that_two_classes_share_is_read_strictly_and_never_mended() -> None:
    assert len(read_answer(PARSER, f'<send to="a">{A}</send>', Shared()).parts) == 1
    with pytest.raises(InvalidMessage):
        read_answer(PARSER, A.replace("Ada", "a & b"), Shared())


def test_nothing_can_be_written_where_nothing_is_taken() -> None:
    with pytest.raises(InvalidMessage):
        read_answer(PARSER, A, Taken([]))
    assert read_answer(PARSER, "<wait/>", Taken([])).waits is True


# -- time -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "unit",
    [
        *(
            "<",
            "a < b ",
            "<b>",
            "</b>",
            "```",
            "`",
            "&lt;",
            "<think>",
            "<think></think>",
            "<Greeting>",
            "<Name>",
            "&",
        ),
        *(
            "<Greeting><Name>a < b",
            "<!--",
            "<![CDATA[",
            "<send to='a'>",
            "<message><meta>",
            "<|x|>",
            " ",
            "\ufeff",
            "x",
        ),
        *(
            xml(Ack()),
            f'<send to="a">{xml(Ack())}</send>',
            "<x y='",
            '{"a": "',
            "\\n",
            "&amp;",
            "</think>",
            "<Tree>",
        ),
        *(
            A.replace("Ada", "a & b"),
            A.replace("Ada", "<b>x</b>"),
            "<Patch><Path>" + "a>" * 999,
            "Aa",
            "<a ",
            "]]>",
        ),
    ],
)
def test_any_text_is_read_in_linear_time(unit: str) -> None:
    text = (unit * (64 * 1024 // len(unit) + 1))[: 64 * 1024]
    text = "<".join(text.split("<")[:19_000])  # of more markup nothing is read
    start = time.process_time()
    for written in (text, f"<Patch><Path>a</Path><Code>{text} & <T></Code></Patch>"):
        with suppress(InvalidMessage):
            read(written)
    assert time.process_time() - start < 5
    assert TAKEN.tags()
