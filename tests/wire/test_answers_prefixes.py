"""An answer cut at any byte is a huh, or what it was; and a random slip never makes another value."""

from __future__ import annotations

import os
import re
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from phloem.errors import InvalidMessage
from phloem.wire.answers import Answer
from support.answering import (
    Ack,
    Figure,
    Greeting,
    Label,
    Line,
    Meeting,
    Order,
    Page,
    Patch,
    Query,
    Scores,
    Tree,
    Verdict,
    bare,
    read,
    values,
    values_of,
    xml,
)
from support.damages import PAYLOADS

EXAMPLES = int(os.environ.get("PHLOEM_DAMAGED_ANSWERS", "25"))

SINGLE = [
    Greeting("Ada", 75),
    Order("A-007", [Line("tea", 2, Decimal("4.50")), Line("é & co", 6, Decimal("12.00"))], True),
    Patch("a.rs", "if a < b && c { Arc<RwLock<T>> }"),
    Scores({"ada": 75, "bob": 9}, 75.25),
    Verdict(Label.UNSURE, 0.25, "hm"),
    Query(["trees", "bark"], 50),
    Meeting(datetime(2031, 5, 17, 9, 30), "Room 4", ("Ada", "Bob")),
    Figure("round", (33, 44)),
    Page("Home", "<p>Hi</p>", {"a"}),
    Tree("root", [Tree("left", [Tree("leaf")]), Tree("right")]),
]
RAW = (
    xml(Patch("a.rs", "if a < b && c { Arc<RwLock<T>> }"))
    .replace("&lt;", "<")
    .replace("&gt;", ">")
    .replace("&amp;", "&")
)
FORMS = [
    *((xml(one), "bare") for one in SINGLE),
    *((f"Sure, é:\n\n{xml(one)}\n\nAnything else? <b>No</b>.", "bare") for one in SINGLE),
    *((f"```xml\n{xml(one)}\n```\nDone.", "bare") for one in SINGLE),
    *((f"<think>x < y {xml(Ack())}</think>\n{xml(one)}", "bare") for one in SINGLE[:5]),
    *((f'<send to="critic">\n{xml(one)}\n</send>', "send") for one in SINGLE[5:]),
    *((f"<respond>{xml(one)}</respond> [/INST]", "respond") for one in SINGLE[:4]),
    (f"<message><meta><from>a</from></meta>{xml(SINGLE[0])}</message>", "bare"),
    (xml(SINGLE[1]).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"), "bare"),
    (RAW, "bare"),
    (f"`{xml(SINGLE[3])}`", "bare"),
    (f'<?xml version="1.0"?>\n{xml(SINGLE[4])}', "bare"),
    (f"<SEND to=“critic”>{xml(SINGLE[5])}</SEND>", "send"),
]


def prefixes(text: str) -> list[str]:
    """Every beginning, byte by byte; what a cut leaves of a character is what a decoder makes of it."""
    raw = text.encode()
    return [raw[:end].decode("utf-8", "replace") for end in range(len(raw) + 1)]


def attempt(text: str) -> list[tuple[str, str | None, Any]] | None:
    try:
        return values_of(text)
    except InvalidMessage:
        return None


def test_there_are_fifty_valid_answers() -> None:
    assert len(FORMS) >= 50


@pytest.mark.parametrize(("text", "way"), FORMS)
def test_every_prefix_of_an_answer_is_refused_or_the_whole_of_it(text: str, way: str) -> None:
    meant = values_of(text)
    assert [one[0] for one in meant] == [way]
    read_whole = 0
    for prefix in prefixes(text):
        found = attempt(prefix)
        assert found is None or found == meant, prefix
        read_whole += found is not None
    assert read_whole >= 1


SEVERAL = [
    [xml(SINGLE[0]), xml(SINGLE[1])],
    [
        f'<send to="a">{xml(SINGLE[0])}</send>',
        f'<send to="b">{xml(SINGLE[0])}{xml(SINGLE[3])}</send>',
        xml(SINGLE[5]),
    ],
    [xml(SINGLE[9]), f"<message><meta/>{xml(SINGLE[2])}</message>", f'<send to="c">{xml(SINGLE[7])}</send>'],
]


@pytest.mark.parametrize("items", SEVERAL)
@pytest.mark.parametrize("between", ["", "\n\n"])
def test_a_prefix_of_several_items_reads_at_their_borders_only(items: list[str], between: str) -> None:
    text = between.join(items)
    border = 0
    borders: dict[int, list[tuple[str, str | None, Any]]] = {}
    for number, item in enumerate(items, 1):
        border += len(item)
        for blank in range(len(between) + 1):
            borders[border + blank] = values_of(between.join(items[:number]))
        border += len(between)
    for end in range(len(text) + 1):
        assert attempt(text[:end]) == borders.get(end), text[:end]


def test_a_fence_around_several_items_says_that_some_are_missing() -> None:
    text = f"```xml\n{xml(SINGLE[0])}\n{xml(SINGLE[1])}\n```"
    assert [end for end in range(len(text) + 1) if attempt(text[:end]) is not None] == [len(text)]


def slipped(text: str, random: Random) -> str:
    """One slip: a character gone, doubled, put in, or two changed over."""
    at = random.randrange(len(text))
    match random.randrange(5):
        case 0:
            return text[:at] + text[at + 1 :]
        case 1:
            return text[:at] + random.choice("x/> \"';:=é1") + text[at:]
        case 2:
            return text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :]
        case 3:
            end = min(len(text), at + random.randrange(1, 6))
            return text[:at] + text[end:]
        case _:
            other = random.randrange(len(text))
            low, high = min(at, other), max(at, other)
            if low == high:
                return text
            return text[:low] + text[high] + text[low + 1 : high] + text[low] + text[high + 1 :]


def unmended(answer: Answer) -> bool:
    """Whether the payloads stand in the text as they were read."""
    return all(mend.what in ("fence", "control-token") for mend in answer.mends)


def tags(text: str) -> list[str]:
    return [one.casefold() for one in re.findall(r"</?[\w-]+(?: to=\"critic\")?>", text)]


@settings(max_examples=8 * EXAMPLES)
@given(PAYLOADS, st.randoms(use_true_random=False), st.integers(0, 3), st.integers(1, 3))
@example(Greeting("a < b", 7), Random(1), 0, 1)
def test_a_random_slip_never_makes_another_value(
    payload: object, random: Random, form: int, slips: int
) -> None:
    """What a strict reading of the text gives is what was written; what was mended is what was meant."""
    forms = ("{}", "Sure.\n{}\nBye.", "```xml\n{}\n```", '<send to="critic">{}</send>')
    whole = text = forms[form].format(xml(payload))
    meant = values_of(text)
    for _ in range(slips):
        text = slipped(text, random)
        if not text:
            return
    try:
        answer = read(text)
        found = values(answer)
    except InvalidMessage:
        return
    # With every tag in its place the slip was in a text: then what was written is that text.
    assert found == meant or unmended(answer) or tags(text) == tags(whole), (text, answer.mends)


@pytest.mark.parametrize("reference", ["&lt;", "&gt;", "&amp;", "&quot;", "&apos;", "&#60;", "&#x3C;"])
@pytest.mark.parametrize("around", ["a {} b", "a{}b", "{}", "x;{}"])
def test_a_slip_in_a_reference_is_never_mended_into_text(reference: str, around: str) -> None:
    inner = around.format(reference)
    meant = values_of(f"<Greeting><Name>{inner}</Name><Age>7</Age></Greeting>")
    slips = {inner[:at] + inner[at + 1 :] for at in range(len(inner))}
    slips |= {inner[:at] + inner[at + 1] + inner[at] + inner[at + 2 :] for at in range(len(inner) - 1)}
    slips |= {inner[:at] + new + inner[at:] for at in range(len(inner) + 1) for new in "x;# 1/>"}
    for slip in sorted(slips):
        text = f"<Greeting><Name>{slip}</Name><Age>7</Age></Greeting>"
        try:
            answer = read(text)
        except InvalidMessage:
            continue
        assert unmended(answer) or values(answer) == meant, slip


def test_the_values_of_the_forms_are_those_meant() -> None:
    for (text, way), one in zip(FORMS, [*SINGLE, *SINGLE, *SINGLE], strict=False):
        assert way == "bare"
        assert values_of(text) == bare(one)
