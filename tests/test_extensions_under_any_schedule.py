"""Sources, streams, batches and users' steps together, under any schedule, and cut at any step.

Each seed is another organism: few seats and slots, users' steps of every kind wherever they fit, handlers
that forward, answer, fail, send, kill and stop it, and strangers by every way in, who give up now and
then. Every pump is watched; what else has to hold is in ``World.check``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator
from random import Random
from typing import Any, Final

import pytest
import trio

from phloem.config import Budgets, OrganismConfig
from phloem.errors import ConfigurationError, PhloemError
from phloem.feeding.attached import Attached
from phloem.feeding.batches import BatchMessage
from phloem.messages import ConversationState, DeadLetter, HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import Organism
from phloem.pump.pipeline import STEPS, Pipeline
from phloem.pump.ready_made import (
    branch,
    deadline,
    drop_if,
    expand,
    limit,
    pace,
    rate,
    reject_if,
    sample,
    tap,
    transform,
)
from phloem.pump.sources import Source
from phloem.testing import (
    check_pump,
    current_run,
    explore,
    open_simulated_organism,
    simulate,
    sometimes,
    sweep,
)
from support.listeners import Ask, Reply, listener
from support.simulating import runs

STEPS_OF_TASKS: Final = 200_000
LISTENERS: Final = ("a", "b", "twin", "plain", "out", "nobody")
ENDS: Final = [state.value for state in ConversationState if state is not ConversationState.REJECTED]
XML: Final = '<message xmlns="https://xml-pipeline.org/ns/envelope/v1"><meta><from>x</from><to>%s</to></meta>%s</message>'


class StepFailed(Exception):
    """What steps, handlers and streams of this test raise."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of organisms in which everything goes wrong have nothing to tell."""
    log = logging.getLogger("phloem")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)


def document(to: str, text: str = "x") -> bytes:
    return (XML % (to, f'<Ask xmlns=""><Text>{text}</Text></Ask>')).encode()


class World:
    """One organism, and all that happens to it."""

    def __init__(self) -> None:
        run = current_run()
        assert run is not None
        self.random = Random(run.random.getrandbits(64))
        self.organism: Any = None
        self.sources: list[Source] = []
        self.streams: list[Attached] = []
        self.broken: list[str] = []

    def often(self, chance: float) -> bool:
        return self.random.random() < chance

    def of(self, *values: Any) -> Any:
        return self.random.choice(values)

    # -- users' steps ---------------------------------------------------------------------------

    def user(self, result: Callable[[Any], Any], *, may_wait: bool = True) -> Callable[[Any], Any]:
        """A user's function: plain, or async and slow; now and then it raises."""

        def plain(item: Any) -> Any:
            if self.often(0.05):
                raise StepFailed
            return result(item)

        async def slow(item: Any) -> Any:
            await trio.sleep(self.of(0, 0.01, 3))
            return plain(item)

        return slow if may_wait and self.often(0.4) else plain

    def step(self) -> Any:
        def several(item: Any) -> Any:
            if isinstance(item, Ask) or getattr(item, "tag", "") == "Ask":
                return [Ask("one of several")] * self.of(0, 1, 1, 2)
            return [item if not hasattr(item, "tag") else Reply("x")]

        makers: list[Callable[[], Any]] = [
            lambda: tap(self.user(lambda _: None)),
            lambda: sample(0.5, self.user(lambda _: None)),
            lambda: reject_if(self.user(lambda _: self.often(0.1)), "mine"),
            lambda: drop_if(self.user(lambda _: self.often(0.1))),
            lambda: transform(self.user(lambda payload: payload)),
            lambda: expand(self.user(several)),
            lambda: branch(
                self.user(lambda _: self.often(0.3), may_wait=False), to=self.of("a", "twin", "dead")
            ),
            lambda: limit(self.of(1, 2)),
            lambda: pace(self.of(0.01, 1)),
            lambda: rate(self.of(1, 100), self.of(1, 3)),
            lambda: deadline(self.of(0.05, 5)),
        ]
        made = self.random.choice(makers)
        return made()

    def pipeline(self) -> Pipeline:
        pipeline = Pipeline.default()
        for _ in range(self.of(0, 5, 40)):  # most of them do not fit where they are tried
            at, before, step = self.random.choice(STEPS).name, self.often(0.5), self.step()
            try:
                pipeline = pipeline.before(at, step) if before else pipeline.after(at, step)
            except ConfigurationError:
                continue
        return pipeline

    # -- listeners ------------------------------------------------------------------------------

    def result(self, payload: Any) -> Any:
        if isinstance(payload, Huh | SystemError):
            return None
        return self.of(
            None,
            HandlerResponse.respond(Reply("x")),
            HandlerResponse.respond(Reply("x")),
            [HandlerResponse(Ask("x"), to=self.of(*LISTENERS)) for _ in range(self.of(1, 1, 3))],
            document(self.of(*LISTENERS)),
            [HandlerResponse.respond(Reply("x")), HandlerResponse.respond(Ask("\0"))],
        )

    async def handle(self, payload: Any, metadata: HandlerMetadata) -> Any:
        chance = self.random.random()
        if chance < 0.3:
            await trio.sleep(self.of(0.01, 2, 20))
        elif chance < 0.35:
            with self.allowed():
                await self.organism.send(Ask("from within"), "b")
        elif chance < 0.37:
            await self.organism.kill(metadata.conversation)
        elif chance < 0.375:
            await self.organism.shutdown(self.of(0, 100))
        elif chance < 0.45:
            raise StepFailed
        return self.result(payload)

    def plain(self, payload: Any, metadata: HandlerMetadata) -> Any:
        return self.result(payload)

    async def take(self, data: Any, metadata: HandlerMetadata) -> None:
        if not (isinstance(data, bytes) and data.startswith(b"<message")):
            self.broken.append(f"egress was given {data!r}")

    def config(self) -> OrganismConfig:
        def bounds() -> Any:
            return {
                "max_concurrent": self.of(None, 1, 2),
                "retries": self.of(0, 1),
                "handler_timeout": self.of(1.0, 60.0),
            }

        takes = [Ask, Reply, Huh, SystemError]
        return OrganismConfig(
            "any",
            [
                listener("a", takes, self.handle, **bounds()),
                listener("b", takes, self.handle, **bounds()),
                *(listener("twin", takes, self.handle, broadcast=True, **bounds()) for _ in range(2)),
                listener("plain", takes, self.plain, **bounds()),
                listener("out", Ask, self.take, **bounds()),
                listener("dead", [DeadLetter, Ask, Huh, SystemError], self.handle, **bounds()),
            ],
            egress=("out",),
            max_in_flight=self.of(1, 2, 100),
            max_concurrent_handlers=self.of(1, 3, 100),
            max_concurrent_pipelines=self.of(1, 100),
            max_sync_handlers=1,
            shutdown_grace=self.of(0.0, 5.0, 1000.0),
            budgets=Budgets(messages=self.of(5, 50), hops=5, seconds=self.of(3.0, 30.0)),
        )

    # -- strangers ------------------------------------------------------------------------------

    def allowed(self) -> Any:
        return _Allowed()

    async def stranger(self, source: Source | None = None) -> None:
        way: Any = self.organism if source is None else source
        for _ in range(self.of(2, 6)):
            with self.allowed(), trio.move_on_after(self.of(math.inf, 5, 0.01)):
                to, text = self.of(*LISTENERS), "x" * self.of(1, 1, 70_000)
                if self.often(0.5):
                    await way.inject(document(to, text))
                else:
                    await (way.ask if self.often(0.5) else way.send)(Ask("x"), to)

    async def source(self, name: str) -> None:
        with self.allowed():
            async with self.organism.open_source(name, priority=self.often(0.3)) as source:
                self.sources.append(source)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.stranger, source)
                    nursery.start_soon(self.stranger, source)
                    if self.often(0.3):
                        await trio.sleep(self.of(0, 2))
                        source.close()

    async def chunks(self, data: bytes, *, breaks: bool) -> AsyncIterator[bytes]:
        while data:
            size = self.of(1, 30, 1000)
            yield data[:size]
            data = data[size:]
            await trio.sleep(self.of(0, 0, 0.5))
            if breaks and self.often(0.1):
                raise StepFailed

    async def stream(self, name: str) -> None:
        framing = self.of("xml", "ndjson", "lines")
        message = {
            "xml": document("a"),
            "ndjson": b'{"to": "a", "payload": {"Ask": {"text": "x"}}}',
            "lines": b"x",
        }
        data = b"\n".join(self.of(message[framing], message[framing], b"<no & {message") for _ in range(6))
        cut = data[: self.random.randrange(len(data))] if self.often(0.3) else data
        to = "out" if framing == "lines" else None
        with self.allowed():
            bytes_ = self.chunks(cut, breaks=self.often(0.3))
            stream = self.organism.attach(bytes_, sender=name, framing=framing, to=to)
            self.streams.append(stream)
            with trio.move_on_after(self.of(0, 1, math.inf)):
                await stream.wait_done()
            if self.often(0.3):
                stream.close()

    async def batch(self) -> None:
        count, ordered, leave = self.of(1, 8), self.often(0.5), self.of(None, None, 2)
        messages = [
            self.of(document("a"), BatchMessage(Ask("x"), "b"), Ask("nobody's")) for _ in range(count)
        ]
        got: list[int] = []
        async with self.organism.open_batch(
            messages, ordered=ordered, max_in_flight=self.of(None, 1)
        ) as results:
            async for result in results:
                got.append(result.number)
                if len(got) == leave:
                    break
        if ordered and got != sorted(got):
            self.broken.append(f"an ordered batch gave {got}")
        if sorted(got) != list(range(1, count + 1)) and len(got) != leave:
            self.broken.append(f"a batch of {count} gave {got}")

    # -- what holds -----------------------------------------------------------------------------

    def check(self, organism: Organism) -> None:
        pump = organism._pump
        fed: list[Source | Attached] = [*self.sources, *self.streams]
        for each in fed:
            seen = each.statistics()
            if seen["in_flight"] or seen["waiting"] or seen["accepted"] != sum(seen[end] for end in ENDS):
                self.broken.append(f"a source ended as {seen}")
            if isinstance(each, Attached):
                if (
                    seen["accepted"] + seen["rejected"] + seen["unsent"] != seen["messages"]
                    or not seen["ended"]
                ):
                    self.broken.append(f"a stream ended as {seen}")
                sometimes(seen["accepted"], "a stream was heard")
        if organism.sources or pump.sources.readers:
            self.broken.append("a source is open")
        if pump.core.expiring or (pump.slots.gates is not None and pump.slots.gates._running):
            self.broken.append("a gate or a deadline holds something")
        if any(line.taken for line in pump.intake.users_gates):
            self.broken.append("somebody stands at a user's step")
        if pump.intake.entering or len(pump.intake._seats) or len(pump.intake._aside):
            self.broken.append("somebody stands at the door")
        assert not self.broken


class _Allowed:
    """What strangers meet and go on from."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        return isinstance(error, PhloemError)


async def anything() -> None:
    world = World()
    pipeline = world.pipeline()
    organism: Organism | None = None
    try:
        async with open_simulated_organism(world.config(), pipeline=pipeline) as organism:
            world.organism = organism
            async with trio.open_nursery() as nursery:
                for number in range(world.of(1, 3)):
                    nursery.start_soon(world.source, f"source {number}")
                    nursery.start_soon(world.stream, f"stream {number}")
                for way in (world.stranger, world.batch):
                    nursery.start_soon(way)
                if world.often(0.3):
                    await trio.sleep(world.of(0, 1))
                    await organism.shutdown(world.of(0, 10))
    except ConfigurationError as error:
        if "DeadLetter" not in str(error):  # a branch of dead letters to who takes none
            raise
        return
    finally:
        if organism is not None:
            world.check(organism)


def test_whatever_is_put_together_keeps_every_promise_under_any_schedule() -> None:
    report = explore(anything, runs=runs(60), check=check_pump, max_steps=STEPS_OF_TASKS)
    assert report.passed
    assert report.never == ()


@pytest.mark.parametrize("seed", [13, 15, 24])
def test_and_wherever_all_of_it_is_cut_nothing_is_left(seed: int) -> None:
    report = sweep(anything, cancel="every-site", seed=seed, check=check_pump, max_steps=STEPS_OF_TASKS)
    assert report.passed
    assert report.cancels > 30


@pytest.mark.parametrize("seed", range(10))
def test_one_seed_is_one_run(seed: int) -> None:
    first, second = (simulate(anything, seed=seed, max_steps=STEPS_OF_TASKS) for _ in range(2))
    assert first.failure is None
    assert first.digest == second.digest
