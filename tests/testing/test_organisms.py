"""The production organism in a simulation: its ports come from the run, its handlers from scripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from phloem.config import OrganismConfig
from phloem.errors import ConfigurationError, NotSimulated
from phloem.messages import HandlerMetadata, HandlerResponse, Outcome, iso_time
from phloem.organism import Organism
from phloem.testing.faults import plan
from phloem.testing.organisms import open_simulated_organism
from phloem.testing.sim import Result, current_run, simulate
from support.listeners import Ask, Reply, answer, listener

BACK = listener("back", Ask, answer)
CONFIG = OrganismConfig("simulated", [BACK])
ANSWER = HandlerResponse.respond(Reply("scripted"))

Main = Callable[[Organism], Any]


def simulated(use: Main, config: OrganismConfig | str = CONFIG, seed: int = 0, **settings: Any) -> Result:
    async def main() -> Any:
        async with open_simulated_organism(config, **settings) as organism:
            return await use(organism)

    return simulate(main, seed=seed)


async def ask(organism: Organism) -> Any:
    return await organism.ask(Ask("x"), to="back")


async def ask_twice(organism: Organism) -> list[Outcome]:
    return [await organism.wait(await organism.send(Ask("x"), to="back")) for _ in range(2)]


def test_it_is_the_organism_of_production() -> None:
    async def use(organism: Organism) -> Any:
        assert isinstance(organism, Organism)
        return await ask(organism)

    assert simulated(use).unwrap() == Reply("x")


def test_ids_and_times_follow_from_the_seed() -> None:
    async def use(organism: Organism) -> Any:
        await trio.sleep(5)
        receipt = await organism.send(Ask("x"), to="back")
        await organism.wait(receipt)
        return receipt.conversation, [event.timestamp for event in organism.events.get_history()]

    first, again, other = (simulated(use, seed=seed).unwrap() for seed in (1, 1, 2))
    assert first == again
    assert first[0] != other[0]
    assert {time.year for time in first[1]} == {2000}


def test_two_organisms_of_one_run_have_ids_of_their_own() -> None:
    async def main() -> list[str]:
        ids = []
        for _ in range(2):
            async with open_simulated_organism(CONFIG) as organism:
                ids.append((await organism.send(Ask("x"), to="back")).conversation)
        return ids

    first, second = simulate(main).unwrap()
    assert first != second


def test_its_wall_clock_is_the_runs() -> None:
    async def main() -> tuple[str, float]:
        await trio.sleep(90)
        run = current_run()
        assert run is not None
        async with open_simulated_organism(CONFIG) as organism:
            return str(organism.events.get_history()[0].timestamp), run.wall()

    seen, now = simulate(main).unwrap()
    assert seen.startswith("2000-01-01 00:01:30")
    assert iso_time(now) == "2000-01-01T00:01:30.000000Z"


def test_the_faults_of_the_run_reach_its_handlers() -> None:
    async def main() -> Any:
        async with open_simulated_organism(CONFIG) as organism:
            return (await ask_twice(organism))[0].state

    result = simulate(main, faults=plan("handler=raise:1:1"))
    assert str(result.unwrap()) == "failed"
    assert [(fault.point, fault.name) for fault in result.faults] == [("handler", "back")] * 2


@pytest.mark.parametrize("script", [[ANSWER], (ANSWER,)])
def test_a_script_takes_the_place_of_a_handler(script: Any) -> None:
    assert simulated(ask, handlers={"back": script}).unwrap() == Reply("scripted")


def test_so_does_an_async_function() -> None:
    async def other(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Reply(payload.text * 2))

    assert simulated(ask, handlers={"back": other}).unwrap() == Reply("xx")


def test_the_results_come_one_after_the_other_and_errors_are_raised() -> None:
    script = [ANSWER, ValueError("second"), None, ValueError]

    async def use(organism: Organism) -> list[str]:
        return [str(outcome.state) for outcome in (*await ask_twice(organism), *await ask_twice(organism))]

    result = simulated(use, handlers={"back": script})
    assert result.unwrap() == ["completed", "failed", "completed", "failed"]
    assert simulated(use, handlers={"back": script}).digest == result.digest  # it begins anew


def test_a_call_too_many_fails_the_run_and_names_listener_and_count() -> None:
    result = simulated(ask_twice, handlers={"back": [ANSWER]})
    assert isinstance(result.failure, AssertionError)
    assert "'back': found 2 calls, expected at most 1" in str(result.failure)


def test_an_empty_script_allows_no_call() -> None:
    assert simulated(ask_twice, handlers={"back": []}).failure is not None

    async def nothing(organism: Organism) -> None:
        await trio.sleep(1)

    simulated(nothing, handlers={"back": []}).unwrap()


def test_what_the_body_raises_is_told_of_a_call_too_many() -> None:
    async def use(organism: Organism) -> None:
        await ask_twice(organism)
        raise LookupError("the body's own")

    failure = simulated(use, handlers={"back": [ANSWER]}).failure
    assert isinstance(failure, LookupError)
    assert "found 2 calls" in failure.__notes__[0]


def test_a_script_that_raises_one_error_in_many_runs_keeps_its_traceback_short() -> None:
    error = ValueError("again")
    for seed in range(3):
        simulated(ask_twice, seed=seed, handlers={"back": [error, None]}).unwrap()
    length, frame = 0, error.__traceback__
    while frame is not None:
        length, frame = length + 1, frame.tb_next
    first = length
    simulated(ask_twice, handlers={"back": [error, None]}).unwrap()
    length, frame = 0, error.__traceback__
    while frame is not None:
        length, frame = length + 1, frame.tb_next
    assert length == first


def test_handlers_of_twins_are_told_apart_by_their_keys() -> None:
    twins = OrganismConfig(
        "twins",
        [listener("back", Ask, answer, broadcast=True), listener("back", Ask, answer, broadcast=True)],
    )
    heard: list[str] = []

    def hearing(name: str) -> Any:
        async def hear(payload: Any, metadata: HandlerMetadata) -> None:
            heard.append(name)

        return hear

    async def use(organism: Organism) -> None:
        await organism.wait(await organism.send(Ask("x"), to="back"))

    simulated(use, twins, handlers={"back": hearing("first"), "back#2": hearing("second")}).unwrap()
    assert sorted(heard) == ["first", "second"]


@pytest.mark.parametrize(
    ("handlers", "where", "found"),
    [
        ({"bakc": [ANSWER]}, "handlers['bakc']", "no listener of that name, expected one of 'back'"),
        ({"back": 7}, "handlers['back']", "a int, expected a handler, or a list of results"),
        ({"back": None}, "handlers['back']", "a NoneType"),
        ({"back": "text"}, "handlers['back']", "a str"),
        (["back"], "handlers", "a list, expected a mapping from a listener's key to its handler"),
        ({"back": lambda payload, metadata: (yield)}, "back", "a generator"),
    ],
)
def test_what_is_no_handler_is_refused_by_name(handlers: Any, where: str, found: str) -> None:
    failure = simulated(ask, handlers=handlers).failure
    assert isinstance(failure, ConfigurationError)
    assert where in str(failure)
    assert found in str(failure)


def test_all_of_them_at_once() -> None:
    failure = simulated(ask, handlers={"a": [], "b": [], "back": 1}).failure
    assert isinstance(failure, ConfigurationError)
    assert len(failure.faults) == 3


async def test_outside_of_a_run_it_is_refused() -> None:
    with pytest.raises(NotSimulated, match="found no simulation running"):
        async with open_simulated_organism(CONFIG):
            pass


def test_a_path_is_read_and_its_handlers_can_be_scripted(tmp_path: Path) -> None:
    (tmp_path / "simulated_parts.py").write_text(
        "from dataclasses import dataclass\n"
        "from phloem import HandlerResponse\n"
        "@dataclass\nclass Hello:\n    name: str\n"
        "async def greet(payload, metadata):\n"
        "    return HandlerResponse.respond(Hello('really ' + payload.name))\n"
    )
    file = tmp_path / "organism.yaml"
    file.write_text(
        "organism:\n  name: greeting\nlisteners:\n  - name: greeter\n"
        "    payload_class: simulated_parts.Hello\n    handler: simulated_parts.greet\n"
        "    description: Greets.\n"
    )

    async def use(organism: Organism) -> Any:
        cls = organism.listeners["greeter"].contracts[0].payload_class
        answered = await organism.ask(cls("you"), to="greeter")
        return answered.name

    assert simulated(use, str(file)).unwrap() == "really you"

    async def script(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(type(payload)("scripted"))

    assert simulated(use, str(file), handlers={"greeter": script}).unwrap() == "scripted"


def test_listeners_beside_the_configured_ones_can_be_scripted_too() -> None:
    async def use(organism: Organism) -> Any:
        return await organism.ask(Ask("x"), to="more")

    more = listener("more", Ask, answer)
    assert simulated(use, listeners=[more]).unwrap() == Reply("x")
    assert simulated(use, listeners=[more], handlers={"more": [ANSWER]}).unwrap() == Reply("scripted")
