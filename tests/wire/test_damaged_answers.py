"""Damaged answers, each with what was meant: none is read as anything else, and the counts are those told.

The corpus is data: one file for each kind of damage in ``damaged_answers``. A case is the text of an
answer and what it means, as [way, to, a strict payload] for each part; null is for a text that means
nothing certain. Read is strict, mended, or refused.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from phloem.errors import InvalidMessage
from support.answering import read, values, values_of

CORPUS: Final = Path(__file__).parent / "damaged_answers"
KINDS: Final = sorted(file.stem for file in CORPUS.glob("*.json"))
DOCS: Final = Path(__file__).parents[2] / "docs" / "answers.md"

# kind: (read as it stands, mended, refused)
COUNTS: Final = {
    "attributes-for-fields": (0, 0, 13),
    "bom-cdata-declaration": (8, 1, 9),
    "case": (0, 11, 3),
    "control-characters": (0, 0, 12),
    "control-tokens": (0, 18, 12),
    "cut": (0, 0, 48),
    "entities": (1, 7, 9),
    "envelopes": (0, 10, 12),
    "escaped-twice": (1, 9, 8),
    "fences": (2, 15, 8),
    "frames": (1, 3, 15),
    "generics-and-operators": (0, 24, 4),
    "json-around": (0, 0, 14),
    "json-close": (0, 0, 22),
    "markup-in-a-leaf": (0, 7, 17),
    "namespaces": (2, 7, 6),
    "other-end-tag": (0, 0, 16),
    "quoted-example": (4, 0, 16),
    "second-payload": (0, 0, 17),
    "swallowed-sibling": (0, 0, 17),
    "values": (2, 1, 17),
}


def cases(kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((CORPUS / f"{kind}.json").read_text("utf-8"))
    return found


def meant(case: dict[str, Any]) -> list[tuple[str, str | None, Any]] | None:
    if case["meant"] is None:
        return None
    return [(way, to, values_of(payload)[0][2]) for way, to, payload in case["meant"]]


def test_every_kind_is_counted() -> None:
    assert list(COUNTS) == KINDS
    assert sum(map(sum, COUNTS.values())) >= 400


@pytest.mark.parametrize("kind", KINDS)
def test_no_damaged_answer_is_read_as_anything_but_what_was_meant(kind: str) -> None:
    counts: Counter[str] = Counter()
    for case in cases(kind):
        try:
            answer = read(case["text"])
            found = values(answer)
        except InvalidMessage:
            counts["refused"] += 1
            continue
        assert found == meant(case), case["text"]
        counts["mended" if answer.mends else "strict"] += 1
    assert (counts["strict"], counts["mended"], counts["refused"]) == COUNTS[kind]


def test_the_table_in_the_docs_tells_these_counts() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in DOCS.read_text("utf-8").splitlines()]
    told = {
        row[0].replace(" ", "-"): tuple(map(int, row[2:]))
        for row in rows
        if len(row) == 5 and row[1].isdigit()
    }
    total = tuple(map(sum, zip(*COUNTS.values(), strict=True)))
    assert told == {**COUNTS, "all": total}
    sums = {row[0].replace(" ", "-"): int(row[1]) for row in rows if len(row) == 5 and row[1].isdigit()}
    assert sums == {kind: sum(counts) for kind, counts in {**COUNTS, "all": total}.items()}
