"""Plain handlers in a simulation: their threads run inline, on virtual time, as the seed says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import trio

from phloem.config import OrganismConfig
from phloem.errors import ConfigurationError, ConversationFailed
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.organism import Organism
from phloem.pump.calling import on_host
from phloem.testing.faults import plan
from phloem.testing.invariants import check_pump
from phloem.testing.organisms import open_simulated_organism
from phloem.testing.sim import Result, explore, simulate, sweep
from support.listeners import Ask, Reply, answer, listener

HOUR = 3600.0


def at_once(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Reply(payload.text))


def slowly(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
    time.sleep(HOUR)
    return HandlerResponse.respond(Reply(payload.text))


def relayed(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
    if isinstance(payload, Ask):
        time.sleep(1)
        return HandlerResponse(payload, to="back")
    return HandlerResponse.respond(payload)


BACK = listener("back", Ask, at_once)
FRONT = listener("front", [Ask, Reply], relayed, responds_with=Reply, max_concurrent=2)
CONFIG = OrganismConfig("plain", [FRONT, BACK], max_sync_handlers=2)
SLOW = OrganismConfig("slow", [listener("back", Ask, slowly, handler_timeout=2 * HOUR)])
Use = Callable[[Organism], Any]


def main_of(use: Use, config: OrganismConfig = CONFIG, **settings: Any) -> Callable[[], Any]:
    async def main() -> Any:
        async with open_simulated_organism(config, **settings) as organism:
            return await use(organism)

    return main


def simulated(use: Use, config: OrganismConfig = CONFIG, seed: int = 0, **settings: Any) -> Result:
    return simulate(main_of(use, config, **settings), seed=seed)


async def ask(organism: Organism) -> Any:
    return await organism.ask(Ask("x"), to="back")


async def wait(organism: Organism) -> Any:
    return (await organism.wait(await organism.send(Ask("x"), to="back"))).state


async def ask_many(organism: Organism) -> tuple[str, ...]:
    answers: dict[int, str] = {}

    async def one(number: int) -> None:
        reply = await organism.ask(Ask(str(number)), to="front")
        answers[number] = reply.text

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(one, number)
    return tuple(answers[number] for number in range(6))


def test_a_plain_handler_answers_and_its_sleep_is_virtual() -> None:
    result = simulated(ask, SLOW)
    assert result.unwrap() == Reply("x")
    assert HOUR <= result.virtual_seconds < HOUR + 1


@pytest.mark.parametrize("seed", range(5))
def test_the_same_seed_gives_the_same_run(seed: int) -> None:
    first, second = simulated(ask_many, seed=seed), simulated(ask_many, seed=seed)
    assert first.unwrap() == ("0", "1", "2", "3", "4", "5")
    assert (first.digest, first.virtual_seconds) == (second.digest, second.virtual_seconds)


def test_another_seed_gives_another_run() -> None:
    assert len({simulated(ask_many, seed=seed).digest for seed in range(5)}) > 1


def test_under_any_schedule_the_pump_keeps_its_promises() -> None:
    explore(main_of(ask_many), runs=40, check=check_pump)


def test_wherever_it_is_cancelled_the_pump_keeps_them_too() -> None:
    sweep(main_of(ask), check=check_pump)
    sweep(main_of(wait, SLOW), timeouts=True, check=check_pump)


def test_a_deadline_of_two_hours_is_met_at_once() -> None:
    async def use(organism: Organism) -> Any:
        with pytest.raises(ConversationFailed, match="overran its deadline of 1800 s"):
            await ask(organism)
        return organism.statistics()["threads"]["busy"], trio.current_time()

    (own,) = SLOW.listeners
    busy, seconds = simulated(use, replace(SLOW, listeners=[replace(own, handler_timeout=1800.0)])).unwrap()
    assert busy == 1  # its thread sleeps on
    assert seconds == pytest.approx(1800.0, abs=1e-6)


def test_a_thread_that_had_not_begun_by_its_deadline_never_enters_its_handler() -> None:
    entered: list[Ask] = []

    def enters(payload: Ask, metadata: HandlerMetadata) -> None:
        entered.append(payload)

    async def use(organism: Organism) -> Any:
        outcome = await organism.wait(await organism.send(Ask("x"), to="back"))
        await trio.sleep(HOUR)
        return outcome.state

    config = OrganismConfig("late", [listener("back", Ask, enters, handler_timeout=1e-7)])
    assert simulated(use, config).unwrap() is ConversationState.FAILED
    assert entered == []


def test_a_killed_conversation_leaves_its_plain_handler_behind() -> None:
    async def use(organism: Organism) -> Any:
        receipt = await organism.send(Ask("x"), to="back")
        await trio.sleep(1)
        await organism.kill(receipt.conversation)
        return (await organism.wait(receipt)).state, trio.current_time()

    state, seconds = simulated(use, SLOW).unwrap()
    assert state is ConversationState.CANCELLED
    assert seconds < 2


def test_faults_fire_at_plain_handlers_as_at_async_ones() -> None:
    kinds = dict[str, Any]()
    for handler in (at_once, answer):
        config = OrganismConfig("faulty", [listener("back", Ask, handler, handler_timeout=5)])
        results = [
            simulate(main_of(wait, config), seed=seed, faults=plan("handler=raise,hang:1:1"))
            for seed in range(4)
        ]
        kinds[handler.__name__] = [
            (str(fault.kind), fault.name) for result in results for fault in result.faults
        ]
        assert all(result.unwrap() is ConversationState.FAILED for result in results)
    assert kinds["at_once"] == kinds["answer"]
    assert {kind for kind, _ in kinds["at_once"]} == {"raise", "hang"}


def test_a_scripted_handler_takes_the_place_of_a_plain_one_and_a_plain_one_that_of_an_async_one() -> None:
    script = [HandlerResponse.respond(Reply("scripted"))]
    assert simulated(ask, handlers={"back": script}).unwrap() == Reply("scripted")
    config = OrganismConfig("async", [listener("back", Ask, answer)])
    assert simulated(ask, config, handlers={"back": at_once}).unwrap() == Reply("x")


def test_a_simulation_has_no_host() -> None:
    failure = simulated(ask, OrganismConfig("hosted", [listener("back", Ask, on_host(_hosted))])).failure
    assert isinstance(failure, ConfigurationError)
    assert failure.faults[0].where == "listener 'back'"


async def _hosted(payload: Ask, metadata: HandlerMetadata) -> None: ...
