"""What an organism tells of itself, its ports, and how little it shares with its neighbours."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets, ListenerConfig, MemoryLimits, OrganismConfig, WireLimits
from phloem.errors import (
    ConfigurationError,
    OutcomeForgotten,
    PhloemError,
)
from phloem.messages import BOOT, SERVICES, ConversationState, HandlerMetadata
from phloem.organism import Organism, open_organism
from phloem.pump.ports import SeededIds
from phloem.pump.within import get_todo_registry
from support.auditing import assert_nothing_is_left, report_of, running, still_answers
from support.listeners import BACK, ONE, SLOW, Ask, Reply, answer, fall, hang, listener

OURS = (BOOT, *SERVICES)  # the listeners that every organism has beside the configured ones


@dataclass
class Unhandled:
    text: str


# -- reading ----------------------------------------------------------------------------------
async def test_the_routing_table_is_read_by_listener_and_payload() -> None:
    async with running(
        listener("Front", [Ask, Reply], hang),
        listener("twin", Ask, hang, broadcast=True),
        listener("twin", Ask, hang, broadcast=True),
    ) as organism:
        assert set(organism.listeners) == {"Front", "twin", "twin#2", *OURS}
        assert list(organism.listeners)[-3:] == list(OURS), "phloem's own come last"
        assert set(organism.routing_table) == {
            *("front.ask", "front.reply", "twin.ask"),
            *("system.boot.boot", "system.todo.todountil", "system.todo-complete.todocomplete"),
        }
        assert len(organism.routing_table["twin.ask"]) == 2
        front = organism.listeners["Front"]
        assert front.payload_class is Ask
        assert [contract.payload_class for contract in front.contracts] == [Ask, Reply]
        with pytest.raises(TypeError):
            organism.listeners["x"] = front  # type: ignore[index] # that it cannot is what is tested


async def test_statistics_count_messages_conversations_seats_and_listeners(
    autojump_clock: trio.testing.MockClock,
) -> None:

    async with running(BACK, ONE, listener("fall", Ask, fall), max_in_flight=10) as organism:
        await organism.ask(Ask("x"), to="back")
        await organism.wait(await organism.send(Ask("x"), to="fall"))
        for _ in range(3):
            await organism.send(Ask("x"), to="one")
        with pytest.raises(PhloemError):
            await organism.send(Unhandled("x"))
        await trio.sleep(1)
        statistics = organism.statistics()
        assert statistics["messages"]["accepted"] == 7  # six of ours; the first is Boot
        assert statistics["messages"]["in_flight"] == 3
        assert statistics["messages"]["handled"] == 2  # Boot's as well
        assert statistics["messages"]["failed"] == 1
        assert statistics["messages"]["rejected"] == 1
        assert statistics["conversations"]["live"] == 3
        assert statistics["conversations"]["completed"] == 2  # Boot's as well
        assert statistics["conversations"]["failed"] == 1
        assert statistics["conversations"]["rejected"] == 1
        assert statistics["seats"] == {"free": 7, "waiting": 0}
        assert statistics["queued"] == 2
        assert statistics["handlers_running"] == 1
        assert statistics["listeners"]["one"]["running"] == 1
        assert statistics["listeners"]["back"]["handled"] == 1
        assert statistics["listeners"]["fall"]["failed"] == 1
        assert set(statistics["listeners"]) == {"back", "one", "fall", *OURS}
        assert statistics["listeners"][BOOT]["handled"] == 1
        for name in SERVICES:
            assert set(statistics["listeners"][name].values()) == {0}
        report = report_of(organism)
        assert (report.accepted, report.in_flight) == (6, 3)
        await organism.shutdown(0)


async def test_statistics_tell_what_is_remembered_and_what_is_not_any_more(
    autojump_clock: trio.testing.MockClock,
) -> None:
    nothing = {"thread_count": 0, "total_slots": 0, "total_bytes": 0, "finished": 0, "todos": 0}
    words = len("<Ask><Text>é</Text></Ask>".encode())

    async def waiter(payload: Ask, metadata: HandlerMetadata) -> None:
        get_todo_registry().register(metadata.thread_id, "waiter", wait_for="Reply")

    async with running(BACK, SLOW, listener("waiter", Ask, waiter)) as organism:
        assert organism.statistics()["memory"] == nothing  # Boot's conversation has left nothing
        async with organism.open_conversation() as conversation:
            for _ in range(2):
                await organism.wait(await conversation.send(Ask("é"), to="waiter"))
            # the root and the waiter's thread; two messages, two todos
            assert organism.statistics()["memory"] == {
                "thread_count": 2,
                "total_slots": 2,
                "total_bytes": 2 * words,
                "finished": 0,
                "todos": 2,
            }
            other = await organism.send(Ask("x"), to="slow")  # a conversation more, being handled
            await trio.sleep(1)
            memory = organism.statistics()["memory"]
            assert (memory["thread_count"], memory["total_slots"], memory["todos"]) == (4, 2, 2)
            await organism.wait(other)
            assert organism.statistics()["memory"]["thread_count"] == 2
        assert organism.statistics()["memory"] == nothing


async def test_statistics_count_the_finished_conversations_that_are_kept() -> None:
    async with running(BACK, memory=MemoryLimits(keep_finished=3)) as organism:
        assert organism.statistics()["memory"]["finished"] == 0  # Boot's takes no place
        kept = []
        for number in range(5):
            await organism.ask(Ask(str(number)), to="back")
            kept.append(organism.statistics()["memory"]["finished"])
        assert kept == [1, 2, 3, 3, 3]
        assert organism.statistics()["memory"]["total_slots"] == 0  # of live ones


async def test_an_agents_usage_instructions_have_a_hash_that_changes_with_them_alone() -> None:
    def agent(name: str, *peers: str) -> ListenerConfig:
        return listener(name, Ask, hang, is_agent=True, peers=peers)

    async def hashes(told: str, **settings: Any) -> dict[str, str]:
        peer = ListenerConfig("back", Ask, answer, told, responds_with=Reply)
        async with running(agent("a", "back"), agent("b"), peer, **settings) as organism:
            rows = organism.statistics()["listeners"]
            for name in ("back", *OURS):
                assert "usage_hash" not in rows[name]  # no agents: they are told nothing
            for name in ("a", "b"):
                text = organism.listeners[name].usage_instructions
                assert rows[name]["usage_hash"] == hashlib.sha256(text.encode()).hexdigest()
            return {name: rows[name]["usage_hash"] for name in ("a", "b")}

    first = await hashes("Answers.")
    assert await hashes("Answers.") == first
    assert first["a"] != first["b"]
    other = await hashes("Answers at once.")
    assert other["a"] != first["a"]
    assert other["b"] == first["b"]
    assert (await hashes("Answers.", usage="xsd"))["a"] != first["a"]


async def test_finished_conversations_leave_the_newest_outcomes_and_no_thread() -> None:
    async with running(BACK, keep_outcomes=10) as organism:
        for _ in range(500):
            await organism.wait(await organism.send(Ask("x"), to="back"))
        await organism.ask(Ask("x"), to="back")
        core = organism._pump.core
        assert len(core._outcomes) == 10
        assert core.conversations == {}
        assert organism.threads == ()


# -- ports and neighbours ---------------------------------------------------------------------
async def test_the_same_seed_draws_the_same_ids_and_another_seed_others() -> None:
    async def ids(seed: bytes | None) -> list[str]:
        async with running(BACK, ids=SeededIds(seed)) as organism:
            return [(await organism.send(Ask("x"), to="back")).conversation for _ in range(3)]

    assert await ids(b"a") == await ids(b"a")
    assert not set(await ids(b"a")) & set(await ids(b"b"))
    assert not set(await ids(None)) & set(await ids(None))


class Numbers:
    """Ids that say which conversation it is, and remember how often they were asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def conversation(self, number: int) -> str:
        self.asked.append(number)
        return f"c{number}"


async def test_ids_are_asked_for_once_a_conversation_by_its_number() -> None:
    ids = Numbers()
    async with running(BACK, ids=ids) as organism:
        first = await organism.send(Ask("x"), to="back")
        async with organism.open_conversation() as conversation:
            assert conversation.id == "c3"
            await conversation.ask(Ask("x"), to="back")
            await conversation.ask(Ask("x"), to="back")
        with pytest.raises(PhloemError):
            await organism.send(Ask("x"), to="nobody")
        last = await organism.send(Ask("x"), to="back")
    assert (first.conversation, last.conversation) == ("c2", "c5")  # c1 is Boot's
    assert ids.asked == [0, 1, 2, 3, 4, 5]  # 0 names the bus


@pytest.mark.parametrize(
    "settings",
    [
        {"wire": WireLimits(max_bytes=60, max_text=20, max_markup=5, max_depth=2)},
        {"memory": MemoryLimits(max_bytes_per_conversation=1, on_full="refuse")},
        {"memory": MemoryLimits(max_threads=2, max_slots_per_thread=1, max_slots_per_conversation=1)},
        {"budgets": Budgets(messages=1, hops=1, depth=1, seconds=1e-9)},
        {"handler_timeout": 1e-9},
        {"max_in_flight": 1, "max_concurrent_handlers": 1, "max_concurrent_pipelines": 1},
        {"keep_outcomes": 1},
    ],
    ids=str,
)
async def test_boot_is_handled_whatever_little_a_configuration_allows(settings: dict[str, Any]) -> None:
    async with running(BACK, **settings) as organism:
        assert report_of(organism).accepted == 0  # which says that Boot was handled
        assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight
        assert organism.statistics()["conversations"]["completed"] == 1


async def test_two_organisms_of_one_configuration_share_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    config = OrganismConfig("twice", [ONE, BACK], max_in_flight=1)
    async with open_organism(config) as left, open_organism(config) as right:
        receipt = await left.send(Ask("x"), to="one")
        # neither its seat, nor its limiter, nor its books, nor its outcomes
        assert await right.ask(Ask("y"), to="back") == Reply("y")
        other = await right.send(Ask("x"), to="one")
        assert (report_of(left).accepted, report_of(right).accepted) == (1, 2)
        assert not await right.kill(receipt.conversation)
        with pytest.raises(OutcomeForgotten):
            await right.wait(receipt)
        await left.shutdown(0)
        assert (await left.wait(receipt)).state is ConversationState.DRAINED
        assert right.statistics()["conversations"]["live"] == 1
        await right.kill(other.conversation)
        assert await right.ask(Ask("still here"), to="back") == Reply("still here")
    assert_nothing_is_left(left)
    assert_nothing_is_left(right)


async def test_listeners_may_come_beside_the_configured_ones() -> None:
    async with open_organism(OrganismConfig("o", [BACK]), listeners=[SLOW]) as organism:
        assert set(organism.listeners) == {"back", "slow", *OURS}
        await still_answers(organism)


async def test_all_faults_of_a_configuration_arrive_at_once_and_nothing_runs() -> None:
    tasks = trio.lowlevel.current_statistics().tasks_living
    config = OrganismConfig(
        "o", [BACK, BACK, listener("agent", Ask, answer, is_agent=True, peers=["bakc"])], max_in_flight=0
    )
    with pytest.raises(ConfigurationError) as caught:
        async with open_organism(config):
            pytest.fail("opened")
    assert len(caught.value.faults) == 3
    assert trio.lowlevel.current_statistics().tasks_living == tasks


class Broken:
    """An observer with a bug: it raises whenever a message has ended, but for those of one listener."""

    def __init__(self, spares: str) -> None:
        self.spares = spares
        self.held_up_for = 0

    def ended(self, delivery: Any, cause: Any) -> None:
        if delivery.listener.key != self.spares:
            raise ZeroDivisionError("a bug of the observer")

    def held_up(self, listeners: Sequence[str]) -> None:
        self.held_up_for += 1
        if self.held_up_for > 3:  # this one would never end, and is shielded from every deadline
            raise TimeoutError("the organism hangs")

    def unseen(self, *_: Any, **__: Any) -> None: ...

    conversation_started = conversation_ended = dispatched = refused = buried = raised = unseen
    retrying = claim_ignored = mended = unread = broke = step_raised = waiting = overslept = phase = unseen
    call_started = call_ended = budget_warning = repeating = unseen


@pytest.mark.parametrize("spares", [BOOT, "nobody"])
async def test_an_observer_that_raises_stops_the_organism_and_hangs_nobody(
    spares: str, autojump_clock: trio.testing.MockClock
) -> None:
    organisms: list[Organism] = []

    async def use() -> None:
        async with open_organism(OrganismConfig("o", [ONE, BACK]), observer=Broken(spares)) as organism:
            organisms.append(organism)
            for _ in range(3):
                await organism.send(Ask("x"), to="one")
            await organism.send(Ask("x"), to="back")
            await trio.sleep_forever()

    caught: list[BaseException] = []
    try:
        await use()
    except* ZeroDivisionError as errors:  # and no TimeoutError beside it
        caught.append(errors)
    assert caught
    assert [report_of(organism).accepted for organism in organisms] == ([4] if spares == BOOT else [])
