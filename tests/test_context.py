"""What a running organism remembers: each handled message once, in causal order, for its own conversation."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing

from phloem import get_context_buffer
from phloem.config import MemoryLimits
from phloem.errors import AccessRefused
from phloem.memory.history import BufferSlot, Forgotten, History
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from support.auditing import open_audited
from support.flows import Aside, outcome_of, step
from support.listeners import BACK, Ask, Note, Reply, drop, fall, hang, listener


@dataclass(frozen=True)
class Fact:
    """Nobody can change it."""

    text: str


@dataclass
class Basket:
    """Whoever holds it can."""

    items: list[str]
    labels: dict[str, list[int]]


def texts(history: History) -> list[str]:
    return [
        f"-{slot.payload.count}" if isinstance(slot.payload, Forgotten) else slot.payload.text
        for slot in history
    ]


# -- a thread --------------------------------------------------------------------------------------
async def test_a_handler_sees_what_its_thread_was_told_before_and_its_own_message_last() -> None:
    seen: list[list[str]] = []

    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        seen.append(texts(get_context_buffer().get_thread()))
        if payload.text in ("x", "1", "2"):
            following = str(int(payload.text) + 1) if payload.text != "x" else "1"
            return HandlerResponse(Ask(following), to="back")
        return HandlerResponse.respond(payload)

    async with open_audited(listener("front", [Ask, Reply], front), BACK) as organism:
        assert await organism.ask(Ask("x"), to="front") == Reply("3")
    assert seen == [["x"], ["x", "1"], ["x", "1", "2"], ["x", "1", "2", "3"]]


async def test_while_a_handler_runs_its_slot_is_already_what_it_will_be() -> None:
    during: list[BufferSlot] = []

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        during.append(get_context_buffer().get_thread()[-1])

    async with open_audited(listener("one", Ask, one)) as organism, organism.open_conversation() as own:
        for number in range(3):
            await organism.wait(await own.send(Ask(str(number)), to="one"))
        after = list(organism.context.get_conversation(own.id))
    assert during == after
    assert [slot.metadata.slot_index for slot in after] == [0, 1, 2]


async def test_an_agents_slot_says_what_it_was_told_beside_its_payload() -> None:
    told: list[HandlerMetadata] = []
    seen: list[Any] = []

    async def agent(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        told.append(metadata)
        seen.append(get_context_buffer().get_thread()[-1].metadata)
        if isinstance(payload, Ask):
            return HandlerResponse(Ask(payload.text), to="back")
        return HandlerResponse.respond(payload)

    own = listener("agent", [Ask, Reply], agent, is_agent=True, peers=("back",))
    async with open_audited(own, BACK) as organism:
        await organism.ask(Ask("x"), to="agent")
    assert len(told) == 2
    for metadata, slot in zip(told, seen, strict=True):
        for name in ("thread_id", "from_id", "own_name", "is_self_call", "usage_instructions", "message_id"):
            assert getattr(slot, name) == getattr(metadata, name)
    assert seen[0].own_name == "agent"
    assert "back" in seen[0].usage_instructions


async def test_index_slices_types_and_senders_work_inside_a_handler() -> None:
    async def front(payload: Any, metadata: HandlerMetadata) -> Any:
        thread = get_context_buffer().get_thread()
        if isinstance(payload, Ask):
            return [HandlerResponse(Ask(text), to=to) for text, to in (("1", "back"), ("2", "other"))]
        if len(thread) < 3:
            return None
        assert len(thread) == 3
        assert thread[0].payload == Ask("x")
        assert thread[-1].payload == payload
        assert texts(thread[1:]) == texts(thread.get_slice(1)) == texts(thread.get_by_type("reply"))
        assert texts(thread.get_from("outside")) == ["x"]
        assert texts(thread.get_from("BACK")) == ["1"]
        assert len(thread.get_from("nobody")) == 0
        with pytest.raises(IndexError):
            _ = thread[3]
        return HandlerResponse.respond(payload)

    other = dataclasses.replace(BACK, name="other")
    async with open_audited(listener("front", [Ask, Reply], front), BACK, other) as organism:
        assert isinstance(await organism.ask(Ask("x"), to="front"), Reply)


# -- what is handed out ----------------------------------------------------------------------------
async def test_nothing_that_is_done_to_a_payload_changes_history() -> None:
    original = Basket(["apple"], {"a": [1]})

    async def one(payload: Basket, metadata: HandlerMetadata) -> HandlerResponse:
        buffer = get_context_buffer()
        assert buffer.get_thread()[-1].payload is not payload
        payload.items.append("poison")
        payload.labels["a"].append(666)
        assert buffer.get_thread()[-1].payload == original
        given = buffer.get_thread()
        given[-1].payload.items.clear()
        given[-1].payload.labels.clear()
        assert given[-1].payload == buffer.get_conversation()[-1].payload == original
        payload.items = None  # type: ignore[assignment]
        answer = Basket(["answer"], {})
        answers.append(answer)
        return HandlerResponse.respond(answer)

    answers: list[Basket] = []
    async with open_audited(listener("one", Basket, one)) as organism, organism.open_conversation() as own:
        sent = Basket(["apple"], {"a": [1]})
        received = await own.ask(sent, to="one")
        for mine in (sent, received, *answers):
            mine.items.append("poison")
        kept = organism.context.get_conversation(own.id)
        assert [slot.payload for slot in kept] == [original, Basket(["answer"], {})]
        kept[0].payload.items.clear()
        assert kept[0].payload == original


async def test_an_immutable_payload_is_shared_by_whoever_reads_it() -> None:
    seen: list[Fact] = []

    async def one(payload: Fact, metadata: HandlerMetadata) -> HandlerResponse:
        assert get_context_buffer().get_thread()[-1].payload is payload
        seen.append(payload)
        return HandlerResponse.respond(payload)

    async with open_audited(listener("one", Fact, one)) as organism, organism.open_conversation() as own:
        answer = await own.ask(Fact("x"), to="one")
        asked, answered = organism.context.get_conversation(own.id)
        assert asked.payload is seen[0]
        assert answered.payload is answer


# -- the whole conversation --------------------------------------------------------------------------
async def test_the_whole_conversation_is_in_causal_order_however_its_branches_run(
    autojump_clock: trio.testing.MockClock,
) -> None:
    chance = random.Random(4)
    sizes: list[int] = []

    async def node(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        await trio.sleep(chance.random())
        whole = texts(get_context_buffer().get_conversation())
        steps = payload.text.split("/")
        line = ["/".join(steps[:length]) for length in range(1, len(steps) + 1)]
        assert [text for text in whole if text in line] == line, "all it comes from, in order"
        assert len(set(whole)) == len(whole)
        sizes.append(len(whole))
        if len(steps) == 4:
            return []
        return [HandlerResponse(Ask(f"{payload.text}/{number}"), to="node") for number in range(3)]

    keeps = MemoryLimits(keep_finished=1)
    async with open_audited(listener("node", Ask, node), memory=keeps) as organism:
        outcome = await outcome_of(organism, Ask("0"), "node")
        assert outcome.state is ConversationState.COMPLETED, outcome
        whole = texts(organism.context.get_conversation(outcome.conversation))
    assert len(whole) == len(set(whole)) == 1 + 3 + 9 + 27
    assert all(whole.index(text.rpartition("/")[0]) < whole.index(text) for text in whole if text != "0")
    assert max(sizes) > 10


async def test_each_message_stands_once_whatever_its_attempts_and_a_failed_one_never(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def flaky(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        assert texts(get_context_buffer().get_thread()) == ["x"]
        if metadata.attempt < 3:
            raise ValueError("again")
        return HandlerResponse.respond(Reply("at last"))

    takes = listener("flaky", Ask, flaky, retries=2)
    async with open_audited(
        takes, listener("fall", Note, fall), memory=MemoryLimits(keep_finished=9)
    ) as organism:
        async with organism.open_conversation() as own:
            assert await own.ask(Ask("x"), to="flaky") == Reply("at last")
            receipt = await own.send(Note("fails"), to="fall")
            assert (await organism.wait(receipt)).state is ConversationState.FAILED
            assert texts(organism.context.get_conversation(own.id)) == ["x", "at last"]
        assert texts(organism.context.get_conversation(own.id)) == ["x", "at last"]


async def test_a_broadcast_stands_once_for_each_that_heard_it() -> None:
    async def hears(payload: Note, metadata: HandlerMetadata) -> None:
        assert texts(get_context_buffer().get_thread()) == ["all"]

    twins = [listener("twin", Note, hears, broadcast=True) for _ in range(3)]
    async with open_audited(*twins) as organism, organism.open_conversation() as own:
        await organism.wait(await own.send(Note("all"), to="twin"))
        kept = list(organism.context.get_conversation(own.id))
    assert [slot.metadata.to_id for slot in kept] == ["twin"] * 3
    assert len({slot.metadata.message_id for slot in kept}) == 3
    assert len({slot.metadata.thread_id for slot in kept}) == 3


async def test_answers_stand_at_the_root_too() -> None:
    async def twice(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse.respond(Reply("1")), HandlerResponse.respond(Reply("2"))]

    async with (
        open_audited(listener("twice", Ask, twice)) as organism,
        organism.open_conversation(sender="console") as own,
    ):
        receipt = await own.send(Ask("x"), to="twice")
        await organism.wait(receipt)
        root = organism.context.get_thread(receipt.thread)
        assert texts(root) == ["1", "2"]
        for index, slot in enumerate(root):
            told = slot.metadata
            assert (told.from_id, told.to_id, told.slot_index) == ("twice", "console", index)
            assert (told.thread_id, told.payload_type) == (receipt.thread, "Reply")
        assert texts(organism.context.get_conversation(own.id)) == ["x", "1", "2"]


async def test_what_ended_threads_were_told_is_gone_for_handlers() -> None:
    wholes: list[list[str]] = []

    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        wholes.append(texts(get_context_buffer().get_conversation()))
        if isinstance(payload, Ask):
            return HandlerResponse(payload, to="middle")
        return HandlerResponse.respond(payload)

    keeps = MemoryLimits(keep_finished=5)
    chain = [listener("front", [Ask, Reply], front), step("middle", "back"), BACK]
    async with open_audited(*chain, memory=keeps) as organism:
        await organism.ask(Ask("x"), to="front")
    assert wholes == [["x"], ["x", "x"]], "its own two; what middle and back heard has ended"


# -- turns -----------------------------------------------------------------------------------------
async def test_in_an_open_conversation_earlier_turns_are_remembered_and_other_blocks_are_not() -> None:
    seen: list[tuple[list[str], list[str]]] = []

    async def one(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        buffer = get_context_buffer()
        seen.append((texts(buffer.get_thread()), texts(buffer.get_conversation())))
        return HandlerResponse.respond(Reply(payload.text.upper()))

    async with open_audited(listener("one", Ask, one), BACK) as organism:
        async with organism.open_conversation() as first, organism.open_conversation() as second:
            await first.ask(Ask("a"), to="one")
            await second.ask(Ask("z"), to="one")
            await first.ask(Ask("b"), to="back")
            await first.ask(Ask("c"), to="one")
        await organism.ask(Ask("d"), to="one")
    assert seen == [
        (["a"], ["a"]),
        (["z"], ["z"]),
        (["a", "c"], ["a", "A", "b", "b", "c"]),
        (["d"], ["d"]),
    ]


async def test_a_turn_that_is_cut_leaves_nothing_and_the_next_goes_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def one(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        if payload.text == "cut":
            await trio.sleep_forever()
        return HandlerResponse.respond(Reply(" ".join(texts(get_context_buffer().get_thread()))))

    async with open_audited(listener("one", Ask, one)) as organism, organism.open_conversation() as own:
        await own.ask(Ask("a"), to="one")
        with trio.move_on_after(1):
            await own.ask(Ask("cut"), to="one")
        assert await own.ask(Ask("b"), to="one") == Reply("a b")


# -- the operator's view ---------------------------------------------------------------------------
async def test_views_are_safe_to_hold_after_everything_has_ended() -> None:
    async with open_audited(BACK, listener("hang", Note, hang)) as organism:
        view = organism.context
        async with organism.open_conversation() as own:
            await own.ask(Ask("x"), to="back")
            history = view.get_conversation(own.id)
            thread = view.get_thread(history[0].metadata.thread_id)
            assert list(view.conversations) == [own.id]
            assert view.thread_exists(history[0].metadata.thread_id)
        left = await organism.send(Note("cut"), to="hang")
        await organism.shutdown(0)
    assert texts(history) == ["x", "x"]
    assert texts(thread) == ["x"]
    assert list(view.conversations) == []
    assert view.get_stats() == {"thread_count": 0, "total_slots": 0, "total_bytes": 0, "finished": 0}
    for id in (own.id, left.conversation, "", "no-such"):
        with pytest.raises(AccessRefused):
            view.get_conversation(id)
        with pytest.raises(AccessRefused):
            view.get_thread(id)
        assert not view.thread_exists(id)


async def test_an_operator_sees_what_is_being_handled_at_its_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        open_audited(listener("hang", Ask, hang), BACK) as organism,
        organism.open_conversation() as own,
    ):
        await own.ask(Ask("1"), to="back")
        await own.send(Ask("2"), to="hang")
        await trio.sleep(1)
        await own.ask(Ask("3"), to="back")
        assert texts(organism.context.get_conversation(own.id)) == ["1", "1", "2", "3", "3"]
        assert organism.context.get_stats()["total_slots"] == 4
        await organism.kill(own.id)
        assert texts(organism.context.get_conversation(own.id)) == ["1", "1", "3", "3"]


async def test_memory_goes_back_at_once_when_a_conversation_ends_however_it_ends() -> None:
    async def spread(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(Aside("aside"), to="drop"), HandlerResponse(Note("stays"), to="hang")]

    everyone = [
        listener("fan", Ask, spread),
        listener("drop", Aside, drop),
        listener("hang", Note, hang),
        BACK,
    ]
    async with open_audited(*everyone) as organism:
        receipt = await organism.send(Ask("x"), to="fan")
        await trio.testing.wait_all_tasks_blocked()
        assert organism.context.get_stats()["total_slots"] == 1
        await organism.kill(receipt.conversation)
        await organism.ask(Ask("x"), to="back")
        assert organism.context.get_stats() == {
            "thread_count": 0,
            "total_slots": 0,
            "total_bytes": 0,
            "finished": 0,
        }
        assert organism.statistics()["memory"]["total_bytes"] == 0


async def test_of_what_ended_threads_had_the_newest_is_kept_for_operators() -> None:
    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        if payload.text == "3":
            return HandlerResponse.respond(payload)
        return HandlerResponse(Ask(str(int(payload.text) + 1)), to="back")

    keeps = MemoryLimits(keep_finished=1, max_slots_per_conversation=2)
    async with open_audited(listener("front", [Ask, Reply], front), BACK, memory=keeps) as organism:
        outcome = await outcome_of(organism, Ask("0"), "front")
        kept = organism.context.get_conversation(outcome.conversation)
        assert texts(kept.get_from("back"))[-1] == "3", "what it was told last stays, what it was first goes"
