"""What XML costs a hop: a small payload encoded, parsed, judged by its XSD and decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from phloem.config import WireLimits
from phloem.contract import contract_of
from phloem.wire import EnvelopeReader, Parser, write_envelope

from .measuring import per_call
from .payloads import Ball

DESIGNED_ON: Final = 4.8  # µs a checkpoint took where the limits below were measured
HOLD: Final = 2.0  # times the limit


def hold(microseconds: float) -> float:
    """The most a step may take, in checkpoints."""
    return HOLD * microseconds / DESIGNED_ON


def hop() -> float:
    """Seconds for all four steps of an insider's payload."""
    contract, parser, ball = contract_of(Ball), Parser(WireLimits()), Ball(7)
    return per_call(lambda: contract.read(parser.parse_own(contract.encode(ball))))


def steps() -> Iterator[tuple[str, float, float]]:
    """Name, seconds and the most checkpoints of each step."""
    contract, parser, ball = contract_of(Ball), Parser(WireLimits()), Ball(7)
    envelopes = EnvelopeReader()
    text = contract.encode(ball)
    element = parser.parse_own(text)
    document = write_envelope(sender="outside", to="ping", thread="1", payloads=[text])

    def ingress() -> object:
        (payload,) = envelopes.read(parser.parse(document)).payloads
        return contract.read(payload)

    yield "encode", per_call(lambda: contract.encode(ball)), hold(1.0)
    yield "parse", per_call(lambda: parser.parse_own(text)), hold(3.4)
    yield "XSD", per_call(lambda: contract.valid(element)), hold(1.1)
    yield "decode", per_call(lambda: contract.decode(element)), hold(1.7)
    yield "a hop, all four", hop(), hold(7.8)
    yield "ingress, with its envelope", per_call(ingress), hold(16.0)
