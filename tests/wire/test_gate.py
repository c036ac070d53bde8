"""What is refused before a tree exists, at once and in linear time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from phloem.config import WireLimits
from phloem.messages import Fault
from phloem.wire.parsing import Parser
from support.wire import fault_of, refusal


def quickly(call: Callable[[], object]) -> Fault:
    start = time.perf_counter()
    fault = fault_of(call)
    assert time.perf_counter() - start < 1
    return fault


@pytest.mark.parametrize("end", ["/>", "", "></a>", '"'])
def test_a_hundred_thousand_attributes_are_refused_at_once(parser: Parser, end: str) -> None:
    data = "<a " + " ".join(f'a{i}=""' for i in range(100_000)) + end
    assert quickly(lambda: parser.parse(data, limit=10_000_000)).code == "attribute"


def test_attributes_are_counted_in_tags_only(parser: Parser) -> None:
    text = "a = b; <i x='1' y='2'/> " * 1000
    assert parser.parse(f"<a><![CDATA[{text}]]><!-- {text} --></a>").text == text
    assert parser.parse(f"<a>{'x = 1; ' * 1000}</a>").tag == "a"
    assert parser.parse("<a>" + '<b xmlns="">=</b>' * 1000 + "</a>")[999].tag == "b"
    assert refusal(parser, "<a>" + "<b c='>' d='='/>" * 129 + "</a>").code == "attribute"
    assert parser.parse("<a>" + "<b c='>' d='='/>" * 128 + "</a>").tag == "a"


def test_depth_10_000_is_refused_at_once(parser: Parser) -> None:
    assert quickly(lambda: parser.parse("<a>" * 10_000 + "</a>" * 10_000)).code == "too-large"


def test_depth_is_limited_exactly_and_for_fragments_too(parser: Parser) -> None:
    most = parser.limits.max_depth
    nested = "<a>" * most + "</a>" * most
    assert parser.parse(nested).tag == "a"
    assert parser.parse_fragments(nested)[0].tag == "a"
    assert refusal(parser, f"<a>{nested}</a>").code == "too-large"
    assert fault_of(lambda: parser.parse_fragments(f"<a>{nested}</a>")).code == "too-large"


def test_too_much_markup_is_refused_before_the_parser(parser: Parser) -> None:
    assert parser.parse("<a>" + "<b/>" * 19_998 + "</a>").tag == "a"
    assert refusal(parser, "<a>" + "<b/>" * 19_999 + "</a>").code == "too-large"


@pytest.mark.parametrize("tail", ["</a>", "&</a>", ""])
def test_10_5_megabytes_of_text_are_refused_at_once_whatever_the_limit(parser: Parser, tail: str) -> None:
    data = b"<a>" + b"x" * 10_500_000 + tail.encode()
    assert quickly(lambda: parser.parse(data)).code == "too-large"
    assert quickly(lambda: parser.parse_own(data.decode())).code == "too-large"
    roomy = Parser(WireLimits(max_bytes=20_000_000))
    fault_of(lambda: roomy.parse(data))
    fault_of(lambda: roomy.parse_own(data.decode()))


def test_the_byte_limit_counts_bytes_and_can_be_set() -> None:
    parser = Parser(WireLimits(max_bytes=20))
    assert parser.parse("<a>1234567890123</a>").tag == "a"
    assert parser.parse("<a>123456789012345</a>", limit=22).tag == "a"
    for data in ("<a>12345678901234</a>", "<a>ééééééé</a>", b"<a>12345678901234</a>"):
        assert refusal(parser, data).code == "too-large"
        assert fault_of(lambda data=data: parser.parse_fragments(data)).code == "too-large"  # type: ignore[misc]


def test_the_text_of_one_field_is_limited_wherever_it_stands() -> None:
    parser = Parser(WireLimits(max_text=10))
    assert parser.parse("<a><b>1234567890</b>1234567890</a>").tag == "a"
    fault = refusal(parser, "<a><b>12345<!-- -->678901</b></a>")
    assert (fault.code, fault.path) == ("too-large", "/a/b")
    assert refusal(parser, "<a><b/>12345678901</a>").code == "too-large"


@pytest.mark.parametrize(
    "piece",
    ["<", "<!--", "<![CDATA[", "<?", "<a ", "<a '", '<a b="', "&", "]]>", "<!-- --", "<a b=1 ", "</", "&#1"],
)
def test_nothing_takes_quadratic_time(parser: Parser, piece: str) -> None:
    many = piece * min(19_000, 900_000 // len(piece))
    quickly(lambda: parser.parse("<a>" + many))
    quickly(lambda: parser.parse(many))
