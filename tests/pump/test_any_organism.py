"""Whatever handlers do, and whenever callers cut them: what holds for every organism holds for these."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.config import Budgets, ListenerConfig, MemoryLimits
from phloem.errors import PhloemError, TooManyTodos
from phloem.memory.history import Forgotten
from phloem.messages import (
    TODO,
    ConversationState,
    HandlerMetadata,
    HandlerResponse,
    Huh,
    Outcome,
    Receipt,
    SystemError,
)
from phloem.organism import Organism
from phloem.primitives import TodoRegistered, TodoUntil
from phloem.pump.within import get_context_buffer, get_todo_registry
from support.auditing import open_audited
from support.listeners import Ask, Reply

NAMES = ("a", "b", "twin", "twin", "one")
DEEPEST = 5  # threads below the root
BUDGETS = Budgets(messages=60, hops=25, depth=DEEPEST)
HEAD = b'<message xmlns="https://xml-pipeline.org/ns/envelope/v1"><meta><from>x</from><to>a</to></meta>'
MEMORIES = (
    MemoryLimits(),
    MemoryLimits(max_slots_per_thread=1, max_slots_per_conversation=4, max_todos=2, keep_finished=1),
    MemoryLimits(max_bytes_per_conversation=100, keep_finished=3),
    MemoryLimits(max_slots_per_thread=2, max_slots_per_conversation=9, on_full="refuse"),
    MemoryLimits(max_threads=4, max_todos=1),
)


@dataclass
class Unknown:
    """Nobody takes it."""

    text: str


ANSWERS: tuple[Any, ...] = (Reply("x"), SystemError("x", "y"), Huh("x", "x", "x", "x", 0, "x"), Unknown("x"))


class World:
    """Handlers that act at random, and what nobody may ever see happen to them."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.retries = random.choice([0, 0, 1, 2])
        self.memory = random.choice(MEMORIES)
        self.failed: dict[str, list[str]] = {}  # message -> todos of its failed attempts
        self.undone: set[str] = set()
        self.notified: set[str] = set()  # conversations in which something was told that nobody refuses
        self.running: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.busy: Counter[int] = Counter()
        self.limits = [1 if name == "one" else random.choice([None, 1, 2]) for name in NAMES]
        self.owner: dict[str, tuple[str, int]] = {}
        self.organisms: list[Organism] = []
        self.outcomes: list[Outcome] = []
        self.broken: list[str] = []

    def listeners(self) -> list[ListenerConfig]:
        return [
            ListenerConfig(
                name,
                [Ask, Reply, SystemError] if name == "one" else [Ask, Reply, Huh, SystemError],
                self.handler(number),
                "Acts at random.",
                broadcast=name == "twin",
                is_agent=name == "b",
                peers=["a", "twin"] if name == "b" else None,
                max_concurrent=self.limits[number],
                retries=self.retries,
                retry_base_delay=1.0,
                handler_timeout=10.0,
                budgets=Budgets(seconds=30.0) if name == "a" else None,
            )
            for number, name in enumerate(NAMES)
        ]

    def handler(self, listener: int) -> Any:
        async def handle(payload: Any, metadata: HandlerMetadata) -> Any:
            thread, message = metadata.thread_id, metadata.message_id
            self.attempts[message] += 1
            self.running[thread] += 1
            self.check("attempts", self.attempts[message] == metadata.attempt <= self.retries + 1)
            self.check("one dispatch per thread", self.running[thread] == 1)
            for id in (thread, message):
                owner = self.owner.setdefault(id, (metadata.conversation, listener))
                self.check("ids are never shared", owner == (metadata.conversation, listener))
            self.busy[listener] += 1
            self.check("limits hold", self.busy[listener] <= (self.limits[listener] or 1_000))
            deepest = max(len(thread.chain) for thread in self.organisms[0].threads)
            self.check("depth holds", deepest <= DEEPEST + 1)
            ended = {outcome.conversation for outcome in self.outcomes}
            self.check("nothing runs of what has ended", metadata.conversation not in ended)
            opened: list[str] = []
            self.undone.update(self.failed.pop(message, ()))
            try:
                self.remember(payload, metadata, opened)
                await trio.sleep(self.random.choice([0, 0, 0, 1, 2, 20]))
                self.remember(payload, metadata, opened)
                return self.answer()
            except BaseException:
                self.failed[message] = opened  # undone as soon as that is booked
                raise
            finally:
                self.running[thread] -= 1
                self.busy[listener] -= 1

        return handle

    def remember(self, payload: Any, metadata: HandlerMetadata, opened: list[str]) -> None:
        """Use what a handler may use of memory, and look at it closely."""
        buffer, todos, random = get_context_buffer(), get_todo_registry(), self.random
        *before, own = buffer.get_thread()
        self.check(
            "a handler finds its own message last",
            (own.metadata.message_id, own.payload) == (metadata.message_id, payload),
        )
        kept = [slot for slot in before if not isinstance(slot.payload, Forgotten)]
        self.check("threads are bounded", len(kept) <= self.memory.max_slots_per_thread)
        indexes = [slot.metadata.slot_index for slot in kept] + [own.metadata.slot_index]
        first = indexes[-1] - len(kept)
        self.check("a thread's messages have no gap", indexes == list(range(first, indexes[-1] + 1)))
        gone = sum(slot.payload.count for slot in before if isinstance(slot.payload, Forgotten))
        self.check("what is forgotten is counted", gone == first)
        whole = list(buffer.get_conversation())
        ids = [slot.metadata.message_id for slot in whole]
        self.check("each message is kept once", max(Counter(filter(None, ids)).values()) == 1)
        if isinstance(payload, Huh | SystemError | TodoRegistered):
            self.notified.add(metadata.conversation)
        if self.memory.on_full == "refuse" and metadata.conversation not in self.notified:
            lost = [slot for slot in whole if isinstance(slot.payload, Forgotten)]
            self.check("where memory refuses, nothing is forgotten", not lost)
        organism = self.organisms[0]
        turns = organism._core.live_turns()
        here = sum(len(turn.live) for turn in turns if turn.conversation.id == metadata.conversation)
        memory = organism._core.conversations[metadata.conversation].memory
        if self.memory.on_full == "refuse":
            kept_free = 0 if memory is None else memory._promised
            self.check("where memory refuses, room is kept for what is in flight", kept_free == here)
        stats = buffer.get_stats()
        live = {delivery.id for turn in turns for delivery in turn.live}
        ended = [
            s for s in whole if s.metadata.message_id not in live and not isinstance(s.payload, Forgotten)
        ]
        self.check("what is kept is counted", stats["total_slots"] == len(ended))
        self.check(
            "conversations are bounded", stats["total_slots"] <= self.memory.max_slots_per_conversation
        )
        mine = [*todos.get_pending_for(), *todos.get_raised_for()]
        self.check("todos are bounded", len(mine) <= self.memory.max_todos)
        for message in self.failed.keys() - live:
            self.undone.update(self.failed.pop(message))
        there = {thread.id for thread in organism.threads}
        self.check("todos go with their thread", all(todo.thread_id in there for todo in organism.todos))
        seen = {watcher.id for watcher in organism.todos}
        self.check("what a failed attempt registered is undone", not seen & self.undone)
        for _ in range(random.choice([0, 0, 1, 2])):
            try:
                opened.append(todos.register(wait_for=random.choice(["Ask", "REPLY", "Unknown"])))
            except TooManyTodos:
                self.check("room for todos is given", self.memory.max_todos <= 2)
        if mine and random.random() < 0.4:
            self.check(
                "what is mine can be closed once", todos.close(mine[0].id) and not todos.close(mine[0].id)
            )
        elif random.random() < 0.1:
            todos.close_all_for_thread()

    def check(self, claim: str, holds: bool) -> None:
        """What a handler raises is data to the pump, so what it sees is noted here."""
        if not holds:
            self.broken.append(claim)

    def answer(self) -> Any:
        random = self.random
        match random.randrange(10):
            case 0 | 1 | 2:
                return HandlerResponse.respond(random.choice([Reply("x"), Ask("x")]))
            case 3 | 4 | 5:
                targets = random.choices(["a", "b", "twin", "one", "nobody", None], k=random.randint(1, 4))
                todo = [HandlerResponse(TodoUntil("Reply"), to=TODO)] if random.random() < 0.2 else []
                return todo + [HandlerResponse(Ask("x"), to=target) for target in targets]
            case 6:
                return None
            case 7:
                raise ValueError("x")
            case 8:
                good, bad = "<Ask><Text>x</Text></Ask>", "<Ask><Txt>x</Txt></Ask>"
                payloads = "".join(random.choices([good, bad], k=random.randint(1, 3)))
                return HEAD + payloads.replace("<Ask>", '<Ask xmlns="">').encode() + b"</message>"
            case _:
                return [HandlerResponse.respond(Reply("x")), HandlerResponse.respond(random.choice(ANSWERS))]


async def live(world: World) -> Organism:
    random = world.random
    receipts: list[Receipt] = []

    async def stranger(number: int) -> None:
        await trio.sleep(random.randrange(5))
        try:
            with trio.move_on_after(random.choice([1, 5, 1_000])):
                if number % 3 == 0:
                    await organism.ask(Ask("x"), to=random.choice(NAMES))
                elif number % 3 == 1:
                    receipts.append(await organism.send(Ask("x"), to=random.choice(NAMES)))
                    if random.random() < 0.3:
                        await organism.kill(random.choice(receipts).conversation)
                else:
                    async with organism.open_conversation() as conversation:
                        for _ in range(random.randint(1, 4)):
                            with trio.move_on_after(random.choice([1, 1_000])):
                                receipts.append(await conversation.send(Ask("x"), to=random.choice(NAMES)))
                                await conversation.ask(Ask("x"), to=random.choice(NAMES))
        except PhloemError:
            pass  # how it ended is in its outcome

    async with open_audited(
        *world.listeners(),
        outcomes=world.outcomes,
        budgets=BUDGETS,
        thread_scheduling=random.choice(["breadth-first", "depth-first"]),
        max_concurrent_handlers=random.choice([1, 2, 20]),
        max_in_flight=random.choice([1, 3, 100]),
        shutdown_grace=random.choice([0, 5, 10_000]),
        memory=world.memory,
        random=Random(1),
    ) as organism:
        world.organisms.append(organism)
        async with trio.open_nursery() as nursery:
            for number in range(random.randint(1, 8)):
                nursery.start_soon(stranger, number)
            if random.random() < 0.2:
                await trio.sleep(random.randrange(30))
                await organism.shutdown(random.choice([0, 5]))
    return organism


def check(seed: int) -> tuple[Organism, World]:
    world = World(Random(seed))
    organism = trio.run(live, world, clock=trio.testing.MockClock(autojump_threshold=0))
    assert world.broken == []
    assert sum(world.running.values()) == 0
    for outcome in world.outcomes:
        if outcome.state in (ConversationState.COMPLETED, ConversationState.REJECTED):
            continue
        assert outcome.cause is not None
    assert len(world.outcomes) + 1 == sum(organism._pump.core.ended.values()), "and Boot's"
    stats = organism.context.get_stats()
    assert (stats["thread_count"], stats["total_slots"], stats["total_bytes"]) == (0, 0, 0)
    assert stats["finished"] <= world.memory.keep_finished
    assert organism.todos == ()
    return organism, world


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32))
def test_whatever_handlers_do_the_books_close_and_nothing_is_left(seed: int) -> None:
    check(seed)
