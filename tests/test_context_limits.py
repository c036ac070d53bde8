"""What a running organism remembers at most: what goes first, who is refused, what is kept for operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest
import trio
import trio.testing

from phloem import TodoRegistered, TodoUntil, get_context_buffer, get_todo_registry
from phloem.config import Budgets, ListenerConfig, MemoryLimits
from phloem.errors import AccessRefused, MessageRejected
from phloem.memory.history import Forgotten, History
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import Organism
from support.auditing import open_audited
from support.flows import Aside, outcome_of, step
from support.listeners import BACK, Ask, Note, Reply, drop, fall, hang, listener
from support.wire import message

DROP: Final = listener("drop", Note, drop)
BARE: Final = '<Note xmlns=""><Text>{}</Text></Note>'


def refusing(**more: Any) -> MemoryLimits:
    return MemoryLimits(on_full="refuse", **more)


def texts(history: History) -> list[str]:
    return [
        f"-{slot.payload.count}"
        if isinstance(slot.payload, Forgotten)
        else getattr(slot.payload, "text", type(slot.payload).__name__)
        for slot in history
    ]


def remembered(organism: Organism, id: str) -> list[str]:
    return texts(organism.context.get_conversation(id))


async def tell(organism: Organism, own: Any, *words: str, to: str = "drop") -> None:
    for word in words:
        await organism.wait(await own.send(Note(word), to=to))


async def refusal(sending: Any) -> Huh:
    with pytest.raises(MessageRejected) as rejected:
        await sending
    huh = rejected.value.huh
    assert huh.code == "full"
    assert "room" in huh.expected
    return huh


# -- forgetting ------------------------------------------------------------------------------------
async def test_a_full_thread_forgets_its_oldest_and_says_how_many() -> None:
    seen: list[list[str]] = []

    async def one(payload: Note, metadata: HandlerMetadata) -> None:
        thread = get_context_buffer().get_thread()
        assert [slot.metadata.slot_index for slot in thread[-2:]] == [len(seen) - 1, len(seen)][
            -len(thread) :
        ]
        seen.append(texts(thread))

    limits = MemoryLimits(max_slots_per_thread=2)
    async with (
        open_audited(listener("one", Note, one), memory=limits) as organism,
        organism.open_conversation() as own,
    ):
        await tell(organism, own, *"abcd", to="one")
        assert remembered(organism, own.id) == ["-2", "c", "d"]
    assert seen == [["a"], ["a", "b"], ["a", "b", "c"], ["-1", "b", "c", "d"]], "with what is being handled"


async def test_a_full_conversation_forgets_across_its_threads() -> None:
    limits = MemoryLimits(max_slots_per_conversation=3)
    other = listener("other", Note, drop)
    async with open_audited(DROP, other, memory=limits) as organism, organism.open_conversation() as own:
        await tell(organism, own, "a", "b")
        await tell(organism, own, "c", "d", to="other")
        assert remembered(organism, own.id) == ["-1", "b", "c", "d"]
        await tell(organism, own, "e", "f", to="other")
        assert remembered(organism, own.id) == ["-3", "d", "e", "f"]


async def test_bytes_are_those_of_the_xml_in_utf_8_and_the_newest_always_stays() -> None:
    limits = MemoryLimits(max_bytes_per_conversation=200)
    async with open_audited(DROP, memory=limits) as organism, organism.open_conversation() as own:
        await tell(organism, own, "é" * 50)
        stats = organism.context.get_stats()
        assert stats["total_bytes"] == len(BARE.format("é" * 50).replace(' xmlns=""', "").encode())
        await tell(organism, own, "x" * 50, "y" * 10_000)
        assert remembered(organism, own.id) == ["-2", "y" * 10_000]
        await tell(organism, own, "z")
        assert remembered(organism, own.id) == ["-3", "z"]


async def test_one_conversations_limits_are_none_of_anothers() -> None:
    limits = MemoryLimits(max_slots_per_conversation=1, max_bytes_per_conversation=60)
    async with (
        open_audited(DROP, memory=limits) as organism,
        organism.open_conversation() as one,
        organism.open_conversation() as two,
    ):
        await tell(organism, one, "a")
        await tell(organism, two, "b", "c")
        assert remembered(organism, one.id) == ["a"]
        assert remembered(organism, two.id) == ["-1", "c"]


async def test_a_message_whose_thread_ends_with_it_pushes_nothing_out() -> None:
    async def agent(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(Note("aside" * 100), to="drop")

    limits = MemoryLimits(max_slots_per_conversation=2, max_bytes_per_conversation=400)
    async with (
        open_audited(listener("agent", Ask, agent), DROP, memory=limits) as organism,
        organism.open_conversation() as own,
    ):
        for word in "ab":
            await organism.wait(await own.send(Ask(word), to="agent"))
        assert remembered(organism, own.id) == ["a", "b"]


async def test_nudges_count_as_bytes() -> None:
    async def agent(payload: Note, metadata: HandlerMetadata) -> None:
        if payload.text == "register":
            for _ in range(50):
                get_todo_registry().register(wait_for="Note", description="d" * 1_000)

    limits = MemoryLimits(max_bytes_per_conversation=100_000)
    async with (
        open_audited(listener("agent", Note, agent), memory=limits) as organism,
        organism.open_conversation() as own,
    ):
        await tell(organism, own, "register", *"abcdefgh", to="agent")
        kept = organism.context.get_conversation(own.id)
        assert 0 < sum(len(nudge) for nudge in {slot.metadata.todo_nudge for slot in kept}) <= 100_000


# -- refusing strangers ------------------------------------------------------------------------------
async def test_a_stranger_is_refused_whose_thread_is_full_and_others_are_not() -> None:
    other = listener("other", Note, drop)
    limits = refusing(max_slots_per_thread=2)
    async with open_audited(DROP, other, memory=limits) as organism, organism.open_conversation() as own:
        await tell(organism, own, "a", "b")
        for send in (own.send(Note("c"), to="drop"), own.ask(Note("c"), to="drop")):
            assert "2 of 2" in (await refusal(send)).found
        await tell(organism, own, "c", to="other")
        assert remembered(organism, own.id) == ["a", "b", "c"]
        assert organism.report.rejected == 2


async def test_messages_on_their_way_count() -> None:
    hangs, limits = listener("hang", Note, hang), refusing(max_slots_per_thread=2)
    async with open_audited(hangs, memory=limits) as organism, organism.open_conversation() as own:
        for word in "ab":
            await own.send(Note(word), to="hang")
        await refusal(own.send(Note("c"), to="hang"))
        await organism.kill(own.id)


async def test_payloads_of_one_document_count_one_after_the_other() -> None:
    async with open_audited(DROP, memory=refusing(max_slots_per_conversation=2)) as organism:
        receipt = await organism.inject(message(*(BARE.format(word) for word in "abc")))
        outcome = await organism.wait(receipt)
        assert [huh.code for huh in outcome.rejections] == ["full"]
        assert outcome.state is ConversationState.FAILED


async def test_two_payloads_for_a_new_lasting_thread_count_both() -> None:
    limits = refusing(max_slots_per_thread=1)
    async with open_audited(DROP, memory=limits) as organism, organism.open_conversation() as own:
        outcome = await organism.wait(await own.inject(message(BARE.format("a"), BARE.format("b"))))
        assert remembered(organism, own.id) == ["a"]
        assert [huh.code for huh in outcome.rejections] == ["full"]


async def test_a_payload_larger_than_all_a_conversation_may_remember_is_refused() -> None:
    async with open_audited(DROP, BACK, memory=refusing(max_bytes_per_conversation=1_000)) as organism:
        await refusal(organism.send(Note("x" * 1_000), to="drop"))
        await organism.wait(await organism.send(Note("x" * 900), to="drop"))
        assert organism.statistics()["seats"]["free"] == organism.config.max_in_flight


# -- refusing listeners ------------------------------------------------------------------------------
def scripted(returns: Sequence[Any], seen: list[Any], name: str = "agent") -> ListenerConfig:
    """Returns one thing after the other, whatever it is told; then nothing."""
    script = list(returns)

    async def act(payload: Any, metadata: HandlerMetadata) -> Any:
        seen.append(payload)
        return script.pop(0) if script else None

    return listener(name, [Ask, Reply, Huh, SystemError, TodoRegistered], act)


async def test_a_forward_that_does_not_fit_is_a_huh_to_its_sender_and_those_that_fit_go_on() -> None:
    seen: list[Any] = []
    asides = [HandlerResponse(Note(word), to="drop") for word in "abc"]
    own = scripted([asides], seen)
    async with open_audited(own, DROP, memory=refusing(max_slots_per_conversation=3)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "agent")
        assert outcome.state is ConversationState.COMPLETED, outcome
        asked, huh = seen
        assert asked == Ask("x")
        assert (huh.code, huh.path, huh.attempts_left) == ("full", "/Note", 2)
        assert "<Text>c</Text>" in huh.original
        assert (organism.report.rejected, outcome.rejections) == (1, (huh,))


async def test_a_broadcast_is_refused_for_those_twins_only_for_whom_there_is_no_room() -> None:
    heard: list[str] = []

    async def hears(payload: Note, metadata: HandlerMetadata) -> None:
        heard.append(payload.text)

    seen: list[Any] = []
    twins = [listener("twin", Note, hears, broadcast=True) for _ in range(3)]
    own = scripted([HandlerResponse(Note("all"), to="twin")], seen)
    async with open_audited(own, *twins, memory=refusing(max_slots_per_conversation=3)) as organism:
        await outcome_of(organism, Ask("x"), "agent")
    assert heard == ["all", "all"]
    assert [type(payload) for payload in seen] == [Ask, Huh]


async def test_responds_that_do_not_fit_together_go_together_or_not_at_all() -> None:
    inner: list[Any] = []
    both = [HandlerResponse.respond(Reply("1")), HandlerResponse.respond(Reply("2"))]
    child = scripted([both, HandlerResponse.respond(Reply("short"))], inner, "child")
    outer: list[Any] = []
    front = scripted([HandlerResponse(Ask("x"), to="child")], outer)
    async with open_audited(front, child, memory=refusing(max_slots_per_thread=2)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "agent")
        assert outcome.state is ConversationState.COMPLETED, outcome
    assert outer == [Ask("x"), Reply("short")]
    assert [type(payload) for payload in inner] == [Ask, Huh]
    assert inner[1].code == "full"


async def test_an_answer_that_does_not_fit_at_the_root_is_a_huh_to_the_responder() -> None:
    seen: list[Any] = []
    long, short = HandlerResponse.respond(Reply("x" * 5_000)), HandlerResponse.respond(Reply("short"))
    async with open_audited(
        scripted([long, short], seen), memory=refusing(max_bytes_per_conversation=4_000)
    ) as organism:
        assert await organism.ask(Ask("x"), to="agent") == Reply("short")
        assert seen[1].code == "full"
        assert organism.report.rejected == 0, "what would go out to a stranger is no entry"


async def test_whoever_stays_too_long_is_told_three_times_and_then_its_caller_is() -> None:
    inner: list[Any] = []
    child = scripted([HandlerResponse(Note("x" * 900), to="drop")] * 9, inner, "child")
    outer: list[Any] = []
    front = scripted([HandlerResponse(Ask("x"), to="child")], outer)
    async with open_audited(front, child, DROP, memory=refusing(max_bytes_per_conversation=800)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "agent")
        assert outcome.state is ConversationState.COMPLETED, outcome
    assert [type(payload) for payload in inner] == [Ask, Huh, Huh]
    assert [type(payload) for payload in outer] == [Ask, SystemError]


async def test_notices_are_never_refused() -> None:
    seen: list[Any] = []
    own = scripted([HandlerResponse(Note("x"), to="nobody"), HandlerResponse(Ask("x"), to="fall")], seen)
    falls = listener("fall", Ask, fall)
    async with open_audited(own, falls, memory=refusing(max_slots_per_conversation=2)) as organism:
        await outcome_of(organism, Ask("x"), "agent")
    assert [type(payload) for payload in seen[:2]] == [Ask, SystemError]


async def test_what_a_service_answers_is_never_refused() -> None:
    seen: list[Any] = []
    own = scripted([HandlerResponse(TodoUntil("Never"), to="system.todo")], seen)
    async with open_audited(own, memory=refusing(max_slots_per_thread=1)) as organism:
        outcome = await outcome_of(organism, Ask("x"), "agent")
        assert outcome.state is ConversationState.COMPLETED, outcome
    assert [type(payload) for payload in seen] == [Ask, TodoRegistered]


async def test_a_respond_is_let_through_where_it_frees_more_than_it_takes() -> None:
    done: list[str] = []

    async def busy(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        done.append(payload.text)
        if len(done) < 3:
            return HandlerResponse(Ask(str(len(done))), to="back")
        assert len(get_context_buffer().get_thread()) == 3
        return HandlerResponse.respond(Reply("done"))

    own = [step("front", "busy"), listener("busy", [Ask, Reply], busy), BACK]
    async with open_audited(*own, memory=refusing(max_slots_per_conversation=4)) as organism:
        assert await organism.ask(Ask("x"), to="front") == Reply("done")


@pytest.mark.parametrize(
    "ending", ["cancelled", "failed", "retried", "out of time", "out of hops", "pruned", "queued", "handled"]
)
async def test_however_a_message_ends_its_room_is_given_back(
    ending: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Reply):
            return HandlerResponse.respond(payload)
        if ending in ("failed", "retried"):
            raise ValueError("x")
        if ending == "out of hops":
            return HandlerResponse(Ask("on"), to="front")
        if ending == "pruned":
            return [HandlerResponse(Ask("child"), to="quick"), HandlerResponse(Note("x"), to="hang")]
        if ending != "handled":
            await trio.sleep_forever()
        return None

    async def quick(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(0.1)
        return HandlerResponse.respond(Reply("done"))

    everyone = [
        listener("front", [Ask, Reply], front, retries=2 if ending == "retried" else 0),
        listener("quick", Ask, quick),
        listener("hang", Note, hang),
        listener("one", Aside, hang, max_concurrent=1),
    ]
    async with open_audited(*everyone, memory=refusing()) as organism, organism.open_conversation() as own:
        for _ in range(3):
            budgets = {"out of hops": Budgets(hops=3), "out of time": Budgets(seconds=1)}.get(ending)
            with trio.move_on_after(5 if ending in ("cancelled", "queued") else 1_000):
                if ending == "queued":
                    await organism.send(Aside("keeps it busy"), to="one")
                    await own.ask(Aside("waits"), to="one")
                elif ending == "cancelled":
                    await own.ask(Ask("x"), to="front")
                else:
                    await organism.wait(await own.send(Ask("x"), to="front", budgets=budgets))
            await trio.testing.wait_all_tasks_blocked()
        memory = organism._core.conversations[own.id].memory
        assert memory is not None
        assert (memory._promised, memory._promised_size) == (0, 0)
        for thread in organism._core.conversations[own.id].threads:
            assert thread.slots is None or thread.slots.promised == 0
        if ending == "queued":
            await organism.shutdown(0)


# -- kept for operators --------------------------------------------------------------------------------
async def test_the_newest_finished_conversations_stay_readable_with_what_ended_threads_had() -> None:
    async with open_audited(step("front", "back"), BACK, memory=MemoryLimits(keep_finished=2)) as organism:
        view = organism.context
        receipts = []
        for word in "abc":
            receipts.append(await organism.send(Ask(word), to="front"))
            await organism.wait(receipts[-1])
        oldest, *newest = (receipt.conversation for receipt in receipts)
        assert view.conversations == tuple(newest)
        with pytest.raises(AccessRefused, match="keep_finished"):
            view.get_conversation(oldest)
        assert [remembered(organism, id) for id in newest] == [["b"] * 4, ["c"] * 4]
        assert view.get_stats()["finished"] == 2
        assert view.get_stats()["total_slots"] == 0
        assert not view.thread_exists(receipts[-1].thread), "no thread of it lives"
    assert remembered(organism, newest[-1]) == ["c"] * 4, "safe to hold, and to read, when all is closed"


async def test_what_is_kept_of_a_finished_conversation_is_bounded_too() -> None:
    keeps = MemoryLimits(keep_finished=1, max_slots_per_conversation=5)

    async def many(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse(Note(str(number)), to="drop") for number in range(100)]

    async with open_audited(listener("many", Ask, many), DROP, memory=keeps) as organism:
        outcome = await outcome_of(organism, Ask("x"), "many")
        kept = organism.context.get_conversation(outcome.conversation)
        assert len(kept) <= 1 + 2 * 5
        assert isinstance(kept[0].payload, Forgotten)
        assert kept[0].payload.count + len(kept) - 1 == 101


async def test_keeping_finished_conversations_changes_nothing_for_handlers() -> None:
    async def told(keep: int) -> list[list[str]]:
        seen: list[list[str]] = []

        async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse | None:
            seen.append(texts(get_context_buffer().get_conversation()))
            return HandlerResponse(Ask("to back"), to="back") if isinstance(payload, Ask) else None

        limits = MemoryLimits(keep_finished=keep, max_slots_per_conversation=2)
        everyone = (listener("front", [Ask, Reply], front), BACK)
        async with open_audited(*everyone, memory=limits) as organism, organism.open_conversation() as own:
            for word in "abc":
                await organism.wait(await own.send(Ask(word), to="front"))
        return seen

    assert await told(5) == await told(0)
