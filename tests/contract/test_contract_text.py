"""Text and numbers arrive as they left: the losses of other layers, by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from phloem.config import WireLimits
from phloem.contract import contract_of
from phloem.wire.parsing import Parser

PARSER = Parser(WireLimits())


@pytest.mark.parametrize(
    "text",
    [
        "007",
        " 12 ",
        "true",
        "1e22",
        "nan",
        "a\r\nb\rc\n",
        "\U0001f600",
        '<a xmlns="urn:x"/>',
        "xmlns=",
        "&amp;",
        "]]>",
        "",
    ],
)
def test_text_never_changes_on_the_way(text: str) -> None:
    @dataclass
    class Said:
        text: str
        texts: list[str]
        maybe: str | None = None
        by_text: dict[str, str] = field(default_factory=dict)

    contract = contract_of(Said)
    said = Said(text, [text, text], text, {text: text})
    assert contract.read(PARSER.parse(contract.encode(said))) == said


@pytest.mark.parametrize(
    "value", [1e22, 5e-324, 1.7976931348623157e308, -0.0, float("inf"), float("-inf"), 0.1]
)
def test_floats_arrive_to_the_last_bit(value: float) -> None:
    @dataclass
    class Measured:
        value: float

    contract = contract_of(Measured)
    read = contract.read(PARSER.parse(contract.encode(Measured(value))))
    assert math.copysign(1, read.value) == math.copysign(1, value)
    assert read.value == value
