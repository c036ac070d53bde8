"""Whatever handlers do to todos, and however they end: what holds for every book of todos holds for these."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random
from typing import Any

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.config import Budgets, ListenerConfig, MemoryLimits, OrganismConfig
from phloem.errors import PhloemError, TooManyTodos
from phloem.messages import Ending, HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import Organism, open_organism
from phloem.primitives import TodoClosed, TodoComplete, TodoRegistered, TodoUntil
from phloem.pump.within import get_todo_registry
from support.listeners import Ask, Note, Reply
from support.sweeping import Recorder, assert_nothing_is_remembered
from support.watching import unfit

NAMES = ("agent", "twin", "twin", "plain")
AWAITED = ("Ask", "reply", "NOTE", "SystemError", "TodoRegistered", "Nothing")
MOST = 6  # open todos in one conversation


@dataclass
class Deeds:
    """What one attempt did to todos, and whether that is decided: None while it is not."""

    opened: dict[str, str]  # id -> thread
    closed: set[str]
    kept: bool | None = None
    running: bool = True


class World(Recorder):
    """Handlers that act at random, what they did, and what nobody may ever see."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.attempts: dict[str, list[Deeds]] = defaultdict(list)  # by message
        self.raised_by: dict[str, str | None] = {}
        self.broken: list[str] = []
        self.organism: Organism | None = None
        self.did: set[str] = set()

    @property
    def ours(self) -> set[str]:
        """The ids of what handlers have registered themselves, not by the service."""
        return {id for attempts in self.attempts.values() for deeds in attempts for id in deeds.opened}

    def ended(self, delivery: Any, cause: Any) -> None:
        super().ended(delivery, cause)
        for deeds in self.attempts[delivery.id][-1:]:
            if deeds.kept is None:
                deeds.kept = delivery.ending is Ending.HANDLED

    def retrying(self, delivery: Any, cause: Any, delay: float) -> None:
        super().retrying(delivery, cause, delay)
        self.attempts[delivery.id][-1].kept = False

    def look(self) -> None:
        """Compare the books with what handlers did; what an attempt did that just ends is left out."""
        organism = self.organism
        if organism is None:
            return
        self.broken += unfit(organism)
        live = {thread.id for thread in organism.threads}
        shown = {todo.id: todo for todo in organism.todos}
        every = [deeds for attempts in self.attempts.values() for deeds in attempts]
        unclear = {
            id
            for deeds in every
            if deeds.kept is None and not deeds.running
            for id in (*deeds.opened, *deeds.closed)
        }
        counts = [deeds for deeds in every if deeds.kept or (deeds.kept is None and deeds.running)]
        closed = {id for deeds in counts for id in deeds.closed}
        expected = {
            id
            for deeds in counts
            for id, thread in deeds.opened.items()
            if thread in live and id not in closed
        }
        ours = {id for deeds in every for id in deeds.opened}
        if (set(shown) & ours) - unclear != expected - unclear:
            self.broken.append(f"open are {sorted(set(shown) & ours)}, expected {sorted(expected)}")
        for id, todo in shown.items():
            before = self.raised_by.setdefault(id, todo.triggered_from)
            if before is not None and before != todo.triggered_from:
                self.broken.append(f"{id} was raised by {before}, then by {todo.triggered_from}")
            self.raised_by[id] = todo.triggered_from
            if todo.eyebrow_raised and todo.from_listener.casefold() not in ("", str(todo.triggered_from)):
                self.broken.append(f"{id} was raised by {todo.triggered_from}")

    def listeners(self) -> list[ListenerConfig]:
        random = self.random
        takes = [[Ask, Note, Reply, Huh, SystemError], [Ask, Note, Reply, TodoRegistered, TodoClosed, Huh]]
        return [
            ListenerConfig(
                name,
                takes[random.randrange(2)] if name != "twin" else takes[0],
                self.handler(),
                "Acts at random.",
                broadcast=name == "twin",
                is_agent=name == "agent",
                peers=["twin", "plain"] if name == "agent" else None,
                max_concurrent=random.choice([None, 1, 2]),
                retries=random.choice([0, 1, 2]),
                retry_base_delay=1.0,
                handler_timeout=5.0,
            )
            for name in NAMES
        ]

    def handler(self) -> Any:
        async def handle(payload: Any, metadata: HandlerMetadata) -> Any:
            todos, random = get_todo_registry(), self.random
            deeds = Deeds({}, set())
            self.attempts[metadata.message_id].append(deeds)
            try:
                if metadata.todo_nudge != todos.format_nudge(todos.get_raised_for()):
                    self.broken.append("a nudge is not what is raised")
                for _ in range(random.randint(1, 4)):
                    self.look()
                    self.act(metadata, deeds)
                    self.look()
                    await trio.sleep(random.choice([0, 0, 0, 1, 2, 20]))
                return self.answer()
            finally:
                deeds.running = False

        return handle

    def act(self, metadata: HandlerMetadata, deeds: Deeds) -> None:
        todos, random = get_todo_registry(), self.random
        mine = [*todos.get_raised_for(), *todos.get_pending_for()]
        match random.randrange(6):
            case 0 | 1 | 2:
                try:
                    sender = random.choice([None, "agent", "TWIN", "outside", "system"])
                    id = todos.register(None, None, random.choice(AWAITED), sender)
                    deeds.opened[id] = metadata.thread_id
                    self.did.add("open")
                except TooManyTodos:
                    self.did.add("too many")
            case 3 | 4 if mine:
                watcher = random.choice(mine)
                assert todos.close(watcher.id)
                deeds.closed.add(watcher.id)
                self.did.add("close")
            case 5:
                here = {watcher.id for watcher in mine if watcher.thread_id == metadata.thread_id}
                assert todos.close_all_for_thread() == len(here)
                deeds.closed |= here
            case _:
                pass

    def answer(self) -> Any:
        random = self.random
        match random.randrange(9):
            case 0 | 1:
                return HandlerResponse.respond(random.choice([Reply("x"), Note("x")]))
            case 2 | 3:
                targets = random.choices(["agent", "twin", "plain", "nobody"], k=random.randint(1, 3))
                return [HandlerResponse(random.choice([Ask, Note])("x"), to=target) for target in targets]
            case 4:
                return HandlerResponse(TodoUntil(random.choice(AWAITED)))
            case 5:
                ours = {
                    id for attempts in self.attempts.values() for deeds in attempts for id in deeds.opened
                }
                theirs = [id for id in self.raised_by if id not in ours]
                return HandlerResponse(TodoComplete(random.choice(theirs))) if theirs else None
            case 6:
                raise ValueError("x")
            case 7:
                return b"<Ask><Txt>x</Txt></Ask>"
            case _:
                return None


async def live(world: World) -> None:
    random = world.random

    async def stranger(organism: Organism) -> None:
        await trio.sleep(random.randrange(5))
        try:
            with trio.move_on_after(random.choice([2, 8, 1_000])):
                if random.random() < 0.4:
                    await organism.ask(Ask("x"), to=random.choice(NAMES))
                    return
                async with organism.open_conversation() as block:
                    for _ in range(random.randint(1, 6)):
                        with trio.move_on_after(random.choice([1, 5, 1_000])):
                            receipt = await block.send(random.choice([Ask, Note])("x"), random.choice(NAMES))
                            await organism.wait(receipt)
                        world.look()
                    if random.random() < 0.2:
                        await organism.kill(block.id)
        except PhloemError:
            pass  # how it ended is in its outcome

    config = OrganismConfig(
        "any",
        world.listeners(),
        budgets=Budgets(messages=60, hops=25, depth=6),
        thread_scheduling=random.choice(["breadth-first", "depth-first"]),
        max_concurrent_handlers=random.choice([1, 2, 20]),
        max_in_flight=random.choice([1, 3, 100]),
        shutdown_grace=random.choice([0, 10_000]),
        memory=MemoryLimits(max_todos=MOST),
    )
    async with open_organism(config, observer=world, random=Random(1)) as organism:
        world.organism = organism
        async with trio.open_nursery() as nursery:
            for _ in range(random.randint(1, 4)):
                nursery.start_soon(stranger, organism)
        if random.random() < 0.7:
            await organism.wait_idle()
            assert_nothing_is_remembered(organism)
    report = organism.report
    assert report.accepted == sum(getattr(report, ending.value) for ending in Ending)
    assert_nothing_is_remembered(organism)
    assert organism._pump.slots.borrowed() == 0


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32))
def test_whatever_handlers_do_todos_are_what_handled_attempts_made_of_them(seed: int) -> None:
    world = World(Random(seed))
    trio.run(live, world, clock=trio.testing.MockClock(autojump_threshold=0))
    assert world.broken == []


def test_the_search_meets_all_that_can_be_done() -> None:
    did: set[str] = set()
    raised = 0
    for seed in range(60):
        world = World(Random(seed))
        trio.run(live, world, clock=trio.testing.MockClock(autojump_threshold=0))
        did |= world.did
        raised += sum(by is not None for by in world.raised_by.values())
        if world.retries:
            did.add("retry")
    assert did == {"open", "close", "too many", "retry"}
    assert raised > 20
