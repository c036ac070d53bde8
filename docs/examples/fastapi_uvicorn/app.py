"""A kitchen that takes orders over HTTP: phloem in a FastAPI app, on uvicorn.

    pip install phloem fastapi uvicorn uvloop
    uvicorn app:app --loop uvloop        # or --loop asyncio
    curl -X POST localhost:8000/ask -H 'content-type: application/json' -d '{"dish": "soup"}'

uvicorn runs asyncio, phloem runs Trio, as a guest in the same loop and the same thread: ``await
organism.ask(…)`` looks and cancels like any other await. Ctrl-C stops both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, Literal

import anyio
import trio
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

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
    """A handler: one message in, at most an answer out. It runs on Trio, whatever the server runs on."""
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
async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    """The organism lives as long as the server: opened before the first request, closed after the last.

    A ConfigurationError ends the server before it takes a request; its text is in the server's log.
    """
    async with open_kitchen() as organism:
        yield {"organism": organism}  # each request finds it in request.state


app = FastAPI(title="Kitchen", lifespan=lifespan)


def the_organism(request: Request) -> Organism:
    """What a route asks FastAPI for when it wants the organism."""
    organism: Organism = request.state.organism
    return organism


TheOrganism = Annotated[Organism, Depends(the_organism)]


# Pydantic says what the HTTP API takes, and FastAPI documents that. phloem needs none of it: its payloads
# are dataclasses, checked against their own contract. The two need not be alike: this one has a default,
# and leaves the menu to the kitchen.
class Wish(BaseModel):
    dish: str
    portions: int = 1


@app.post("/ask")
async def ask(wish: Wish, request: Request, organism: TheOrganism) -> Response:
    """An order, and what the kitchen makes of it."""
    order = Order(wish.dish, wish.portions)  # type: ignore[arg-type]  # the dish may be any: phloem looks
    async with cancelled_on_disconnect(request):
        return JSONResponse(asdict(await organism.ask(order, to="cook")))
    return Response(status_code=499)  # they hung up: nobody reads this, but it stands in the access log


@app.get("/books")
async def books(organism: TheOrganism) -> dict[str, Any]:
    """How many messages came in, how they ended, how many are on their way."""
    return asdict(organism.report)


@asynccontextmanager
async def cancelled_on_disconnect(request: Request) -> AsyncIterator[None]:
    """Cancels its block when the client hangs up; for when the request's body has been read.

    Neither uvicorn nor FastAPI does: a note is left where the app may read it. Without this, what nobody
    waits for any more is cooked to its end. With it, ``ask`` is cancelled, and with it the whole
    conversation, whichever listener it has come to.
    """
    failure: PhloemError | None = None

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        tasks.cancel_scope.cancel("the client hung up")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        try:
            yield
        except PhloemError as error:
            failure = (
                error  # raised below: the task group would put it into a group, where no handler finds it
            )
        tasks.cancel_scope.cancel("answered")
    if failure is not None:
        raise failure


# -- errors, by who is to blame ----------------------------------------------------------------


@app.exception_handler(MessageRejected)
async def rejected(request: Request, error: MessageRejected) -> Response:
    """The order breaks its contract. The huh says where, what was found, and what was expected."""
    return JSONResponse({"detail": asdict(error.huh)}, 422)


@app.exception_handler(ConversationFailed)
@app.exception_handler(NoResponse)
async def failed(request: Request, error: ConversationFailed | NoResponse) -> Response:
    """The kitchen failed: a handler raised, a budget was met, or nobody answered. The log knows more."""
    outcome = error.outcome
    return JSONResponse({"detail": {"conversation": outcome.conversation, "state": outcome.state}}, 502)


@app.exception_handler(OrganismClosed)
async def closed(request: Request, error: OrganismClosed) -> Response:
    """The organism takes no more messages."""
    return JSONResponse({"detail": "the kitchen is closed"}, 503)
