"""The reference scenario: one small organism in which everything happens that phloem makes promises about.

Fan-out and respond, a prune that cuts a running handler, a peer violation, a ``huh`` and another try, a
retry, a broadcast with a failing sibling, a todo and its nudge, fewer seats than strangers, documents
parsed aside, budgets at the brink, and subscribers that publish themselves. ``reference`` is a program
for simulations: it raises what it finds wrong whatever is done to it, and returns what its strangers
came to, which ``UNDISTURBED`` has for a run that nothing was done to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio

from phloem.config import Budgets, EventLimits, ListenerConfig, MemoryLimits, OrganismConfig, WireLimits
from phloem.errors import ConversationFailed, EventBusClosed, MessageRejected, NoResponse, OrganismClosed
from phloem.events import AgentEvent
from phloem.messages import HandlerMetadata, HandlerResponse, Huh, Receipt, SystemError
from phloem.organism import Organism
from phloem.primitives import TodoClosed, TodoComplete, TodoRegistered, TodoUntil
from phloem.testing.invariants import open_watched_organism
from phloem.testing.sim import InjectedFault, sometimes

from .wire import message

SEATS: Final = 3  # fewer than strangers
HANDLERS: Final = 3  # fewer than messages in flight
LOOPS: Final = 4  # messages of a conversation that goes round that often: one more
LONG: Final = " " * 120  # white space that makes a document long enough to be parsed aside
TO_WORKER: Final = "<from>outside</from><to>worker</to>"
AFTERWARDS: Final = 10_000.0  # seconds in which nothing may happen any more


@dataclass
class Job:
    parts: int


@dataclass
class Part:
    number: int


@dataclass
class Done:
    number: int


@dataclass
class Call:
    text: str


@dataclass
class World:
    """One run: what handlers and subscribers did, and what strangers came to."""

    log: list[str] = field(default_factory=list[str])
    results: dict[str, str] = field(default_factory=dict[str, str])
    seqs: list[int] = field(default_factory=list[int])  # as the subscriber of everything saw them
    gate: trio.Event = field(default_factory=trio.Event)  # opened just before who waits there is killed
    drained: Receipt | None = None  # what was sent last, to be drained


Handle = Callable[[str, Any, HandlerMetadata], Awaitable[Any]]


async def handle(name: str, payload: Any, metadata: HandlerMetadata) -> Any:
    """What the listener of that name does."""
    match name, payload:
        case "splitter", Job(parts):
            return [HandlerResponse(Part(number), to="worker") for number in range(parts)]
        case "splitter", Done(2):
            return HandlerResponse.respond(payload)  # others are still at work, or queued
        case "splitter", _:
            return await trio.sleep(0.1)  # while more comes in for its thread
        case "worker", Part(0) if metadata.attempt == 1:
            raise ValueError("the first attempt always fails")
        case "worker", Part(1):
            raise ValueError("this one always fails")
        case "worker", Part(number):
            await trio.sleep(number / 10)
            return HandlerResponse.respond(Done(number))
        case "bell", Call():
            await trio.lowlevel.checkpoint()
            return HandlerResponse.respond(payload)
        case "cracked", Call():
            await trio.lowlevel.checkpoint()
            raise ValueError("no sound")
        case "stutterer", Call():
            return b"<Part><Number>many</Number></Part>"
        case "stutterer", Huh():
            return HandlerResponse.respond(Done(payload.attempts_left))
        case "prisoner", Call():
            return HandlerResponse(Job(1), to="splitter")  # no peer of it
        case "prisoner", SystemError():
            return HandlerResponse(Part(2), to="worker")
        case "prisoner", Done():
            return HandlerResponse.respond(payload)
        case "planner", _:
            return plan(payload, metadata)
        case "loop", Part(number):
            if number > 1:
                return HandlerResponse(Part(number - 1), to="loop")
            return HandlerResponse.respond(Done(0))
        case "gate", Part(number):
            return HandlerResponse.respond(Done(number))
        case "loop", Done():
            return HandlerResponse.respond(payload)
        case _:
            return None


def plan(payload: Any, metadata: HandlerMetadata) -> Any:
    """Asks to be reminded of an answer, asks for it, and closes the todo as the nudge says."""
    match payload:
        case Call():
            return HandlerResponse(TodoUntil("Done", "worker", "pass it on"), to="system.todo")
        case TodoRegistered():
            return HandlerResponse(Part(2), to="worker")
        case Done():
            sometimes(metadata.todo_nudge, "a nudge")
            return HandlerResponse(
                TodoComplete(metadata.todo_nudge.partition("'")[2].partition("'")[0] or "?")
            )
        case TodoClosed():
            return HandlerResponse.respond(Done(7))
        case _:
            return None


def listeners(world: World) -> list[ListenerConfig]:
    """Each logs when it comes and when it goes."""

    def listener(name: str, takes: Any, does: str | None = None, **more: Any) -> ListenerConfig:
        async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
            world.log.append(f"+{name}")
            try:
                if name == "gate":
                    await world.gate.wait()
                return await handle(does or name, payload, metadata)
            finally:
                world.log.append(f"-{name}")

        return ListenerConfig(name, takes, handler, name, **more)

    return [
        listener("splitter", [Job, Done, SystemError]),
        listener("worker", Part, retries=1, retry_base_delay=0.05, max_concurrent=2),
        listener("bell", Call, broadcast=True),
        listener("bell", Call, "cracked", broadcast=True),
        listener("stutterer", [Call, Huh], is_agent=True, peers=["worker"]),
        listener("prisoner", [Call, Done, SystemError], is_agent=True, peers=["worker"]),
        listener("planner", [Call, Done, TodoRegistered, TodoClosed]),
        listener("gate", Part),
        listener("loop", [Part, Done], budgets=Budgets(messages=2 * LOOPS)),
    ]


CONFIG: Final = OrganismConfig(
    "reference",
    max_concurrent_handlers=HANDLERS,
    max_concurrent_pipelines=HANDLERS + 1,
    max_in_flight=SEATS,
    handler_timeout=5.0,  # with faults some hang; nothing else takes as long
    shutdown_grace=0.5,
    wire=WireLimits(thread_parse_bytes=len(LONG)),
    memory=MemoryLimits(
        max_threads=5
    ),  # two conversations of a root and a thread each leave room for one more
    events=EventLimits(max_history=10_000, buffer=3, max_concurrent_handlers=2),
)


def subscribe(world: World, organism: Organism) -> None:
    """Subscribers that publish: one waits for room as it does, one tells of what the other told."""
    bus = organism.events

    async def republish(event: AgentEvent) -> None:
        world.log.append("+republish")
        try:
            await bus.publish(AgentEvent("custom", "first", event.node_id, data={"of": event.seq}))
        except EventBusClosed:
            pass  # the organism ends
        finally:
            world.log.append("-republish")

    async def relay(event: AgentEvent) -> None:
        world.log.append("+relay")
        try:
            await trio.lowlevel.checkpoint()
            bus.emit(AgentEvent("custom", "second", event.node_id, data=event.data))
        except EventBusClosed:
            pass
        finally:
            world.log.append("-relay")

    async def see(event: AgentEvent) -> None:
        world.seqs.append(event.seq)

    bus.subscribe("dead_letter", republish, buffer=2)
    bus.subscribe("custom", relay, "first", buffer=1)
    bus.subscribe("custom", see)


async def run_one(world: World, name: str, call: Callable[[], Awaitable[Any]]) -> None:
    """Note what a stranger's call came to."""
    world.results[name] = "cancelled"
    try:
        world.results[name] = repr(await call())
    except ConversationFailed as error:
        world.results[name] = str(error.outcome.state)
    except (InjectedFault, MessageRejected, NoResponse, OrganismClosed) as error:
        world.results[name] = type(error).__name__


def strangers(world: World, organism: Organism) -> Mapping[str, Callable[[], Awaitable[Any]]]:
    """Everything that is asked of the organism, by name."""

    async def killed() -> Any:
        receipt = await organism.send(Part(0), to="gate")
        await trio.sleep(0.3)
        world.gate.set()  # so its handler comes back, though it is cut before that
        await organism.kill(receipt.conversation)
        return str((await organism.wait(receipt)).state)

    async def impatient() -> Any:
        with trio.move_on_after(0.15) as scope:
            await organism.inject(message(f'<Part xmlns="">{LONG}<Number>5</Number></Part>', meta=TO_WORKER))
        return scope.cancelled_caught or "in time"

    async def hasty() -> Any:
        for _ in range(3):  # wherever it is by then: in line for a seat, for threads to end, at its answer
            with trio.move_on_after(0.07):
                await organism.ask(Part(2), to="worker")
        return "tired"

    async def patient() -> Any:
        with trio.move_on_after(500):  # for sweeps, which let it fire at any place
            receipt = await organism.inject(
                message(f'<Part xmlns="">{LONG}<Number>2</Number></Part>', meta=TO_WORKER)
            )
            return str((await organism.wait(receipt)).state)

    async def struck() -> Any:
        result = "spared"
        try:
            async with organism.open_conversation("struck") as block, trio.open_nursery() as nursery:
                nursery.start_soon(strike, block.id)
                await trio.sleep(0.1)
                await block.send(Part(3), to="worker")
        except* ConversationFailed:
            result = "struck"
        return result

    async def strike(id: str) -> None:
        await trio.sleep(0.1)
        await organism.kill(id)

    async def turns() -> Any:
        async with organism.open_conversation("turner") as block:
            first = await block.ask(Part(3), to="worker")
            await block.send(Part(4), to="worker")
            return first, await block.ask(Part(LOOPS), to="loop")

    async def idle() -> Any:
        receipt = await organism.send(Part(2), to="worker")
        await organism.wait_idle()
        assert organism._core.outcome(receipt) is not None, "wait_idle returned while a message was in flight"
        return "idle"

    def loops(messages: int) -> Awaitable[Any]:
        return organism.ask(Part(LOOPS), to="loop", budgets=Budgets(messages=messages))

    return {
        "fan-out": lambda: organism.ask(Job(4), to="splitter"),
        "broadcast": lambda: organism.ask(Call("b"), to="bell"),
        "huh": lambda: organism.ask(Call("h"), to="stutterer"),
        "peers": lambda: organism.ask(Call("p"), to="prisoner"),
        "todo": lambda: organism.ask(Call("t"), to="planner"),
        "enough": lambda: loops(2 * LOOPS - 1),
        "too little": lambda: loops(2 * LOOPS - 2),
        "timed": lambda: organism.ask(Part(900), to="worker", budgets=Budgets(seconds=0.4)),
        "refused": lambda: organism.inject(f"<Job>{LONG}<Parts>none</Parts></Job>"),
        "killed": killed,
        "impatient": impatient,
        "hasty": hasty,
        "patient": patient,
        "struck": struck,
        "turns": turns,
        "idle": idle,
    }


UNDISTURBED: Final[Mapping[str, Sequence[str]]] = {
    "fan-out": ["Done(number=2)"],
    "broadcast": ["failed"],
    "huh": ["Done(number=2)"],
    "peers": ["Done(number=2)"],
    "todo": ["Done(number=7)"],
    "enough": ["Done(number=0)"],
    "too little": ["out_of_budget"],
    "timed": ["timed_out"],
    "refused": ["MessageRejected"],
    "killed": ["'cancelled'"],
    "impatient": ["True", "'in time'"],
    "hasty": ["'tired'"],
    "patient": ["'completed'"],
    "struck": ["'spared'", "'struck'"],
    "turns": ["(Done(number=3), Done(number=0))"],
    "idle": ["'idle'"],
    "again and again": ["OrganismClosed"],
    "first": ["'idle'"],
    "last": ["'sent'"],
    "drained": ["(Done(number=0),)"],
}


async def come_again(world: World, organism: Organism) -> None:
    """A stranger with long documents, one after the other, until he is told that it is closed."""

    async def call() -> None:
        while True:
            await organism.inject(message(f'<Part xmlns="">{LONG}<Number>1</Number></Part>', meta=TO_WORKER))
            await trio.sleep(0.35)

    await run_one(world, "again and again", call)


async def begin(organism: Organism) -> str:
    """The first: alone, so that a lost wake-up is never made up for by another."""
    await organism.send(Call("first"), to="bell")
    await organism.wait_idle()
    return "idle"


async def leave(world: World, organism: Organism) -> str:
    """The last that is asked of it: what takes too long, what waits for that, and one to be drained."""
    long = '<Part xmlns=""><Number>900</Number></Part>'
    await organism.inject(message(long, long, meta=TO_WORKER))
    await organism.send(Part(900), to="worker")
    world.drained = await organism.send(Part(LOOPS), to="loop")
    return "sent"


async def reference(**ports: Any) -> dict[str, str]:
    """The whole scenario, from before it is opened to long after."""
    world = World()
    try:
        async with (
            trio.open_nursery() as outside,
            open_watched_organism(CONFIG, listeners=listeners(world), **ports) as organism,
        ):
            subscribe(world, organism)
            await run_one(world, "first", lambda: begin(organism))
            # Until long after: he is told that it is closed.
            outside.start_soon(come_again, world, organism, name="again and again")  # noqa: ASYNC111
            async with trio.open_nursery() as nursery:
                for name, call in strangers(world, organism).items():
                    nursery.start_soon(partial(run_one, world, name, call), name=name)
            await run_one(world, "last", lambda: leave(world, organism))
        if world.drained is not None:
            world.results["drained"] = repr((await organism.wait(world.drained)).payloads)
    finally:
        frozen = list(world.log)
        with trio.CancelScope(shield=True):
            await trio.sleep(AFTERWARDS)
        assert world.log == frozen, f"done after return: {world.log[len(frozen) :]}"
        begun = sorted(line[1:] for line in frozen if line[0] == "+")
        assert begun == sorted(line[1:] for line in frozen if line[0] == "-"), (
            "not all that was begun has left"
        )
        assert world.seqs == sorted(set(world.seqs)), "a subscriber saw events out of order, or twice"
    return world.results
