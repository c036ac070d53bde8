"""Claims of pump/door.py on the first message of a run, and on the second look at the threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
import trio

from phloem.config import Budgets, MemoryLimits, OrganismConfig
from phloem.errors import WouldDeadlock
from phloem.messages import BOOT, HandlerMetadata, HandlerResponse
from phloem.organism import open_organism
from phloem.pump.steps import Checked
from support.auditing import Auditor, open_audited
from support.gates import free, live
from support.listeners import BACK, HANG, Ask, Reply, listener


class Watches(Auditor):
    """Lets Boot end as it likes; does ``then`` at the one happening it is told of."""

    def __init__(self, when: str, then: Callable[[], object]) -> None:
        super().__init__([])
        self.happened: list[str] = []
        self._when, self._then = when, then

    def _told(self, what: str) -> None:
        self.happened.append(what)
        if what == self._when:
            self._then()

    def conversation_started(self, conversation: Any) -> None:
        self._told("conversation_started")

    def conversation_ended(self, conversation: Any, outcome: Any) -> None:
        self._told("conversation_ended")

    def ended(self, delivery: Any, cause: Any) -> None:
        self._told("ended")

    def dispatched(self, delivery: Any) -> None:
        assert delivery.listener.key == BOOT
        self._told("dispatched")


def fails() -> None:
    raise ZeroDivisionError


WHEN: Final = ("conversation_started", "dispatched", "ended", "conversation_ended")


@pytest.mark.parametrize("when", WHEN)
async def test_an_opening_that_is_cancelled_while_boot_runs_is_cancelled_and_no_error(when: str) -> None:
    scope = trio.CancelScope()
    observer = Watches(when, scope.cancel)
    with scope:
        async with open_organism(OrganismConfig("org", [BACK]), observer=observer):
            pytest.fail("opened")
    assert scope.cancelled_caught
    assert when in observer.happened


@pytest.mark.parametrize("when", WHEN)
async def test_what_an_observer_raises_of_boot_comes_out_as_it_is(when: str) -> None:
    observer = Watches(when, fails)
    with pytest.RaisesGroup(ZeroDivisionError, allow_unwrapped=True, flatten_subgroups=True):
        async with open_organism(OrganismConfig("org", [BACK]), observer=observer):
            pytest.fail("opened")


async def test_the_narrowest_budgets_are_for_others_than_boot() -> None:
    narrow = Budgets(messages=1, hops=1, depth=1, seconds=1e-9)
    async with open_audited(BACK, budgets=narrow) as organism:
        assert [key for key, row in organism.statistics()["listeners"].items() if row["handled"]] == [BOOT]


async def test_inside_a_dispatch_one_who_finds_no_room_any_more_gives_the_seat_back() -> None:
    async def one(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        door = organism._door

        class Late:
            origin = None

            async def __call__(self) -> list[Checked]:
                await organism.send(Ask("takes the last room"), to="hang")
                return await door.payload(Ask("comes too late"), "back")()

        examine: Any = Late()
        before = free(organism)
        with pytest.raises(WouldDeadlock), trio.fail_after(5):
            await door.enter(examine, "stranger", None, None)
        assert (free(organism), live(organism)) == (before - 1, 4), "one who came in, and one who did not"
        return HandlerResponse.respond(Reply("done"))

    async with open_audited(
        listener("one", Ask, one), HANG, BACK, memory=MemoryLimits(max_threads=4)
    ) as organism:
        assert await organism.ask(Ask("x"), to="one") == Reply("done")
        await organism.shutdown(0)
