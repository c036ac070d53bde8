"""A console without a terminal: lines go in when a test says so, and what is shown is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, final

import trio
import trio.testing

from phloem.cli.console_session import Session
from phloem.cli.terminal.face import Kind
from phloem.config import ListenerConfig, OrganismConfig
from phloem.contract import xmlify
from phloem.messages import Fault, HandlerMetadata, HandlerResponse
from phloem.organism import Organism, open_organism
from phloem.pump.listening import get_event_bus
from phloem.pump.within import get_context_buffer


@xmlify
@dataclass
class Say:
    text: str


@xmlify
@dataclass
class Order:
    item: str
    count: int = 1


@xmlify
@dataclass
class Point:
    x: int
    y: int


@final
class FakeFace:
    """As in ``Face``. ``said`` holds what was shown, a text each; ``wrong`` those that were complaints."""

    def __init__(self, *, in_full: bool = False, in_turn: bool = False) -> None:
        self.in_full, self.in_turn = in_full, in_turn
        self.said: list[str] = []
        self.wrong: list[str] = []
        self.tails: dict[str, str] = {}
        self.prompt, self.keep = "", True
        self.closed = False
        self.type, self._lines = trio.open_memory_channel[str | Fault](1_000)

    def show(self, text: str, kind: Kind = Kind.ANSWER, who: str = "") -> None:
        line = f"{who}: {text}" if who else text
        self.said.append(line)
        if kind is Kind.WRONG:
            self.wrong.append(line)

    def tail(self, who: str, text: str) -> None:
        if text:
            self.tails[who] = text
        else:
            self.tails.pop(who, None)

    def ask(self, prompt: str, *, keep: bool = True) -> None:
        self.prompt, self.keep = prompt, keep

    def close(self) -> None:
        self.closed = True

    async def receive(self) -> str | Fault | None:
        try:
            return await self._lines.receive()
        except trio.EndOfChannel:
            return None

    async def room(self) -> None:
        await trio.lowlevel.checkpoint()


@final
@dataclass
class Sitting:
    """A session that runs, and the organism it talks to."""

    face: FakeFace
    session: Session
    organism: Organism

    async def types(self, *lines: str) -> list[str]:
        """Type lines one after the other; what was shown until nothing moved any more."""
        before = len(self.face.said)
        for line in lines:
            self.face.type.send_nowait(line)
            await trio.testing.wait_all_tasks_blocked()
        return self.face.said[before:]

    async def waits(self, seconds: float) -> list[str]:
        """What is shown meanwhile."""
        before = len(self.face.said)
        await trio.sleep(seconds)
        await trio.testing.wait_all_tasks_blocked()
        return self.face.said[before:]


async def echo(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)


async def counts(payload: Say, metadata: HandlerMetadata) -> HandlerResponse:
    """Says how many messages it remembers."""
    slots = len(list(get_context_buffer().get_thread(metadata.thread_id)))
    return HandlerResponse.respond(Say(f"{payload.text} is number {slots}"))


async def slow(payload: Say, metadata: HandlerMetadata) -> HandlerResponse:
    await trio.sleep(float(payload.text))
    return HandlerResponse.respond(Say(f"after {payload.text}"))


async def boom(payload: Say, metadata: HandlerMetadata) -> None:
    raise LookupError(f"no {payload.text}")


async def mute(payload: Say, metadata: HandlerMetadata) -> None:
    return None


async def writes(payload: Say, metadata: HandlerMetadata) -> HandlerResponse:
    """A word a second, then all of it as the answer."""
    said = ""
    for word in payload.text.split("|"):
        said += word
        get_event_bus().emit_client_output_delta(content=word, snapshot=said)
        await trio.sleep(1)
    return HandlerResponse.respond(Say(said))


async def asks(payload: Say, metadata: HandlerMetadata) -> HandlerResponse | None:
    """Answers only what it has asked for."""
    if payload.text.startswith("ask"):
        get_event_bus().emit_client_input_requested(prompt=payload.text)
        return None
    return HandlerResponse.respond(Say(f"got {payload.text}"))


async def delegates(payload: Say, metadata: HandlerMetadata) -> HandlerResponse:
    if payload.text.startswith("got"):
        return HandlerResponse.respond(payload)
    return HandlerResponse(payload, to="asker")


def listener(name: str, handler: Any, payload: Any = Say, **more: Any) -> ListenerConfig:
    return ListenerConfig(name, payload, handler, f"Is {name}.", **more)


EVERYBODY = (
    listener("echo", echo),
    listener("memory", counts),
    listener("slow", slow),
    listener("boom", boom),
    listener("mute", mute),
    listener("shop", echo, Order),
    listener("point", echo, Point),
    listener("two words", echo),
    listener("writer", writes, client_facing=True),
    listener("private writer", writes),
    listener("asker", asks, client_facing=True),
    listener("boss", delegates),
)


@asynccontextmanager
async def open_sitting(
    face: FakeFace | None = None,
    listeners: Sequence[ListenerConfig] = EVERYBODY,
    *,
    patience: float | None = None,
    **config: Any,
) -> AsyncIterator[Sitting]:
    """A session that runs beside the block; left, the lines end and it is waited for."""
    face = FakeFace() if face is None else face
    async with open_organism(OrganismConfig(name="test", listeners=listeners, **config)) as organism:
        session = Session(organism, face, patience)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            await trio.testing.wait_all_tasks_blocked()
            yield Sitting(face, session, organism)
            face.type.close()
