"""What a model writes around one payload goes; anything with a tag in it does not."""

from __future__ import annotations

import pytest

from phloem.config import WireLimits
from phloem.messages import Fault
from phloem.wire.envelope import is_envelope
from phloem.wire.parsing import Parser
from phloem.wire.repair import Mended, read_document
from support.wire import Known, fault_of, leaf, message, node

LIMITS = WireLimits()
KNOWN = Known({"Note": node("Note", leaf("Title"), leaf("Body")), "Ping": node("Ping")})


def read(data: bytes | str, *, from_model: bool = False) -> Mended:
    return read_document(Parser(LIMITS), data, KNOWN, from_model=from_model)


def refusal(data: bytes | str, *, from_model: bool = False) -> Fault:
    return fault_of(lambda: read(data, from_model=from_model))


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("Sure, here it is: ", "", ["prose"]),
        ("", "\nHope a < b helps & all!", ["prose"]),
        ("```xml\n", "\n```", ["fence"]),
        ("```\n", "```\n", ["fence"]),
        ("Here:\n```xml\n", "\n```\nDone.", ["fence", "prose", "prose"]),
        ('```xml\n<?xml version="1.0" encoding="UTF-8"?>\n', "\n```", ["fence"]),
        ("See ```x = 1```: ", "", ["prose"]),
        ('\n <?xml version="1.0"?>', "", ["prose"]),
        ("\ufeff", "", []),
    ],
)
@pytest.mark.parametrize("body", ["plain", "``` < fenced &"])
def test_fences_and_prose_around_one_payload_of_a_model_go(
    before: str, after: str, what: list[str], body: str
) -> None:
    data = f"{before}<Note><Body>{body}</Body></Note>{after}"
    mended = read(data, from_model=True)
    assert mended.root[0].text == body
    assert [mend.what for mend in mended.mends if mend.what in ("prose", "fence")] == what
    assert read(data.encode(), from_model=True).mends == mended.mends
    if what:
        refusal(data)


def test_prose_around_an_envelope_goes_too() -> None:
    mended = read(f"Here: {message('<Ping xmlns=' + repr('') + '/>')}", from_model=True)
    assert is_envelope(mended.root)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("I would say hello.", "no-payload"),
        ("", "no-payload"),
        ("Sure: <Unknown>x</Unknown>", "no-payload"),
        ("Sure: <Unknown", "truncated"),
        ("Sure: <Note><Body>x", "truncated"),
        ("Sure: <Note><Body>x</Note>", "missing-end-tag"),
        ("Sure: <Note><Body>x</Title></Note> Bye.", "mismatched-end-tag"),
        ("```xml\n<Note><Body>x</Body></Note>", "truncated"),
        ("<Ping/>\n```", "truncated"),
        ("<Ping/> and <Ping/>", "ambiguous-payload"),
        ("<Ping/> and <note>", "ambiguous-payload"),
        ("First `<Note>`, then: <Note><Body>x</Body></Note>", "stray-text"),
        ("Hm: <example><Ping/></example>", "stray-text"),
        ("<thinking>hm</thinking><Ping/>", "stray-text"),
        ("So: <Ping/></done>", "stray-text"),
        ("So: <!-- <Ping/> -->", "stray-text"),
        ("So: <![CDATA[<Ping/>]]>", "stray-text"),
        ("```\nx = 1\n<Ping/>\n```", "stray-text"),
        ("Hi <!DOCTYPE a><Ping/>", "dtd-refused"),
        ('Hi <?xml version="1.0" encoding="latin-1"?><Ping/>', "bad-char"),
        ("Hi <?xml foo?><Ping/>", "stray-text"),
        ("Hi <Ping/> \x01", "bad-char"),
        ("Hi <Ping/> &#1;\0", "bad-char"),
        (b"Hi \xff <Ping/>", "bad-char"),
        ("x" * (LIMITS.max_model_bytes + 1), "too-large"),
    ],
)
def test_what_a_model_wrote_is_refused_where_it_is_not_one_payload(data: bytes | str, code: str) -> None:
    assert refusal(data, from_model=True).code == code
