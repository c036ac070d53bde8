"""A shop that takes bounded orders, and a scripted agent that orders there, well or badly.

For the tests of what is refused, by whom, and who is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final

import annotated_types

from phloem.config import ListenerConfig
from phloem.messages import HandlerMetadata, HandlerResponse, Huh, SystemError

from .listeners import Reply, listener


@dataclass
class Go:
    text: str


@dataclass
class Order:
    amount: Annotated[int, annotated_types.Ge(1)]


@dataclass
class Strict:
    amount: Annotated[int, annotated_types.Le(10)]


class Theirs:
    """The same tags as ours without their bounds, as a careless module would declare them."""

    @dataclass
    class Order:
        amount: int

    @dataclass
    class Strict:
        amount: int


async def accept(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Reply("accepted"))


SHOP: Final = listener("shop", Order, accept)


def agent(*returns: Any, seen: list[Any], peers: tuple[str, ...] = ("shop",), **more: Any) -> ListenerConfig:
    """Returns one thing after the other, whatever it is told; then responds."""
    script = list(returns)

    async def act(payload: Any, metadata: HandlerMetadata) -> Any:
        seen.append((payload, metadata))
        return script.pop(0) if script else HandlerResponse.respond(Reply("done"))

    takes = [Go, Reply, Huh, SystemError]
    return listener("agent", takes, act, is_agent=True, peers=peers, **more)


def payloads(seen: list[Any], kind: type) -> list[Any]:
    return [payload for payload, _ in seen if isinstance(payload, kind)]
