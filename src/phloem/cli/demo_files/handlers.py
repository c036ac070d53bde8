"""The handlers of the order desk: what each listener takes, does and answers."""

from __future__ import annotations

from dataclasses import dataclass

from phloem import HandlerMetadata, HandlerResponse


@dataclass
class Order:
    item: str
    quantity: int


@dataclass
class Reserve:
    item: str
    quantity: int


@dataclass
class Reserved:
    item: str
    quantity: int


@dataclass
class Confirmed:
    text: str


@dataclass
class Note:
    text: str


@dataclass
class Noted:
    words: int


async def take_order(payload: Order | Reserved, metadata: HandlerMetadata) -> HandlerResponse:
    """Ask the stock first; what it answers comes back here, on the same thread."""
    if isinstance(payload, Order):
        return HandlerResponse(Reserve(payload.item, payload.quantity), to="stock")
    return HandlerResponse.respond(Confirmed(f"{payload.quantity} x {payload.item}, reserved for you"))


async def reserve(payload: Reserve, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Reserved(payload.item, payload.quantity))


async def keep_note(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Noted(len(payload.text.split())))
