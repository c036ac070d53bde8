"""What is given out early is what the whole answer begins with, whatever still comes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.errors import InvalidMessage
from phloem.wire.answers import AnswerPart
from phloem.wire.early import EarlyReader
from phloem.wire.parsing import canonical
from support.answering import CLASSES, PARSER, TAKEN, Ack, Greeting, Patch, Query, Taken, decoded, read, xml
from support.damages import KINDS, PAYLOADS

EXAMPLES = int(os.environ.get("PHLOEM_DAMAGED_ANSWERS", "25"))
ADA, BOB = Greeting("Ada", 36), Greeting("Bob", 7)
A = f'<send to="critic">{xml(ADA)}</send>'
B = f'<send to="writer">{xml(BOB)}{xml(Query(["x"], 3))}</send>'


def reader() -> EarlyReader:
    return EarlyReader(PARSER, TAKEN)


def fed(text: str, sizes: list[int]) -> tuple[EarlyReader, list[AnswerPart]]:
    """The reader after all of the text, in pieces of these sizes over and over."""
    early, given, at = reader(), [], 0
    while at < len(text):
        for size in sizes:
            given += early.feed(text[at : at + size])
            at += size
    assert early.text == text
    assert early.consumed <= len(text)
    return early, given


def parts(found: list[AnswerPart] | tuple[AnswerPart, ...]) -> list[tuple[str, str | None, str]]:
    return [(one.way.value, one.to, canonical(one.element)) for one in found]


def test_a_send_is_given_out_with_its_last_character() -> None:
    early = reader()
    text = f"Sure, a < b.\n{A}\n{B}\nBye."
    at: dict[int, int] = {}
    for end, character in enumerate(text, 1):
        given = early.feed(character)
        if given:
            at[end] = len(given)
            assert early.consumed == end
    first = text.index(A) + len(A)
    assert at == {first: 1, first + 1 + len(B): 2}
    assert read(text, start=early.consumed).parts == ()


def test_parts_carry_their_peer() -> None:
    _, given = fed(A + B, [1_000])
    assert [decoded(one) for one in given] == [
        ("send", "critic", ADA),
        ("send", "writer", BOB),
        ("send", "writer", Query(["x"], 3)),
    ]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (f"<think>maybe {A}</think>\n{A}", 1),
        (f"<thinking>a < b {A} </thinking><analysis>x</analysis>{A}{B}", 3),
        (f"thoughts</think>\n{A}", 1),
        (f"{A}{xml(BOB)}{B}", 1),
        (f"{A}<respond>{xml(ADA)}</respond>", 1),
        (f"{A} and {B}", 1),
        (f"{A}\n{B.replace('Bob', 'a & b')}", 1),
        (f'<send to="critic">{xml(Patch("a", "x"))}</send>'.replace("x</", "<![CDATA[</send> < x]]></"), 1),
        (f"{A}{'<send to=' + chr(34) + 'z' * 3_000 + chr(34) + '>'}{xml(ADA)}</send>", 1),
    ],
)
@pytest.mark.parametrize("sizes", [[1], [3, 7, 2], [10_000]])
def test_what_is_certain_is_given(text: str, count: int, sizes: list[int]) -> None:
    _, given = fed(text, sizes)
    assert len(given) == count


@pytest.mark.parametrize(
    "text",
    [
        xml(ADA),
        f"<respond>{xml(ADA)}</respond>",
        "<wait/>",
        f"```xml\n{A}\n```",
        f"`{A}`",
        f'He said "{A}"',
        f'{{"answer": "{A}"}}',
        f"> {A}",
        f"<think>{A}",
        f"<b>Now</b> {A}",
        f"<example>{A}</example>",
        f"<!-- {A} -->",
        f"{xml(ADA)}{A}",
        f"<Think>x</Think>{A}",
        f'<?xml version="1.0"?>{A}',
        A.replace('"', "“"),
        A.replace("Name", "name"),
        A.replace("Ada", "a & b"),
        A.replace("Ada", "<|im_end|>"),
        A.replace("Ada", "<!-- x -->"),
        A.replace("Ada", "A\0da"),
        A.replace("send", "SEND"),
        A.replace("<Greeting>", '<Greeting xmlns="urn:x">'),
        A.replace("36</Age>", "36</Agee>"),
        A[:-1],
        "x" * (PARSER.limits.max_model_bytes + 1) + A,
    ],
)
@pytest.mark.parametrize("sizes", [[1], [5, 1, 90], [400_000]])
def test_what_is_not_certain_is_left_to_the_final_reading(text: str, sizes: list[int]) -> None:
    if len(text) > 10_000 and sizes != [400_000]:
        sizes = [1_000]
    early, given = fed(text, sizes)
    assert given == []
    assert early.consumed == 0


def test_a_payload_with_one_of_our_words_for_a_name_is_never_given_early() -> None:
    for word in ("send", "Analysis"):
        early = EarlyReader(PARSER, Taken([*CLASSES, dataclass(type(word, (), {}))]))
        assert early.feed(A) == []


def test_what_comes_after_the_last_given_part_is_judged_with_it() -> None:
    for text in (
        f"{A} and {B}",
        f"{A}<respond>{xml(ADA)}</respond>",
        f"{A}<wait/>",
        f"{A}</think>{B}",
        f"{A}<send",
    ):
        early, given = fed(text, [1])
        assert len(given) == 1
        with pytest.raises(InvalidMessage):
            read(text, start=early.consumed)


def test_the_rest_is_what_was_not_given_yet() -> None:
    text = f"So:\n{A}\n{xml(BOB)}\nBye."
    early, _ = fed(text, [4])
    rest = read(text, start=early.consumed)
    assert [decoded(one) for one in rest.parts] == [("bare", None, BOB)]
    assert rest.prose == "So:\n\nBye."
    assert read(A, start=len(A)).parts == ()


def test_a_reader_that_was_fed_nothing_has_nothing() -> None:
    assert reader().feed("") == []
    assert reader().text == ""


PIECES = st.lists(
    st.sampled_from(
        [
            *(
                A,
                B,
                A,
                xml(ADA),
                xml(Ack()),
                "<respond>",
                "</respond>",
                "<wait/>",
                "Sure. ",
                "\n",
                " ",
                "a < b ",
            ),
            *(
                "<think>",
                "</think>",
                "<analysis>",
                "</analysis>",
                "```",
                "```xml\n",
                "`",
                '"',
                "(",
                ")",
                "<b>",
                "</b>",
            ),
            *(
                "</send>",
                '<send to="x">',
                "<send",
                "<",
                ">",
                "&lt;",
                "&",
                "<!--",
                "-->",
                "<![CDATA[",
                "]]>",
                "</s>",
            ),
            *(
                "<|im_end|>",
                "\ufeff",
                "<message>",
                "</message>",
                "<meta/>",
                "Vec<T>",
                "{",
                '{"a": "',
                "<Greeting>",
                "\0",
            ),
        ]
    ),
    max_size=9,
).map("".join)
DAMAGED = st.builds(
    lambda payload, kind, random: f"{A}\n" + kind(f'<send to="x">{xml(payload)}</send>', random),
    PAYLOADS,
    st.sampled_from(KINDS),
    st.randoms(use_true_random=False),
)


@settings(max_examples=16 * EXAMPLES)
@given(st.one_of(PIECES, DAMAGED), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_what_is_given_early_is_what_the_answer_begins_with(text: str, sizes: list[int]) -> None:
    early, given = fed(text, sizes)
    assert bool(given) == (early.consumed > 0)
    try:
        whole = read(text)
    except InvalidMessage:
        if given:
            with pytest.raises(InvalidMessage):
                read(text, start=early.consumed)
        return
    first = parts(given)
    assert parts(whole.parts)[: len(first)] == first
    rest = read(text, start=early.consumed)
    assert first + parts(rest.parts) == parts(whole.parts)
    assert (rest.mends, rest.prose, rest.waits) == (whole.mends, whole.prose, whole.waits)


@settings(max_examples=8 * EXAMPLES)
@given(PIECES, st.integers(0, 2**31))
def test_how_a_text_is_cut_changes_nothing(text: str, seed: int) -> None:
    random = Random(seed)
    one, at_once = fed(text, [max(1, len(text))])
    other, by_pieces = fed(text, [random.randrange(1, 9) for _ in range(5)])
    assert (parts(at_once), one.consumed) == (parts(by_pieces), other.consumed)


@pytest.mark.parametrize(
    "unit",
    [
        "word ",
        "a < b ",
        "<",
        "<<<",
        "`",
        "<think>x</think>",
        "<think>",
        "<send ",
        A,
        f'<send to="x">{xml(Ack())}</send>',
        '<send to="x"><Greeting><Name>' + "long text " * 2_000,
        '<send to="x"><Patch><Path>a</Path><Code><![CDATA[' + "]] >" * 9_000,
        '<send to="x"><!--' + "->" * 9_000,
        '<send to="x' + ">" * 9_000,
        "<send to='x'>" + "<Tree>" * 900,
    ],
)
def test_many_pieces_take_linear_time(unit: str) -> None:
    text = (unit * (256 * 1024 // len(unit) + 1))[: 256 * 1024]
    start = time.process_time()
    fed(text, [26])
    assert time.process_time() - start < 3
