"""A kitchen that takes orders over HTTP: phloem in a Starlette app, on Hypercorn's Trio worker.

    pip install phloem starlette "hypercorn[trio]"
    hypercorn -k trio app:app
    curl -X POST localhost:8000/ask -d '{"dish": "soup", "portions": 2}'

The whole server runs on Trio, and so does phloem: nothing lies between them. Ctrl-C stops both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phloem import (
    ConversationFailed,
    HandlerMetadata,
    HandlerResponse,
    ListenerConfig,
    MessageRejected,
    NoResponse,
    Organism,
    OrganismClosed,
    OrganismConfig,
    PhloemError,
    open_organism,
)

# -- the organism ------------------------------------------------------------------------------
# It knows nothing of HTTP. phloem derives a contract from each class, and checks every message.


@dataclass
class Order:
    """What a guest may ask for. A dish that is not on the menu never reaches the cook."""

    dish: Literal["soup", "roast", "souffle", "air"]
    portions: int


@dataclass
class Plate:
    """What the cook answers."""

    text: str


async def cook(payload: Order, metadata: HandlerMetadata) -> HandlerResponse | None:
    """A handler: one message in, at most an answer out. All of these happen in real kitchens."""
    match payload.dish:
        case "roast":
            await trio.sleep(30)
        case "souffle":
            raise RuntimeError("it collapsed")
        case "air":
            return None  # no answer
        case "soup":
            pass
    return HandlerResponse.respond(Plate(f"{payload.portions} x {payload.dish}"))


KITCHEN: Final = OrganismConfig(
    name="kitchen",
    listeners=[ListenerConfig("cook", Order, cook, "Cooks what is ordered.", responds_with=Plate)],
)


@asynccontextmanager
async def open_kitchen() -> AsyncIterator[Organism]:
    """The running organism. However the block is left, the last line says what became of every message."""
    organism = None
    try:
        async with open_organism(KITCHEN) as organism:
            yield organism
    finally:
        if organism is not None:  # else it could not be built, and the error says why
            print("kitchen closed, every message accounted for:", organism.report, flush=True)


# -- the app -----------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
    """The organism lives as long as the server: opened before the first request, closed after the last.

    A ConfigurationError ends the server before it takes a request; its text is in the server's log.
    """
    async with open_kitchen() as organism:
        yield {"organism": organism}  # each request finds it in request.state


async def ask(request: Request) -> Response:
    """POST /ask: the order as JSON, the plate as JSON."""
    organism: Organism = request.state.organism
    try:
        order = Order(**await request.json())
    except (ValueError, TypeError):  # no JSON, or other fields; whether their values fit, phloem says
        return JSONResponse({"detail": 'expected JSON such as {"dish": "soup", "portions": 2}'}, 422)
    async with cancelled_on_disconnect(request):
        return JSONResponse(asdict(await organism.ask(order, to="cook")))
    return Response(status_code=499)  # they hung up: nobody reads this, but it stands in the access log


async def books(request: Request) -> Response:
    """GET /books: how many messages came in, how they ended, how many are on their way."""
    return JSONResponse(asdict(request.state.organism.report))


@asynccontextmanager
async def cancelled_on_disconnect(request: Request) -> AsyncIterator[None]:
    """Cancels its block when the client hangs up; for when the request's body has been read.

    Hypercorn does not: it only leaves a note where the app may read it. Without this, what nobody waits
    for any more is cooked to its end. With it, ``ask`` is cancelled, and with it the whole conversation,
    whichever listener it has come to.
    """
    failure: PhloemError | None = None

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        nursery.cancel_scope.cancel(reason="the client hung up")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        try:
            yield
        except PhloemError as error:
            failure = error  # raised below: the nursery would put it into a group, where no handler finds it
        nursery.cancel_scope.cancel(reason="answered")
    if failure is not None:
        raise failure


# -- errors, by who is to blame ----------------------------------------------------------------


async def rejected(request: Request, error: Exception) -> Response:
    """The order breaks its contract. The huh says where, what was found, and what was expected."""
    assert isinstance(error, MessageRejected)
    return JSONResponse({"detail": asdict(error.huh)}, 422)


async def failed(request: Request, error: Exception) -> Response:
    """The kitchen failed: a handler raised, a budget was met, or nobody answered. The log knows more."""
    assert isinstance(error, ConversationFailed | NoResponse)
    outcome = error.outcome
    return JSONResponse({"detail": {"conversation": outcome.conversation, "state": outcome.state}}, 502)


async def closed(request: Request, error: Exception) -> Response:
    """The organism takes no more messages."""
    return JSONResponse({"detail": "the kitchen is closed"}, 503)


app = Starlette(
    routes=[Route("/ask", ask, methods=["POST"]), Route("/books", books)],
    lifespan=lifespan,
    exception_handlers={
        MessageRejected: rejected,
        ConversationFailed: failed,
        NoResponse: failed,
        OrganismClosed: closed,
    },
)
