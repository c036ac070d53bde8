"""A random organism in which no two things happen at the same instant, so nothing depends on order.

What a handler does follows from the path of its message alone: from which message it came, as which
output. It sleeps for a time of its own first. So the same seed gives the same trace however tasks are
scheduled, and whoever watches; the tests of the event bus hold it to that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, cast

import trio
import trio.testing

from phloem.config import Budgets, EventLimits, ListenerConfig, OrganismConfig
from phloem.errors import PhloemError
from phloem.messages import HandlerMetadata, HandlerResponse, Huh, Outcome, ShutdownReport, SystemError
from phloem.organism import Organism, open_organism
from phloem.pump import Observer
from phloem.pump.ports import SeededIds

NAMES: Final = ("a", "b", "c", "d")
BUDGETS: Final = Budgets(messages=20, hops=8, depth=4, seconds=12.0)
LIMITS: Final = EventLimits(max_history=100_000, buffer=8, max_concurrent_handlers=3)
Watch = Callable[[Organism], Awaitable[None]]


@dataclass
class Step:
    path: str


@dataclass
class Done:
    path: str


@dataclass
class Unknown:
    """Nobody takes it."""

    path: str


@dataclass
class Life:
    """One run: what handlers did and when, how messages and conversations ended, and how long it took."""

    trace: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    endings: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    report: ShutdownReport | None = None
    counts: Any = None
    seconds: float = 0.0  # from its opening until its block is left
    organism: Any = None

    @property
    def all(self) -> tuple[Any, ...]:
        """What must be the same whoever watches. What one cut ends, it ends in any order."""
        return sorted(self.trace), sorted(self.endings), self.outcomes, self.report, self.counts


class Notes:
    """An observer that keeps how messages and conversations ended."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def ended(self, delivery: Any, cause: Any) -> None:
        self._life.endings.append((delivery.id, str(delivery.ending), "" if cause is None else cause.reason))

    def conversation_ended(self, conversation: Any, outcome: Outcome) -> None:
        assert conversation.id not in self._life.outcomes
        self._life.outcomes[conversation.id] = outcome

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def actor(life: Life, seed: int, name: str) -> Callable[[Any, HandlerMetadata], Awaitable[Any]]:
    """A handler that does at each path what the seed says, after a sleep of a length of its own."""

    async def handle(payload: Any, metadata: HandlerMetadata) -> Any:
        path = getattr(payload, "path", metadata.message_id)
        random = Random(f"{seed} {path} {name} {metadata.attempt}")
        entry = [path, name, metadata.attempt, type(payload).__name__, trio.current_time()]
        result = "cut"
        try:
            await trio.sleep(random.uniform(0.1, 4.0))
            answer, result = act(random, path)
            if answer is None and result == "raises":
                raise ValueError(path)
            return answer
        finally:
            life.trace.append((*entry, trio.current_time(), result))

    return handle


def act(random: Random, path: str) -> tuple[Any, str]:
    """(what the handler returns, a word for it)."""
    choice = random.randrange(12)
    if choice < 4:
        return HandlerResponse.respond(Done(f"{path}.r")), "responds"
    if choice < 8:
        targets = random.choices([*NAMES, "nobody"], [4, 4, 4, 4, 1], k=random.randint(1, 3))
        steps = [HandlerResponse(Step(f"{path}.{n}"), to=to) for n, to in enumerate(targets)]
        return steps, f"forwards to {targets}"
    if choice == 8:
        return None, "nothing"
    if choice == 9:
        return None, "raises"
    if choice == 10:
        return HandlerResponse(Unknown(f"{path}.0")), "misroutes"
    return f"<Step><Path>{path}.0</Path></Stp>".encode(), "writes what is no XML"


def listeners(life: Life, seed: int) -> list[ListenerConfig]:
    """``b`` is one at a time, ``c`` retries, ``d`` is an agent that may address one peer."""
    takes = [Step, Done, Huh, SystemError]
    own: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {"max_concurrent": 1},
        "c": {"retries": 2},
        "d": {"is_agent": True, "peers": ["a"]},
    }
    return [ListenerConfig(name, takes, actor(life, seed, name), name, **own[name]) for name in NAMES]


async def use(organism: Organism, seed: int) -> None:
    """Strangers who come one after the other, some of whom go, and one who shuts everything down."""

    async def stranger(number: int) -> None:
        random = Random(f"{seed} stranger {number}")
        await trio.sleep(random.uniform(0.0, 10.0))
        step, to = Step(str(number)), random.choice(NAMES)
        try:
            match number % 4:
                case 0:
                    await organism.ask(step, to=to)
                case 1:
                    with trio.move_on_after(random.uniform(1.0, 8.0)):
                        await organism.ask(step, to=to)
                case 2:
                    receipt = await organism.send(step, to=to)
                    await trio.sleep(random.uniform(1.0, 8.0))
                    await organism.kill(receipt.conversation)
                case _:
                    async with organism.open_conversation(f"stranger {number}") as conversation:
                        await conversation.send(step, to=to)
                        await trio.sleep(random.uniform(0.1, 2.0))
                        await conversation.ask(Step(f"{number}b"), to=random.choice(NAMES))
        except PhloemError:
            pass  # how it ended is in its outcome

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(stranger, number)
        if seed % 3 == 0:
            await trio.sleep(Random(f"{seed} end").uniform(2.0, 12.0))
            await organism.shutdown(2.0)


def live(seed: int, watch: Watch | None = None) -> Life:
    """The whole life of the organism of that seed, under virtual time; ``watch`` subscribes whom it likes."""
    life = Life()
    config = OrganismConfig(
        "causal",
        listeners(life, seed),
        budgets=BUDGETS,
        max_in_flight=5,
        max_concurrent_handlers=4,
        handler_timeout=1_000.0,
        shutdown_grace=50.0,
        events=LIMITS,
    )

    async def whole() -> None:
        notes = cast("Observer", Notes(life))
        ids, random = SeededIds(b"causal"), Random(seed)
        async with open_organism(config, ids=ids, random=random, observer=notes) as organism:
            life.organism = organism
            if watch is not None:
                await watch(organism)
            await use(organism, seed)
        life.seconds = trio.current_time()
        cut = sorted(organism.report.abandoned_messages, key=lambda row: row.id)
        life.report = replace(organism.report, abandoned_messages=tuple(cut))
        life.counts = organism._core.ledger.by_listener, organism._core.ended

    trio.run(whole, clock=trio.testing.MockClock(autojump_threshold=0))
    return life
