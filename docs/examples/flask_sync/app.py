"""A kitchen that takes orders over HTTP: phloem in a Flask app, through its sync door.

    pip install phloem flask
    flask run
    curl -X POST localhost:5000/ask -d '{"dish": "soup", "portions": 2}'

A WSGI view is a plain function in one of many threads. The organism runs in a thread of its own, and
``organism.ask(…)`` blocks the view's until the answer has come. Ctrl-C stops both.
"""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import trio
from flask import Flask, request

from phloem import (
    ConversationFailed,
    HandlerMetadata,
    HandlerResponse,
    ListenerConfig,
    MessageRejected,
    NoResponse,
    OrganismClosed,
    OrganismConfig,
    open_organism_in_thread,
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
    """A handler: one message in, at most an answer out. It runs on Trio, in the organism's thread."""
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

# -- the app -----------------------------------------------------------------------------------

# A view is never told that its client has hung up, so it needs a limit of its own.
PATIENCE: Final = 10  # seconds

Answer = tuple[dict[str, Any], int]


def create_app() -> Flask:
    """Flask calls this once per process, before the first request; the organism lives as long as the process.

    A ConfigurationError ends the server before it takes a request.
    """
    app = Flask(__name__)
    kitchen = ExitStack()
    organism = kitchen.enter_context(open_organism_in_thread(KITCHEN))
    app.extensions["organism"] = organism

    def close() -> None:
        """Drains for shutdown_grace seconds at most; a second Ctrl-C drops what is left."""
        try:
            kitchen.close()
        finally:
            print("kitchen closed, every message accounted for:", organism.report, flush=True)

    atexit.register(close)  # WSGI has no word for "the server stops"; Python has

    @app.post("/ask")
    def ask() -> Answer:
        """An order, and what the kitchen makes of it."""
        body: Any = request.get_json(force=True, silent=True)
        try:
            order = Order(**body)
        except TypeError:  # no JSON, or other fields; whether their values fit, phloem says
            return {"detail": 'expected JSON such as {"dish": "soup", "portions": 2}'}, 422
        return asdict(organism.ask(order, to="cook", timeout=PATIENCE)), 200

    @app.get("/books")
    def books() -> Answer:
        """How many messages came in, how they ended, how many are on their way."""
        return asdict(organism.report), 200

    # -- errors, by who is to blame ------------------------------------------------------------

    @app.errorhandler(MessageRejected)
    def rejected(error: MessageRejected) -> Answer:
        """The order breaks its contract. The huh says where, what was found, and what was expected."""
        return {"detail": asdict(error.huh)}, 422

    @app.errorhandler(ConversationFailed)
    @app.errorhandler(NoResponse)
    def failed(error: ConversationFailed | NoResponse) -> Answer:
        """The kitchen failed: a handler raised, a budget was met, or nobody answered. The log knows more."""
        outcome = error.outcome
        return {"detail": {"conversation": outcome.conversation, "state": outcome.state}}, 502

    @app.errorhandler(OrganismClosed)
    def closed(error: OrganismClosed) -> Answer:
        """The organism takes no more messages."""
        return {"detail": "the kitchen is closed"}, 503

    @app.errorhandler(TimeoutError)
    def late(error: TimeoutError) -> Answer:
        """PATIENCE is over. The order's conversation has been cancelled: nobody goes on cooking it."""
        return {"detail": f"nothing to eat within {PATIENCE} s"}, 504

    return app
