"""Confluence: handlers that do not care about order come to the same, and where they do care is named."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from phloem.config import ListenerConfig, OrganismConfig
from phloem.errors import NotConfluent, PhloemError, ScheduleFailure
from phloem.messages import HandlerMetadata, HandlerResponse, SystemError
from phloem.organism import Organism
from phloem.testing.confluence import Confluence, assert_confluent
from phloem.testing.invariants import open_watched_organism
from phloem.testing.organisms import open_simulated_organism
from phloem.testing.sim import simulate
from support.listeners import BACK, Ask, Note, Ping, Reply, drop, fall, listener

Use = Callable[[Organism], Awaitable[Any]]


@pytest.fixture(autouse=True)
def quietly(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "phloem")  # handlers fail by the hundred


@dataclass
class Job:
    parts: int


@dataclass
class Sum:
    total: int


def program(
    listeners: Callable[[], Sequence[ListenerConfig]], *strangers: Use
) -> Callable[[], Awaitable[None]]:
    """A program whose strangers come side by side; its handlers are made anew for each run."""

    async def main() -> None:
        async with (
            open_watched_organism(
                OrganismConfig("confluent", listeners(), max_concurrent_handlers=3)
            ) as organism,
            trio.open_nursery() as nursery,
        ):
            for use in strangers:
                nursery.start_soon(use, organism)

    return main


def asks(payload: Any, to: str) -> Use:
    async def use(organism: Organism) -> None:
        try:
            await organism.ask(payload, to=to)
        except PhloemError:
            pass  # how it ended is compared

    return use


def summing() -> list[ListenerConfig]:
    """Fans out, waits for all, and answers with their sum: whichever comes first."""
    sums: dict[str, list[int]] = {}

    async def boss(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Job):
            sums[metadata.thread_id] = []
            return [HandlerResponse(Ask(str(n)), to="worker") for n in range(payload.parts)]
        sums[metadata.thread_id].append(int(payload.text))
        done = len(sums[metadata.thread_id]) == 4
        return HandlerResponse.respond(Sum(sum(sums[metadata.thread_id]))) if done else None

    async def worker(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.lowlevel.checkpoint()
        return HandlerResponse.respond(Reply(payload.text))

    return [listener("boss", [Job, Reply], boss), listener("worker", Ask, worker)]


def counting() -> list[ListenerConfig]:
    """Numbers what it is asked, over all conversations: who comes first gets the 1."""
    count = 0

    async def counter(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        nonlocal count
        await trio.lowlevel.checkpoint()
        count += 1
        return HandlerResponse.respond(Reply(f"{payload.text} {count}"))

    return [listener("counter", Ask, counter)]


def racing() -> list[ListenerConfig]:
    """Answers with the first reply, so the other one's is dropped."""

    async def judge(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Job):
            return [HandlerResponse(Ask(name), to="runner") for name in ("hare", "tortoise")]
        return HandlerResponse.respond(payload)

    async def runner(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.lowlevel.checkpoint()
        return HandlerResponse.respond(Reply(payload.text))

    return [listener("judge", [Job, Reply], judge), listener("runner", Ask, runner)]


# -- the same -----------------------------------------------------------------------------------


def test_order_independent_handlers_are_confluent() -> None:
    main = program(summing, asks(Job(4), "boss"), asks(Job(4), "boss"), asks(Ask("7"), "worker"))
    report = assert_confluent(main, runs=100)
    assert report.passed
    assert report.distinct > 50


def test_failures_retries_refusals_and_turns_are_compared_by_what_caused_them() -> None:
    def listeners() -> list[ListenerConfig]:
        async def boss(payload: Any, metadata: HandlerMetadata) -> Any:
            if isinstance(payload, Job):
                return [HandlerResponse(Ask("x"), to=to) for to in ("falls", "back", "nobody", "drops")]
            return None

        return [
            listener("boss", [Job, Reply, SystemError], boss),
            listener("falls", Ask, fall, retries=2),
            listener("drops", Ask, drop),
            BACK,
        ]

    async def turns(organism: Organism) -> None:
        async with organism.open_conversation("turner") as block:
            await block.ask(Ask("1"), to="back")
            await block.send(Ask("2"), to="drops")
            await block.ask(Ask("3"), to="back")

    main = program(listeners, asks(Job(1), "boss"), asks(Job(2), "boss"), turns)
    assert assert_confluent(main, runs=60).passed


def test_two_organisms_in_one_program_are_told_apart() -> None:
    async def both() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program(summing, asks(Job(4), "boss")))
            nursery.start_soon(program(lambda: [BACK], asks(Ask("x"), "back")))

    assert assert_confluent(both, runs=30).passed


# -- a difference ---------------------------------------------------------------------------------


def test_the_first_message_that_differs_is_told_with_both_schedules() -> None:
    main = program(counting, asks(Ask("a"), "counter"), asks(Ask("b"), "counter"))
    with pytest.raises(NotConfluent) as caught:
        assert_confluent(main, runs=100)
    text = str(caught.value)
    assert text.startswith("confluent: outside, turn 1, <Ask><Text>a</Text></Ask> for (its sender): found")
    assert "completed <Reply><Text>a 1</Text></Reply>" in text
    assert "completed <Reply><Text>a 2</Text></Reply>" in text
    assert "expected the same under every schedule (4 records differ in all)" in text
    one, other = [line.rpartition("token ")[2] for line in text.splitlines()[1:]]
    confluence = Confluence()
    watched = confluence.watching(main)
    results = [simulate(watched, replay=token) for token in (one, other)]
    assert not any(result.diverged for result in results)
    confluence.check(results[0])
    with pytest.raises(NotConfluent):
        confluence.check(results[1])


def test_it_is_told_where_it_begins_and_not_where_it_ends() -> None:
    """The judge's own messages differ; what its stranger is answered does, too, and comes first."""
    main = program(racing, asks(Job(2), "judge"))
    with pytest.raises(
        NotConfluent, match=r"(?s)<Job><Parts>2</Parts></Job>.* for .*(hare|tortoise)"
    ) as caught:
        assert_confluent(main, runs=100)
    assert isinstance(caught.value.__cause__, ScheduleFailure)
    assert "token" in str(caught.value.__cause__)


def test_a_message_that_one_schedule_lacks_is_a_difference() -> None:
    def listeners() -> list[ListenerConfig]:
        seen: list[str] = []

        async def first_only(payload: Ask, metadata: HandlerMetadata) -> Any:
            await trio.lowlevel.checkpoint()
            seen.append(payload.text)
            return HandlerResponse(Note(payload.text), to="drops") if len(seen) == 1 else None

        return [listener("first", Ask, first_only), listener("drops", Note, drop)]

    async def send(text: str, organism: Organism) -> None:
        await organism.send(Ask(text), to="first")

    main = program(listeners, lambda organism: send("a", organism), lambda organism: send("b", organism))
    with pytest.raises(NotConfluent, match="no such message"):
        assert_confluent(main, runs=100)


def test_what_a_run_fails_by_is_told_as_ever() -> None:
    async def broken() -> None:
        raise KeyError("own")

    with pytest.raises(ScheduleFailure) as caught:
        assert_confluent(broken, runs=3)
    assert isinstance(caught.value.failure, KeyError)
    assert "test_what_a_run_fails_by_is_told_as_ever.<locals>.broken failed" in str(caught.value)


# -- what it compares -------------------------------------------------------------------------------


def test_arrival_and_ids_of_conversations_make_no_difference() -> None:
    """The second stranger comes first in one of the two, so every id is another."""

    def late(seconds: float, use: Use) -> Use:
        async def wait(organism: Organism) -> None:
            await trio.sleep(seconds)
            await use(organism)

        return wait

    def main(first: float, second: float) -> Callable[[], Awaitable[None]]:
        return program(summing, late(first, asks(Job(4), "boss")), late(second, asks(Ask("7"), "worker")))

    confluence = Confluence()
    confluence.check(simulate(confluence.watching(main(1, 2)), seed=1))
    confluence.check(simulate(confluence.watching(main(2, 1)), seed=2))
    with pytest.raises(NotConfluent, match="no such message"):
        confluence.check(simulate(confluence.watching(program(summing, asks(Job(4), "boss"))), seed=2))


def test_another_payload_is_another_result() -> None:
    def listeners() -> list[ListenerConfig]:
        async def chance(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
            return HandlerResponse(Ping(str(random.random())), to="drops")

        return [listener("chance", Ask, chance), listener("drops", Ping, drop)]

    with pytest.raises(NotConfluent, match="> 0 > 0 for drops: found handled <Ping>"):
        assert_confluent(program(listeners, asks_nothing), runs=10)


async def asks_nothing(organism: Organism) -> None:
    await organism.send(Ask("x"), to="chance")


def test_runs_that_failed_or_were_cut_are_not_compared() -> None:
    async def broken() -> None:
        await program(summing, asks(Job(4), "boss"))()
        raise KeyError("own")

    confluence = Confluence()
    confluence.check(simulate(confluence.watching(broken)))
    confluence.check(simulate(confluence.watching(program(lambda: [BACK], asks(Ask("x"), "back")))))


def test_a_program_without_a_message_to_compare_is_refused() -> None:
    async def main() -> None:
        await trio.sleep(1)

    with pytest.raises(ValueError, match="found no message in 3 runs"):
        assert_confluent(main, runs=3)


def test_a_simulated_organism_is_compared_as_a_watched_one_is() -> None:
    arrived = list[str]()

    async def first_come(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.lowlevel.checkpoint()
        arrived.append(metadata.message_id)
        return HandlerResponse.respond(Sum(len(arrived)))

    async def main() -> None:
        arrived.clear()
        config = OrganismConfig("race", [ListenerConfig("gate", Job, first_come, "Counts.")])
        async with open_simulated_organism(config) as organism, trio.open_nursery() as nursery:
            nursery.start_soon(organism.ask, Job(1), "gate")
            nursery.start_soon(organism.ask, Job(2), "gate")

    with pytest.raises(NotConfluent):
        assert_confluent(main, runs=50)
