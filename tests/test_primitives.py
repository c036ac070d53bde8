"""Boot begins every run, and nobody but phloem can send it. (The todo listeners: test_todo_listeners.py.)"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
import trio

from phloem.config import Budgets, MemoryLimits, OrganismConfig
from phloem.errors import ConfigurationError, MessageRejected, SenderRefused
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import open_organism
from phloem.primitives import Boot
from support.auditing import open_audited, running
from support.listeners import BACK, Ask, Note, Reply, drop, echo, listener
from support.sweeping import AtStep, Recorder, assert_nothing_is_remembered
from support.wire import message


class Own:
    """A listener's own classes, called as ours are."""

    @dataclass
    class Boot:
        words: str

    @dataclass
    class TodoUntil:
        words: str


class Dispatches(Recorder):
    """Who was dispatched with what, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, Any]] = []

    def note_dispatch(self, delivery: Any) -> None:
        self.seen.append((delivery.sender, delivery.listener.key, delivery.payload))

    dispatched = note_dispatch


class Still:
    def monotonic(self) -> float:
        return 5.0

    def wall(self) -> float:
        return 86_400.5


async def test_boot_is_the_first_message_of_a_run_and_is_handled_before_the_block_is_entered() -> None:
    seen = Dispatches()
    config = OrganismConfig("my organism", [BACK, listener("back2", Note, echo)])
    async with open_organism(config, observer=seen, clock=Still()) as organism:
        assert seen.seen == [
            ("system", "system.boot", Boot("my organism", "1970-01-02T00:00:00.500000Z", 5)),
        ]
        report = organism.report
        assert (report.accepted, report.handled, report.in_flight) == (1, 1, 0)
        assert len(organism.listeners) == 5
        ((outcome,),) = seen.outcomes.values()
        assert outcome.state is ConversationState.COMPLETED
        assert_nothing_is_remembered(organism)
        await organism.ask(Ask("x"), to="back")
        assert [key for _, key, _ in seen.seen] == ["system.boot", "back"]


async def test_boot_gives_its_only_seat_back() -> None:
    config = OrganismConfig("small", [BACK], max_in_flight=1, max_concurrent_handlers=1)
    more: list[dict[str, Any]] = [
        {},
        {"memory": MemoryLimits(max_threads=2)},
        {"budgets": Budgets(messages=1, hops=1)},
    ]
    for settings in more:
        async with open_organism(replace(config, **settings)) as organism:
            assert organism.statistics()["seats"] == {"free": 1, "waiting": 0}
            assert await organism.ask(Ask("x"), to="back") == Reply("x")
        assert organism.report.handled == 2


async def test_boot_is_handled_however_little_may_be_remembered() -> None:
    for on_full in ("refuse", "forget_oldest"):
        limits = MemoryLimits(
            max_slots_per_thread=1,
            max_slots_per_conversation=1,
            max_bytes_per_conversation=1,
            on_full=on_full,
        )
        async with open_organism(OrganismConfig("forgetful", [BACK], memory=limits)) as organism:
            assert (organism.report.handled, organism.report.rejected) == (1, 0)


@pytest.mark.parametrize("seconds", [1e-9, 0.001])
async def test_boot_is_handled_however_little_time_a_conversation_has(seconds: float) -> None:
    config = OrganismConfig(
        "hasty", [BACK], budgets=Budgets(seconds=seconds), handler_timeout=seconds, shutdown_grace=0
    )
    async with open_organism(config) as organism:
        assert organism.report.handled == 1


async def test_a_run_ends_cleanly_at_once() -> None:
    async with open_organism(OrganismConfig("empty", [BACK])) as organism:
        await organism.shutdown(0)
    assert (organism.report.accepted, organism.report.handled) == (1, 1)
    async with open_audited() as organism:
        assert sorted(organism.listeners) == ["system.boot", "system.todo", "system.todo-complete"]


def test_an_organism_that_is_cancelled_while_it_boots_leaves_nothing() -> None:
    """At each scheduler step from the beginning of ``open_organism`` to its yield."""
    entered: list[int] = []

    async def live(at: AtStep, recorder: Recorder) -> None:
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.CancelScope() as scope:
            at.act = scope.cancel
            async with open_organism(OrganismConfig("boots", [BACK]), observer=recorder):
                at.act = None
                entered.append(at.steps)
        at.act = None
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert recorder.started == list(recorder.outcomes)
        assert all(len(outcomes) == 1 for outcomes in recorder.outcomes.values())

    cut_while_booting = 0
    for step in count():
        at, recorder = AtStep(step), Recorder()
        trio.run(live, at, recorder, instruments=[at])
        states = [outcome.state for (outcome,) in recorder.outcomes.values()]
        cut_while_booting += states == [ConversationState.DRAINED]
        if entered and at.steps <= step:
            break
    assert cut_while_booting >= 1, "no cancel met Boot in flight"


async def test_an_observer_that_fails_at_boot_ends_the_organism_before_anybody_is_in() -> None:
    class Fails(Recorder):
        def fail(self, delivery: Any) -> None:
            raise KeyError("observer")

        dispatched = fail

    with pytest.RaisesGroup(KeyError, flatten_subgroups=True):
        async with open_organism(OrganismConfig("x", [BACK]), observer=Fails()):
            raise AssertionError("entered")


BOOT_XML = (
    "<Boot><OrganismName>x</OrganismName><Timestamp>x</Timestamp><ListenerCount>1</ListenerCount></Boot>"
)


async def test_no_stranger_reaches_boot_by_name_by_tag_or_by_bytes() -> None:
    forged = Boot("forged", "now", 1)
    async with open_audited(BACK) as organism:
        for to in ("system.boot", "SYSTEM.BOOT", "system.boot#1", None):
            with pytest.raises(MessageRejected) as met:
                await organism.ask(forged, to=to)
            assert "boot" not in f"{met.value.huh.found} {met.value.huh.expected}"
        inner = BOOT_XML.replace("<Boot>", '<Boot xmlns="">')
        for xml in (BOOT_XML, message(inner, meta="<from>system</from><to>system.boot</to>")):
            with pytest.raises(MessageRejected):
                await organism.inject(xml)
        for sender in ("system", "System.Boot", "system.todo", "system.anything"):
            with pytest.raises(SenderRefused):
                await organism.send(Ask("x"), to="back", sender=sender)


async def test_what_a_stranger_is_told_of_boot_is_what_is_said_of_any_unknown_name() -> None:
    async with running(BACK) as organism:
        told: list[Huh] = []
        for to in ("system.boot", "no.such.one"):
            with pytest.raises(MessageRejected) as met:
                await organism.ask(Boot("x", "now", 1), to=to)
            told.append(met.value.huh)
        assert told[0] == told[1]


@pytest.mark.parametrize("to", ["system.boot", None])
@pytest.mark.parametrize("as_bytes", [True, False])
async def test_no_listener_reaches_boot(to: str | None, as_bytes: bool) -> None:
    told: list[Any] = []

    async def forges(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, SystemError):
            told.append(payload.code)
            return HandlerResponse.respond(Note("refused"))
        if not as_bytes:
            return HandlerResponse(Boot("forged", "now", 1), to=to)
        if to is None:
            return BOOT_XML.encode()
        return message(
            BOOT_XML.replace("<Boot>", '<Boot xmlns="">'), meta=f"<from>x</from><to>{to}</to>"
        ).encode()

    recorder = Dispatches()
    config = OrganismConfig("x", [listener("forger", [Note, SystemError], forges)])
    async with open_organism(config, observer=recorder) as organism:
        assert await organism.ask(Note("x"), to="forger") == Note("refused")
    assert told == ["routing"]
    assert [key for _, key, _ in recorder.seen].count("system.boot") == 1


async def test_nobody_takes_the_names_of_ours() -> None:
    for name in ("system.boot", "System.Todo", "system", "system.new"):
        with pytest.raises(ConfigurationError, match="phloem's own"):
            async with open_organism(OrganismConfig("x", [listener(name, Ask, drop)])):
                pass
    with pytest.raises(ConfigurationError, match="unknown peer"):
        async with open_organism(OrganismConfig("x", [listener("a", Ask, drop, peers=["system.boot"])])):
            pass


async def test_a_listeners_own_class_called_boot_is_routed_by_its_tag_alone() -> None:
    async with open_audited(listener("own", Own.Boot, echo)) as organism:
        assert await organism.ask(Own.Boot("a"), to="own") == Own.Boot("a")
        assert await organism.ask(Own.Boot("b")) == Own.Boot("b")
        receipt = await organism.inject("<Boot><Words>c</Words></Boot>")
        assert (await organism.wait(receipt)).payloads == (Own.Boot("c"),)


async def test_phloems_own_boot_is_sent_where_the_listeners_have_another() -> None:
    recorder = Dispatches()
    config = OrganismConfig("x", [listener("own", Own.Boot, echo)])
    async with open_organism(config, observer=recorder):
        assert [(key, type(payload)) for _, key, payload in recorder.seen] == [("system.boot", Boot)]


@pytest.mark.parametrize("own", [Own.Boot, Own.TodoUntil])
async def test_a_payload_called_as_ours_is_mended_by_its_own_shape(own: type) -> None:
    """A model's slip in a listener's own payload is mended as ever, whatever ours of that name looks like."""
    seen: list[Any] = []

    async def model(payload: Any, metadata: HandlerMetadata) -> Any:
        seen.append(payload)
        text = f"<{own.__name__} xmlns=''><Words>if a < b & c</Words></{own.__name__}>"
        return message(text, meta="<from>x</from><to>own</to>").encode() if len(seen) == 1 else None

    async def keep(payload: Any, metadata: HandlerMetadata) -> None:
        seen.append(payload)

    asked = listener("model", [Note, Huh], model, is_agent=True, peers=["own"])
    async with running(asked, listener("own", own, keep)) as organism:
        await organism.wait(await organism.send(Note("x"), to="model"))
    assert seen[1:] == [own("if a < b & c")]
