"""How a watched organism is opened, and how what it broke is told: as it is left, and after the run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from phloem.config import ListenerConfig, OrganismConfig
from phloem.errors import ConfigurationError, ScheduleFailure
from phloem.messages import Ending, HandlerMetadata
from phloem.organism import Organism
from phloem.pump.observer import LoggingObserver, Observer
from phloem.testing.invariants import Violation, check_pump, observing, open_watched_organism
from phloem.testing.sim import Strategy, explore, simulate, sweep
from support.flows import step
from support.listeners import BACK, Ask, Reply, echo, listener

CONFIG = OrganismConfig("watched", [BACK, step("front", "back")], shutdown_grace=0.0)


def main_of(use: Callable[[Organism], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    async def main() -> None:
        async with open_watched_organism(CONFIG) as organism:
            await use(organism)

    return main


async def ask(organism: Organism) -> None:
    assert await organism.ask(Ask("x"), to="front") == Reply("x")


# -- how it is opened -----------------------------------------------------------------------------


def test_what_the_block_raises_arrives_as_it_was_raised() -> None:
    async def use(organism: Organism) -> None:
        raise KeyError("own")

    assert isinstance(simulate(main_of(use)).failure, KeyError)


async def test_a_configuration_with_faults_is_told_as_ever() -> None:
    def generator(payload: Ask, metadata: HandlerMetadata) -> Iterator[None]:
        yield

    with pytest.raises(ConfigurationError, match="a generator"):
        async with open_watched_organism(OrganismConfig("x", [ListenerConfig("bad", Ask, generator)])):
            raise AssertionError("it opened")


def test_listeners_and_ports_are_passed_on() -> None:
    async def main() -> None:
        extra = listener("extra", Ask, echo)
        telling = LoggingObserver("x")
        config = OrganismConfig("x")
        async with open_watched_organism(config, listeners=[extra], observer=telling) as organism:
            assert await organism.ask(Ask("x")) == Ask("x")

    simulate(main).unwrap()


def test_an_organism_is_opened_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "watched_by_file.py").write_text(
        "from dataclasses import dataclass\n"
        "from phloem import HandlerResponse\n\n"
        "@dataclass\nclass Hello:\n    text: str\n\n"
        "async def answer(payload, metadata):\n    return HandlerResponse.respond(payload)\n"
    )
    (tmp_path / "organism.yaml").write_text(
        "organism:\n  name: filed\nlisteners:\n  - name: answerer\n    description: answers\n"
        "    payload_class: watched_by_file.Hello\n    handler: watched_by_file.answer\n"
    )
    entered: list[str] = []

    async def main() -> Any:
        async with open_watched_organism(tmp_path / "organism.yaml") as organism:
            receipt = await organism.inject("<Hello><Text>x</Text></Hello>")
            outcome = await organism.wait(receipt)
            entered.append(outcome.payloads[0].text)
            organism._pump.slots.enter(object())

    assert isinstance(simulate(main).failure, Violation)
    assert entered == ["x"]


# -- how it is told ---------------------------------------------------------------------------------


def test_violations_are_listed_up_to_twenty_and_all_are_counted() -> None:
    error = Violation([f"broken {number}" for number in range(25)])
    assert len(error.violations) == 25
    assert str(error).splitlines()[0] == "broken 0"
    assert str(error).splitlines()[-1] == "and 5 more"
    assert len(str(error).splitlines()) == 21


def test_what_the_program_swallows_is_found_all_the_same() -> None:
    async def main() -> str:
        try:
            async with open_watched_organism(CONFIG) as organism:
                organism._pump.slots.enter(object())
        except AssertionError:
            return "swallowed"
        return "not raised"

    result = simulate(main)
    assert result.value == "swallowed"
    with pytest.raises(Violation, match="limiter tokens"):
        check_pump(result)


def test_it_stands_in_for_what_the_block_was_left_by_which_is_its_context() -> None:
    async def use(organism: Organism) -> None:
        organism._pump.slots.enter(object())
        raise KeyError("own")

    failure = simulate(main_of(use)).failure
    assert isinstance(failure, Violation)
    assert isinstance(failure.__context__, KeyError)


def test_it_is_found_where_the_block_is_cancelled() -> None:
    async def use(organism: Organism) -> None:
        organism._pump.slots.enter(object())
        await trio.sleep_forever()

    async def main() -> None:
        with trio.move_on_after(1):
            await main_of(use)()

    assert isinstance(simulate(main).failure, Violation)


def test_an_exploration_and_a_sweep_fail_by_it() -> None:
    async def forget(organism: Organism) -> None:
        """A stranger that is cancelled between his seat and his message keeps it."""
        await organism._pump.intake.take_seat(may_wait=True)
        await trio.lowlevel.checkpoint()
        organism._pump.intake.give_back()

    async def main() -> None:
        async with open_watched_organism(CONFIG) as organism:
            with trio.move_on_after(10):
                await forget(organism)

    explore(main, runs=20, check=check_pump)
    with pytest.raises(ScheduleFailure) as caught:
        sweep(main, cancel=None, timeouts=True, check=check_pump, strategy=Strategy.CALM)
    assert "1 seats are held by nobody" in str(caught.value)


# -- the attach point ---------------------------------------------------------------------------------


class Ends:
    """An observer that keeps how messages ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, Ending | None]] = []

    def ended(self, delivery: Any, cause: Any) -> None:
        self.ends.append((delivery.listener.key, delivery.ending))

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def test_who_observes_is_told_of_every_organism_that_is_opened_within() -> None:
    inside, own = Ends(), Ends()
    watching, telling = cast("Observer", inside), cast("Observer", own)

    async def in_a_task() -> None:
        async with open_watched_organism(CONFIG) as organism:
            await ask(organism)

    async def main() -> None:
        with observing(watching):
            async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - a task of its own is what is tested
                nursery.start_soon(in_a_task, name="in a task")
            async with open_watched_organism(CONFIG, observer=telling) as organism:
                await ask(organism)
        await in_a_task()

    simulate(main).unwrap()
    users = [key for key, _ in inside.ends if not key.startswith("system.")]
    assert users == ["front", "back", "front"] * 2
    assert [key for key, _ in own.ends if not key.startswith("system.")] == ["front", "back", "front"]
