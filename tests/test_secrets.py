"""200 conversations side by side, each with a secret: no handler reads another's, whatever it asks for."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import trio
import trio.testing

from phloem import get_context_buffer, get_todo_registry
from phloem.config import MemoryLimits
from phloem.errors import AccessRefused, NoDispatch
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.organism import Organism
from phloem.pump.ports import SeededIds
from phloem.pump.within import ContextBuffer
from support.auditing import open_audited
from support.flows import outcome_of
from support.listeners import Ask, Note, Reply, drop, listener

MANY: Final = 200
PART: Final = 0.1  # of the ids that are tried in every way by one dispatch; all are by six hundred of them
SECRET: Final = re.compile(r"secret-\d+-")


@dataclass
class Locked:
    """Mutable, so everybody reads it anew."""

    texts: list[str]


@dataclass(frozen=True)
class Sealed:
    """Immutable, so one object is shared."""

    text: str


class Spy:
    """Learns every id there is to learn, tries all of them everywhere, and notes what it could read."""

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}
        self.conversations: dict[str, None] = {}
        self.read: dict[str, set[str]] = {}
        self.refusals: set[str] = set()
        self.tried = 0
        self.chance = random.Random(200)

    def learn(self, metadata: HandlerMetadata, organism: Organism) -> None:
        self.conversations[metadata.conversation] = None
        for id in (metadata.thread_id, metadata.message_id, metadata.conversation):
            self.ids[id] = None
        self.ids.update(dict.fromkeys(view.id for view in organism.threads))
        self.ids.update(dict.fromkeys(watcher.id for watcher in organism.todos))

    def guesses(self, own: HandlerMetadata) -> Iterator[str]:
        """What it has learnt, what follows the same pattern, and what programmers try."""
        yield from self.ids
        for conversation in self.conversations:
            if conversation != own.conversation:
                yield from (f"{conversation}-{number}" for number in range(4))
        yield from ("", "*", "%", ".*", "None", "0", "root", "system", "outside", "..", own.conversation)
        yield from (own.thread_id + "\x00", own.thread_id + "-0", own.thread_id.upper() + " ")

    def spy(self, metadata: HandlerMetadata, secret: str) -> None:
        """Everything that this handler can get at, by any id."""
        buffer, registry = get_context_buffer(), get_todo_registry()
        own = {slot.metadata.thread_id for slot in buffer.get_conversation()}
        got = [str(list(buffer.get_conversation())), str(list(buffer.get_thread())), str(buffer.get_stats())]
        every = dict.fromkeys(self.guesses(metadata))
        self.tried += len(every)
        for id in every:
            exists = buffer.thread_exists(id)
            if not exists and self.chance.random() > PART:
                continue
            try:
                got.append(str(list(buffer.get_thread(id))))
                assert exists
                assert id in own or id.startswith(metadata.conversation)
            except AccessRefused as refused:
                assert not exists
                got.append(str(refused))
                self.refusals.add(str(refused).replace(repr(id), "ID"))
            for ask in (registry.get_raised_for, registry.get_pending_for, registry.close_all_for_thread):
                if id == metadata.thread_id:
                    continue
                try:
                    got.append(str(ask(id)))
                except AccessRefused as refused:
                    got.append(str(refused))
            try:
                registry.register(id, wait_for="Sealed", description="planted")
                assert id == metadata.thread_id
            except AccessRefused as refused:
                got.append(str(refused))
            if not id.startswith(metadata.conversation):
                assert not registry.close(id)
        for raised in registry.get_raised_for():
            registry.close(raised.id)
        for pending in registry.get_pending_for():
            got.append(str(pending))
            if pending.description == "planted":
                registry.close(pending.id)
        got.append(metadata.todo_nudge)
        got.append(metadata.usage_instructions)
        found = {match for text in got for match in SECRET.findall(text)}
        self.read.setdefault(secret, set()).update(found)


def texts_of(buffer: ContextBuffer) -> list[str]:
    return [slot.payload.text for slot in buffer.get_thread()]


def secret_of(payload: Any) -> str:
    (secret,) = set(SECRET.findall(str(payload)))
    return str(secret)


@pytest.mark.parametrize("seeded", [False, True], ids=["random ids", "ids that anybody can compute"])
async def test_no_handler_reads_another_conversations_secret_whatever_id_it_asks_for(seeded: bool) -> None:
    spy, everyone_is_here, waiting = Spy(), trio.Event(), 0

    async def front(payload: Locked | Reply, metadata: HandlerMetadata) -> Any:
        nonlocal waiting
        spy.learn(metadata, organism)
        if isinstance(payload, Reply):
            spy.spy(metadata, secret_of(payload))
            return HandlerResponse.respond(payload)
        secret = secret_of(payload)
        get_todo_registry().register(wait_for="Reply", description=f"{secret}todo")
        waiting += 1
        if waiting == MANY:
            everyone_is_here.set()
        await everyone_is_here.wait()  # all conversations live, and all their handlers at work
        spy.spy(metadata, secret)
        return HandlerResponse(Sealed(f"{secret}for the vault"), to="vault")

    async def vault(payload: Sealed, metadata: HandlerMetadata) -> HandlerResponse:
        spy.learn(metadata, organism)
        await trio.lowlevel.checkpoint()
        spy.spy(metadata, secret_of(payload))
        return HandlerResponse.respond(Reply(f"{secret_of(payload)}answered"))

    async def ask(number: int) -> None:
        secret = f"secret-{number}-"
        sent = Locked([f"{secret}first", f"{secret}second"])
        if number % 2:
            assert await organism.ask(sent, to="front") == Reply(f"{secret}answered")
            return
        async with organism.open_conversation() as conversation:
            receipt = await conversation.send(Sealed(f"{secret}before"), to="drop")
            spy.ids.update({receipt.thread: None, receipt.conversation: None})
            await organism.wait(receipt)
            assert await conversation.ask(sent, to="front") == Reply(f"{secret}answered")

    everyone = [
        listener("front", [Locked, Reply], front),
        listener("vault", Sealed, vault),
        listener("drop", Sealed, drop),
    ]
    keeps = MemoryLimits(keep_finished=MANY)
    async with open_audited(
        *everyone,
        memory=keeps,
        max_concurrent_handlers=2 * MANY,
        max_concurrent_pipelines=2 * MANY,
        ids=SeededIds(b"known") if seeded else SeededIds(),
    ) as organism:
        async with trio.open_nursery() as nursery:
            for number in range(MANY):
                nursery.start_soon(ask, number)
        assert organism.report.failed == 0
    assert spy.read == {f"secret-{number}-": {f"secret-{number}-"} for number in range(MANY)}
    assert spy.refusals == {"found the thread ID, expected one of this conversation"}, "always the same words"
    assert spy.tried > MANY * MANY


async def test_what_is_kept_of_finished_conversations_is_for_operators_only() -> None:
    read: list[str] = []

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        buffer = get_context_buffer()
        for id in known:
            assert not buffer.thread_exists(id)
            with pytest.raises(AccessRefused):
                buffer.get_thread(id)
        read.append(str(list(buffer.get_conversation())))

    known: list[str] = []
    async with open_audited(listener("one", Ask, one), memory=MemoryLimits(keep_finished=9)) as organism:
        for number in range(3):
            receipt = await organism.send(Ask(f"secret-{number}-"), to="one")
            assert (await organism.wait(receipt)).state is ConversationState.COMPLETED
            kept = organism.context.get_conversation(receipt.conversation)
            assert len(kept) == 1
            known += [receipt.thread, receipt.conversation, kept[0].metadata.thread_id]
    assert [SECRET.findall(text) for text in read] == [[f"secret-{number}-"] for number in range(3)]


async def test_a_buffer_that_another_conversations_handler_lost_is_of_no_use_to_who_finds_it() -> None:
    lost: list[ContextBuffer] = []
    read: list[str] = []
    done = trio.Event()

    async def careless(payload: Ask, metadata: HandlerMetadata) -> None:
        lost.append(get_context_buffer())
        await done.wait()

    async def thief(payload: Reply, metadata: HandlerMetadata) -> None:
        try:
            read.append(str(list(lost[0].get_conversation())))
        except NoDispatch:
            read.append("refused")
        done.set()

    async with open_audited(listener("careless", Ask, careless), listener("thief", Reply, thief)) as organism:
        await organism.send(Ask("secret-1-"), to="careless")
        await trio.testing.wait_all_tasks_blocked()
        await organism.wait(await organism.send(Reply("x"), to="thief"))
        await organism.wait_idle()
    assert read == ["refused"]


async def test_a_stranger_cannot_choose_the_thread_it_speaks_on() -> None:
    read: list[str] = []

    async def one(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        read.append(str([slot.payload for slot in get_context_buffer().get_conversation()]))
        return HandlerResponse.respond(Reply(payload.text))

    async with open_audited(listener("one", Ask, one)) as organism, organism.open_conversation() as own:
        await own.ask(Ask("secret-1-"), to="one")
        for thread in organism.threads:
            document = (
                '<message xmlns="https://xml-pipeline.org/ns/envelope/v1"><meta><from>one</from><to>one</to>'
                f'<thread>{thread.id}</thread></meta><Ask xmlns=""><Text>thief</Text></Ask></message>'
            )
            await organism.wait(await organism.inject(document))
    assert [SECRET.findall(text) for text in read] == [["secret-1-"], [], []]


# -- organisms within organisms ---------------------------------------------------------------------
async def test_of_two_nested_organisms_each_handler_sees_its_own() -> None:
    async def inner_one(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        buffer = get_context_buffer()
        assert texts_of(buffer) == ["inner"]
        assert not buffer.thread_exists(outer_thread[0])
        return HandlerResponse.respond(Reply("inner"))

    async def outer_one(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        outer_thread.append(metadata.thread_id)
        before = get_context_buffer()
        assert await inner.ask(Ask("inner"), to="one") == Reply("inner")
        async with open_audited(listener("one", Ask, inner_one)) as innermost:
            assert await innermost.ask(Ask("inner"), to="one") == Reply("inner")
            assert texts_of(get_context_buffer()) == ["outer"]
        assert texts_of(before) == texts_of(get_context_buffer()) == ["outer"]
        return HandlerResponse.respond(Reply("outer"))

    outer_thread: list[str] = []
    async with (
        open_audited(listener("one", Ask, inner_one)) as inner,
        open_audited(listener("one", Ask, outer_one)) as outer,
    ):
        assert await outer.ask(Ask("outer"), to="one") == Reply("outer")


async def test_a_conversation_that_a_handler_begins_is_none_of_its_own() -> None:
    organisms: list[Organism] = []

    async def one(payload: Ask, metadata: HandlerMetadata) -> None:
        receipt = await organisms[0].send(Note("other"), to="other", sender="one's friend")
        buffer = get_context_buffer()
        assert not buffer.thread_exists(receipt.thread)
        await trio.testing.wait_all_tasks_blocked()
        assert [slot.payload for slot in buffer.get_conversation()] == [Ask("x")]

    async def other(payload: Note, metadata: HandlerMetadata) -> None:
        assert [slot.payload for slot in get_context_buffer().get_conversation()] == [Note("other")]
        await trio.lowlevel.checkpoint()

    async with open_audited(listener("one", Ask, one), listener("other", Note, other)) as organism:
        organisms.append(organism)
        outcome = await outcome_of(organism, Ask("x"), "one")
        assert outcome.state is ConversationState.COMPLETED, outcome
        await organism.wait_idle()
        assert organism.report.failed == 0
