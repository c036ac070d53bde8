"""A valid answer, damaged at random in one of the ways that models have, is what was meant or a huh."""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.errors import InvalidMessage
from support.answering import bare, values_of, xml
from support.damages import KINDS, PAYLOADS, Damage, cut, quoted_before, second

# 50,000 and more were run by hand; here as many as take a second or two each.
EXAMPLES = int(os.environ.get("PHLOEM_DAMAGED_ANSWERS", "25"))
RANDOM = st.randoms(use_true_random=False)


def attempt(text: str) -> list[tuple[str, str | None, Any]] | None:
    try:
        return values_of(text)
    except InvalidMessage:
        return None


@pytest.mark.parametrize("damage", KINDS, ids=lambda damage: damage.__name__)
@settings(max_examples=EXAMPLES)
@given(payload=PAYLOADS, random=RANDOM)
def test_a_damaged_payload_is_what_was_meant_or_refused(
    damage: Damage, payload: object, random: Random
) -> None:
    text = damage(xml(payload), random)
    read = attempt(text)
    assert read is None or read == bare(payload), text


@settings(max_examples=4 * EXAMPLES)
@given(
    st.lists(st.tuples(st.sampled_from(["critic", "writer", "a b"]), PAYLOADS), min_size=1, max_size=3),
    st.sampled_from([kind for kind in KINDS if kind is not second]),  # a frame may well hold two
    RANDOM,
)
def test_a_damaged_payload_in_a_frame_is_what_was_meant_or_refused(
    sent: list[tuple[str, object]], damage: Damage, random: Random
) -> None:
    damaged = random.randrange(len(sent))
    texts = [damage(xml(one), random) if at == damaged else xml(one) for at, (_, one) in enumerate(sent)]
    text = "\n".join(f'<send to="{to}">{one}</send>' for (to, _), one in zip(sent, texts, strict=True))
    read = attempt(text)
    assert read is None or read == [("send", to, one) for to, one in sent], text


@settings(max_examples=4 * EXAMPLES)
@given(st.lists(PAYLOADS, min_size=1, max_size=3), st.sampled_from(KINDS), RANDOM)
def test_a_damaged_response_is_what_was_meant_or_refused(
    payloads: list[object], damage: Damage, random: Random
) -> None:
    text = damage(f"<respond>{''.join(map(xml, payloads))}</respond>", random)
    read = attempt(text)
    assert read is None or read == [("respond", None, one) for one in payloads], text


# Of two payloads of which one is cut away, nothing but the stop reason tells that there were two.
ONE_PAYLOAD = st.sampled_from([kind for kind in KINDS if kind not in (second, quoted_before)])
ANY_BUT_CUT = st.sampled_from([kind for kind in KINDS if kind is not cut])


@settings(max_examples=4 * EXAMPLES)
@given(PAYLOADS, st.one_of(st.tuples(ONE_PAYLOAD, ONE_PAYLOAD), st.tuples(ANY_BUT_CUT, ANY_BUT_CUT)), RANDOM)
def test_a_payload_damaged_twice_is_what_was_meant_or_refused(
    payload: object, damages: tuple[Damage, Damage], random: Random
) -> None:
    first, then = damages
    text = then(first(xml(payload), random) or "<", random)
    read = attempt(text)
    assert read is None or read == bare(payload), text
