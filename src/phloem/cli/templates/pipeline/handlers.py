"""What each listener takes, does and answers: from a customer's words to a ticket."""

from dataclasses import dataclass
from typing import Annotated, Literal

from phloem import Doc, HandlerMetadata, HandlerResponse, Pattern

Customer = Annotated[str, Pattern("C[0-9]{4}"), Doc("the customer's number, such as C0042")]
Kind = Literal["praise", "question", "complaint"]


@dataclass
class Feedback:
    customer: Customer
    text: Annotated[str, Doc("what the customer wrote")]


@dataclass
class Sorted:
    customer: Customer
    kind: Kind


@dataclass
class Ticket:
    customer: Customer
    kind: Kind
    days: Annotated[int, Doc("until the customer has an answer; 0: none is needed")]


async def take(payload: Feedback | Sorted | Ticket, metadata: HandlerMetadata) -> HandlerResponse:
    """Hands the work on, step by step; each answer comes back here, on the same thread."""
    match payload:
        case Feedback():
            return HandlerResponse(payload, to="sorter")
        case Sorted():
            return HandlerResponse(payload, to="clerk")
        case Ticket():
            return HandlerResponse.respond(payload)


async def sort(payload: Feedback, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Sorted(payload.customer, model(payload.text)))


async def open_ticket(payload: Sorted, metadata: HandlerMetadata) -> HandlerResponse:
    days = {"praise": 0, "question": 3, "complaint": 1}[payload.kind]
    return HandlerResponse.respond(Ticket(payload.customer, payload.kind, days))


def model(text: str) -> Kind:
    """Stands in for a language model: no key, no network, and the same answer each time."""
    if "?" in text:
        return "question"
    return "praise" if "thank" in text.lower() else "complaint"
