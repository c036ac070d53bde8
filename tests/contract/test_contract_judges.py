"""Reading asks two judges, the decoder and the XSD, and either may refuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
from annotated_types import MaxLen

from phloem.config import WireLimits
from phloem.contract import Contract, contract_of
from phloem.errors import InvalidMessage
from phloem.wire.parsing import Parser

PARSER = Parser(WireLimits())


def contracts() -> tuple[Contract, Contract]:
    """Of one tag: one that takes any text, one that takes three characters."""

    def wide() -> Contract:
        @dataclass
        class Note:
            text: str

        return contract_of(Note)

    def narrow() -> Contract:
        @dataclass
        class Note:
            text: Annotated[str, MaxLen(3)]

        return contract_of(Note)

    return wide(), narrow()


def judged_by(decoder: Contract, xsd: Contract) -> Contract:
    own = decoder
    return Contract(own.payload_class, own.tag, xsd.xsd_text, "", own._record, own._encode, own._decode)


@pytest.mark.parametrize("narrow_one", ["decoder", "xsd"])
def test_what_one_judge_refuses_is_refused(narrow_one: str) -> None:
    wide, narrow = contracts()
    both = judged_by(narrow, wide) if narrow_one == "decoder" else judged_by(wide, narrow)
    assert both.read(PARSER.parse("<Note><Text>abc</Text></Note>")).text == "abc"
    with pytest.raises(InvalidMessage) as caught:
        both.read(PARSER.parse("<Note><Text>abcd</Text></Note>"))
    assert [fault.path for fault in caught.value.faults] == ["/Note/Text"]
