"""What phloem brings: Boot, which begins every run, and the todo listeners, which everyone may address."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
import trio
import trio.testing

from phloem.config import Budgets, MemoryLimits, OrganismConfig
from phloem.errors import ConfigurationError, ConversationFailed, MessageRejected, SenderRefused
from phloem.messages import ConversationState, Ending, HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import Organism, open_organism
from phloem.primitives import Boot, TodoClosed, TodoComplete, TodoRegistered, TodoUntil
from support.auditing import open_audited, running
from support.flows import outcome_of
from support.listeners import BACK, Ask, Note, Reply, drop, echo, listener
from support.sweeping import AtStep, Recorder, assert_nothing_is_remembered
from support.wire import message

REAL_BOOT = Boot


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
        self.events: list[str] = []

    def note_dispatch(self, delivery: Any) -> None:
        self.seen.append((delivery.sender, delivery.listener.key, delivery.payload))

    def note_phase(self, phase: str) -> None:
        self.events.append(f"{phase} {len(self.seen)}")

    dispatched = note_dispatch  # type: ignore[assignment]
    phase = note_phase  # type: ignore[assignment]


class Still:
    def monotonic(self) -> float:
        return 5.0

    def wall(self) -> float:
        return 86_400.5


# -- boot --------------------------------------------------------------------------------------


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
    for settings in ({}, {"memory": MemoryLimits(max_threads=2)}, {"budgets": Budgets(messages=1, hops=1)}):
        async with open_organism(replace(config, **settings)) as organism:  # type: ignore[arg-type]
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

        dispatched = fail  # type: ignore[assignment]

    with (
        pytest.RaisesGroup(pytest.RaisesGroup(pytest.RaisesGroup(KeyError)))
        if False
        else pytest.raises(BaseException) as met
    ):
        async with open_organism(OrganismConfig("x", [BACK]), observer=Fails()):
            raise AssertionError("entered")
    assert "observer" in "".join(repr(error) for error in _leaves(met.value))


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


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
        return message(BOOT_XML.replace("<Boot>", '<Boot xmlns="">'), meta=f"<from>x</from><to>{to}</to>")

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
        assert [(key, type(payload)) for _, key, payload in recorder.seen] == [("system.boot", REAL_BOOT)]


@pytest.mark.parametrize("own", [Own.Boot, Own.TodoUntil])
async def test_a_payload_called_boot_is_mended_by_its_own_shape(own: type) -> None:
    """A model's slip in a listener's own payload is mended as ever, whatever ours of that name looks like."""
    tag = own.__name__

    async def model(payload: Note, metadata: HandlerMetadata) -> bytes:
        text = f"<{tag}><Words>if a < b & c</Words></{tag}>"
        return text.encode() if tag == "Boot" else text.replace(tag, "TodoUntil").encode()

    seen: list[Any] = []

    async def keep(payload: Any, metadata: HandlerMetadata) -> None:
        seen.append(payload)

    model_listener = listener("model", [Note, Huh], model, is_agent=True, peers=["own"])
    async with running(model_listener, listener("own", own, keep)) as organism:
        if own is Own.TodoUntil:
            pytest.skip("system.todo takes that tag as well, so it needs an address")
        await organism.wait(await organism.send(Note("x"), to="model"))
    assert seen == [own("if a < b & c")]


# -- the todo listeners ----------------------------------------------------------------------------


def asker(*sends: Any, takes: tuple[type, ...] = (), seen: list[Any], **more: Any) -> Any:
    """Sends one thing after the other, whatever it hears; then responds."""
    script = list(sends)

    async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
        seen.append(payload)
        return script.pop(0) if script else HandlerResponse.respond(Reply("done"))

    return listener("asker", [Note, *takes], handler, **more)


@pytest.mark.parametrize("peers", [None, [], ["back"], ["system.todo"]])
@pytest.mark.parametrize("is_agent", [True, False])
@pytest.mark.parametrize("to", ["system.todo", "System.TODO", None])
async def test_a_listener_reaches_them_whatever_its_peers(
    peers: list[str] | None, is_agent: bool, to: str | None
) -> None:
    seen: list[Any] = []
    close = TodoComplete("no such todo")
    own = asker(
        HandlerResponse(TodoUntil("Reply", "back", "say so"), to=to),
        HandlerResponse(close, to=None if to is None else "system.todo-complete"),
        takes=(TodoRegistered, TodoClosed),
        seen=seen,
        peers=peers,
        is_agent=is_agent,
    )
    async with open_audited(own, BACK) as organism:
        assert await organism.ask(Note("x"), to="asker") == Reply("done")
    registered = seen[1]
    assert registered == TodoRegistered(registered.id, "Reply", "say so")
    assert seen[2] == TodoClosed("no such todo", was_raised=False)


@pytest.mark.parametrize(
    "returned",
    [
        b"<TodoUntil><WaitFor>Reply</WaitFor></TodoUntil>",
        b"<TodoUntil><WaitFor>Reply</WaitFor><FromListener>a</FromListener><Description>b</Description></TodoUntil>",
        message(
            '<TodoUntil xmlns=""><WaitFor>Reply</WaitFor></TodoUntil>',
            meta="<from>x</from><to>system.todo</to>",
        ),
    ],
)
async def test_a_handlers_bytes_reach_them(returned: bytes) -> None:
    seen: list[Any] = []
    own = asker(returned, takes=(TodoRegistered, Huh), seen=seen, is_agent=True, peers=[])
    async with open_audited(own) as organism:
        await organism.ask(Note("x"), to="asker")
    assert isinstance(seen[1], TodoRegistered)


async def test_a_bad_request_is_told_to_its_sender_as_any_other() -> None:
    seen: list[Any] = []
    own = asker(
        HandlerResponse(TodoUntil("")),
        HandlerResponse(TodoUntil("x" * 129)),
        takes=(TodoRegistered, Huh),
        seen=seen,
    )
    async with open_audited(own) as organism:
        await organism.ask(Note("x"), to="asker")
        assert organism.report.rejected == 2
    assert [type(payload) for payload in seen] == [Note, Huh, Huh]


async def test_a_stranger_registers_and_closes_on_its_own_root() -> None:
    async with open_audited(BACK) as organism, organism.open_conversation(sender="someone") as block:
        opened = await block.ask(TodoUntil("Reply", "back"), to="system.todo")
        assert [(each.id, each.issuer) for each in organism.todos] == [(opened.id, "someone")]
        root = next(thread.id for thread in organism.threads if len(thread.chain) == 1)
        assert organism.todos[0].thread_id == root
        await block.ask(Ask("x"), to="back")
        assert organism.todos[0].eyebrow_raised
        assert await block.ask(TodoComplete(opened.id)) == TodoClosed(opened.id, was_raised=True)
        assert await block.ask(TodoComplete(opened.id)) == TodoClosed(opened.id, was_raised=False)
        assert organism.todos == ()


async def test_a_strangers_todo_goes_with_its_conversation_and_its_bytes_reach_them() -> None:
    async with open_audited() as organism:
        receipt = await organism.inject("<TodoUntil><WaitFor>Reply</WaitFor></TodoUntil>")
        (opened,) = (await organism.wait(receipt)).payloads
        assert isinstance(opened, TodoRegistered)
        assert opened.description == ""
        assert_nothing_is_remembered(organism)
        assert (await organism.ask(TodoComplete(opened.id))).was_raised is False


async def test_a_stranger_cannot_close_what_a_listener_has_open_nor_a_listener_a_strangers() -> None:
    seen: list[Any] = []

    async def opens(payload: Note, metadata: HandlerMetadata) -> Any:
        return HandlerResponse(TodoUntil("Never") if payload.text == "open" else TodoComplete(payload.text))

    own = listener("opener", [Note], opens)
    async with open_audited(own) as organism, organism.open_conversation(sender="mallory") as block:
        await organism.wait(await block.send(Note("open"), to="opener"))
        mine = await block.ask(TodoUntil("Never"), to="system.todo")
        theirs = next(each.id for each in organism.todos if each.issuer == "opener")
        assert await block.ask(TodoComplete(theirs)) == TodoClosed(theirs, was_raised=False)
        await organism.wait(await block.send(Note(mine.id), to="opener"))
        assert {each.id for each in organism.todos} == {theirs, mine.id}
        await organism.wait(await block.send(Note(theirs), to="opener"))
        assert [each.id for each in organism.todos] == [mine.id]
    assert seen == []


async def test_unseen_answers_are_booked_as_handled_and_the_conversation_goes_on() -> None:
    seen: list[Any] = []
    sends = [HandlerResponse(TodoUntil("Reply")), HandlerResponse(Ask("x"), to="back")]
    own = asker(sends, takes=(Reply,), seen=seen)
    async with open_audited(own, BACK) as organism:
        before = organism.report
        outcome = await outcome_of(organism, Note("x"), "asker")
        assert outcome.state is ConversationState.COMPLETED
        assert outcome.dead_letters == outcome.rejections == ()
        report = organism.report
        # Note, TodoUntil, its unseen answer, Ask, Reply
        assert report.accepted - before.accepted == report.handled - before.handled == 5
        counts = organism.statistics()["listeners"]["asker"]
        assert counts[Ending.HANDLED.value] == 3
        assert sum(counts[ending.value] for ending in Ending) == 3
    assert seen == [Note("x"), Reply("x")]


async def test_an_unseen_answer_counts_for_the_budget_of_messages() -> None:
    own = asker(HandlerResponse(TodoUntil("Reply")), seen=[])
    for most, state in ((3, ConversationState.COMPLETED), (2, ConversationState.OUT_OF_BUDGET)):
        own = asker(HandlerResponse(TodoUntil("Reply")), seen=[])
        async with open_audited(own, budgets=Budgets(messages=most)) as organism:
            assert (await outcome_of(organism, Note("x"), "asker")).state is state
            assert_nothing_is_remembered(organism)


async def test_they_cost_a_level_of_depth_as_any_other_call() -> None:
    for most, state in ((2, ConversationState.COMPLETED), (1, ConversationState.OUT_OF_BUDGET)):
        own = asker(HandlerResponse(TodoUntil("Reply")), seen=[])
        async with open_audited(own, budgets=Budgets(depth=most)) as organism:
            assert (await outcome_of(organism, Note("x"), "asker")).state is state
            assert_nothing_is_remembered(organism)


async def test_one_may_take_one_answer_and_not_the_other() -> None:
    seen: list[Any] = []
    own = asker(
        HandlerResponse(TodoUntil("Reply")),
        HandlerResponse(TodoComplete("x")),
        takes=(TodoClosed,),
        seen=seen,
    )
    async with open_audited(own) as organism:
        await organism.wait(await organism.send(Note("x"), to="asker"))
        assert seen == [Note("x")]  # the first answer is unseen, so nothing closes
        assert organism.report.in_flight == 0


async def test_too_many_todos_are_a_fault_of_the_call_and_told_as_one() -> None:
    seen: list[Any] = []
    until = HandlerResponse(TodoUntil("Never"))
    own = asker(until, until, takes=(TodoRegistered, SystemError), seen=seen)
    async with open_audited(own, memory=MemoryLimits(max_todos=1)) as organism:
        outcome = await outcome_of(organism, Note("x"), "asker")
        assert outcome.state is ConversationState.COMPLETED
        assert outcome.dead_letters[0].cause.exception == "TooManyTodos"
        assert_nothing_is_remembered(organism)
    assert [type(payload) for payload in seen] == [Note, TodoRegistered, SystemError]
    assert seen[2].code == "handler"


async def test_the_todo_is_its_callers_on_its_callers_thread() -> None:
    threads: list[str] = []

    async def opens(payload: Note, metadata: HandlerMetadata) -> HandlerResponse:
        threads.append(metadata.thread_id)
        return HandlerResponse(TodoUntil("Never", description="wait"))

    async with open_audited(listener("opener", Note, opens), listener("other", Note, echo)) as organism:
        async with organism.open_conversation() as block:
            await organism.wait(await block.send(Note("x"), to="opener"))
            (todo,) = organism.todos
            assert (todo.thread_id, todo.issuer, todo.description) == (threads[0], "opener", "wait")
            (thread,) = [thread for thread in organism.threads if thread.id == todo.thread_id]
            assert (thread.state, thread.chain) == ("idle", ("outside", "opener"))


async def test_twins_have_todos_of_their_own_under_one_name() -> None:
    """Both are asked, each registers by the service; each is nudged of its own, and closes only that."""
    nudges: dict[int, list[str]] = {0: [], 1: []}

    def twin(number: int) -> Any:
        async def handler(payload: Any, metadata: HandlerMetadata) -> Any:
            nudges[number].append(metadata.todo_nudge)
            if payload == Ask("open"):
                return HandlerResponse(TodoUntil("Note", description=f"of {number}"))
            return None

        return listener("twin", [Ask, Reply], handler, broadcast=True)

    async with (
        open_audited(twin(0), twin(1), listener("echo", Note, echo)) as organism,
        organism.open_conversation() as block,
    ):
        await organism.wait(await block.send(Ask("open"), to="twin"))
        assert [each.issuer for each in organism.todos] == ["twin", "twin"]
        assert len({each.thread_id for each in organism.todos}) == 2
        await block.ask(Note("x"), to="echo")
        await organism.wait(await block.send(Ask("look"), to="twin"))
    for number, (first, second) in nudges.items():
        assert first == ""
        assert f"of {number}" in second
        assert f"of {1 - number}" not in second


async def test_a_listeners_own_class_of_the_same_name_needs_an_address() -> None:
    async with open_audited(listener("own", Own.TodoUntil, echo)) as organism:
        assert await organism.ask(Own.TodoUntil("a"), to="own") == Own.TodoUntil("a")
        with pytest.raises(MessageRejected):
            await organism.ask(Own.TodoUntil("a"))
        assert isinstance(await organism.ask(TodoUntil("Reply"), to="system.todo"), TodoRegistered)


async def test_they_stay_reachable_while_the_organism_drains() -> None:
    async def opens(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, TodoRegistered):
            return HandlerResponse.respond(Reply(payload.wait_for))
        await trio.sleep(0.01)
        return HandlerResponse(TodoUntil("Never"))

    organisms: list[Organism] = []
    async with open_audited(listener("opener", [Note, TodoRegistered], opens)) as organism:
        organisms.append(organism)
        receipt = await organism.send(Note("x"), to="opener")
    assert organisms[0]._core.outcome(receipt).payloads == (Reply("Never"),)  # type: ignore[union-attr]


async def test_a_conversation_that_only_asks_for_a_todo_has_no_response() -> None:
    async with open_audited(asker(HandlerResponse(TodoUntil("Never")), seen=[])) as organism:
        outcome = await outcome_of(organism, Note("x"), "asker")
        assert (outcome.state, outcome.payloads) == (ConversationState.COMPLETED, ())
        assert_nothing_is_remembered(organism)


async def test_a_service_answers_a_caller_whose_own_class_has_that_name_by_that_class() -> None:
    @dataclass
    class TodoRegistered:
        id: int

    async with open_audited(
        asker(HandlerResponse(TodoUntil("Never")), takes=(TodoRegistered,), seen=[])
    ) as organism:
        with pytest.raises(ConversationFailed):
            await organism.ask(Note("x"), to="asker")
        assert_nothing_is_remembered(organism)
