"""What messages leave behind in memory: todos raised and settled, slots kept and given back.

Decides when memory is written, so that it follows the books: a message is remembered once its
dispatch is handled, and what a failed attempt did to todos is undone. Called in the sync stretches
in which the pump books, by the dispatch as it enters a handler, and by readers; never waits.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from threading import get_ident
from typing import Final, final

from phloem.config import MemoryLimits, OnFull
from phloem.contract import Contract
from phloem.memory.context import Context
from phloem.memory.history import History, Record, utf8_size
from phloem.memory.threads import Census, Thread
from phloem.memory.todos import Todos
from phloem.messages import SYSTEM, Clock, Ending, Fault, HuhCode

from .conversation import Conversation, Delivery
from .routing import Listener
from .steps import Checked, Passed, Refused, Steps

__all__ = ["Remembering"]

ROOM: Final = "room for one more: end this conversation and begin another"


@final
class Remembering:
    """The memory of one pump's conversations."""

    def __init__(self, limits: MemoryLimits, steps: Steps, clock: Clock) -> None:
        self._limits, self._again, self._wall = limits, steps.again, clock.wall
        self.refuses = limits.on_full == OnFull.REFUSE
        self._keeps_past = limits.keep_finished > 0
        self._finished: OrderedDict[str, History] = OrderedDict()
        self.census = Census(limits.max_threads)
        self.os_thread = get_ident()  # the one that the organism runs in

    # -- as a message lives -------------------------------------------------------------------

    def accepted(self, delivery: Delivery) -> None:
        """It is booked: whoever waits for such a message is nudged, in this very dispatch too."""
        conversation = delivery.conversation
        if conversation.todos is not None:
            conversation.todos.check(_names(delivery.contract), delivery.sender)
        if self.refuses:
            self._context(conversation).promise(delivery.thread, utf8_size(delivery.text))

    def entering(self, delivery: Delivery) -> str:
        """Its handler is about to be entered; the nudge it is told."""
        conversation = delivery.conversation
        delivery.stamp = conversation.stamp = conversation.stamp + 1
        delivery.began = self._wall()
        todos = conversation.todos
        if todos is None:
            return delivery.nudge
        delivery.nudge = todos.nudge(delivery.listener.key)
        return delivery.nudge

    def ended(self, delivery: Delivery, ending: Ending, *, with_thread: bool) -> None:
        """It is booked as ended: kept if it was handled, and if not, as if it had never been entered.

        ``with_thread``: its thread ends in the same stretch, and what it remembers would go at once.
        """
        conversation, thread = delivery.conversation, delivery.thread
        if self.refuses:
            self._context(conversation).promise(thread, utf8_size(delivery.text), -1)
        stamp, delivery.stamp = delivery.stamp, 0
        if conversation.todos is not None:
            self.settle(delivery, keep=ending is Ending.HANDLED)
        if ending is not Ending.HANDLED or not thread.alive:
            return
        if not with_thread and (thread.children or thread.lasting or thread.line or thread.todos):
            memory = conversation.memory
            if memory is None:
                memory = self._context(conversation)
            memory.append(thread, self._record(delivery, stamp))
        elif self._keeps_past:  # what goes in the same stretch would push out others for nothing
            self._context(conversation).keep_past(thread, self._record(delivery, stamp))

    def settle(self, delivery: Delivery, *, keep: bool) -> None:
        """One attempt is over: what it did to todos stays, or is undone."""
        delivery.stamp = 0
        conversation = delivery.conversation
        if conversation.todos is not None:
            for thread in conversation.todos.settle(delivery, keep=keep):
                self.forget(conversation, conversation.threads.reap(thread))

    def answered(self, delivery: Delivery, answer: Passed) -> None:
        """A payload went out at the root."""
        conversation, responder, contract = delivery.conversation, delivery.listener, answer.contract
        if conversation.todos is not None:
            conversation.todos.check(_names(contract), responder.name)
        conversation.stamp += 1
        record = Record(
            conversation.stamp,
            conversation.next_id(),
            conversation.threads.root.id,
            responder.name,
            conversation.sender,
            contract.payload_class.__name__,
            answer.text,
            None if contract.immutable else self._again,
            answer.payload if contract.immutable else contract,
            self._wall(),
            None,
            "",
            "",
        )
        self._context(conversation).append(conversation.threads.root, record)

    def forget(self, conversation: Conversation, threads: Sequence[Thread]) -> None:
        """These threads have ended."""
        if conversation.todos is not None:
            conversation.todos.drop(threads)
        if conversation.memory is not None:
            conversation.memory.drop(threads)

    def over(self, conversation: Conversation) -> None:
        """The conversation has ended: its memory is given back, or kept for reading."""
        conversation.threads.end()
        if self._keeps_past and conversation.memory is not None and conversation.sender != SYSTEM:
            self._finished[conversation.id] = conversation.memory.conversation(past=True)
            if len(self._finished) > self._limits.keep_finished:
                self._finished.popitem(last=False)
        for thread in conversation.threads:
            thread.slots = None  # also while somebody holds the conversation's handle
        conversation.memory = conversation.todos = None

    # -- reading and writing, for who may -------------------------------------------------------

    @property
    def max_todos(self) -> int:
        """Open at once in one conversation."""
        return self._limits.max_todos

    @property
    def now(self) -> float:
        """Seconds since 1970."""
        return self._wall()

    def todos_of(self, conversation: Conversation) -> Todos:
        """The conversation's todos, to be written."""
        if conversation.todos is None:
            conversation.todos = Todos()
        return conversation.todos

    def thread(self, conversation: Conversation, thread: Thread) -> History:
        """What a live thread remembers, and the message that is being handled there."""
        kept = History(()) if conversation.memory is None else conversation.memory.thread(thread)
        return kept.joined(self._running([thread.occupant]))

    def records(self, conversation: Conversation, thread: Thread) -> tuple[int, Sequence[Record]]:
        """(how many are forgotten, what is kept) of a live thread, without what is being handled there."""
        return (0, ()) if conversation.memory is None else conversation.memory.records(thread)

    def conversation(self, conversation: Conversation, *, past: bool = False) -> History:
        """What a live conversation remembers, and the messages that are being handled there."""
        kept = History(()) if conversation.memory is None else conversation.memory.conversation(past=past)
        return kept.joined(self._running(each for turn in conversation.turns.values() for each in turn.live))

    def finished(self, id: str) -> History | None:
        """A finished conversation, if it is one of the newest ``keep_finished``."""
        return self._finished.get(id)

    @property
    def finished_ids(self) -> tuple[str, ...]:
        """Those that can be read, oldest first."""
        return tuple(self._finished)

    # -- where a full memory refuses ------------------------------------------------------------

    def admitted(
        self,
        conversation: Conversation,
        items: Sequence[Checked],
        where: Callable[[Passed], Thread | Listener | None],
        ending: Sequence[Thread] = (),
    ) -> list[Checked]:
        """The same items, but refused where there is no room.

        ``where``: the thread; None for a new one each, a listener for the one it is to have. The
        threads in ``ending`` end with these messages, and make room for them.
        """
        context = self._context(conversation)
        ahead: Counter[Thread | Listener] = Counter()
        freed, freed_size = context.held(ending)
        count, size = -freed, -freed_size
        found: list[Checked] = []
        for item in items:
            if isinstance(item, Passed):
                place, own = where(item), utf8_size(item.text)
                thread = place if isinstance(place, Thread) else None
                full = context.full(thread, own, 0 if place is None else ahead[place], count, size)
                if full is not None:
                    tag = item.contract.tag
                    fault = Fault(HuhCode.FULL, f"/{tag}", full, ROOM)
                    outbound = thread is conversation.threads.root
                    found.append(
                        Refused([fault], item.text, tag=tag, listener=item.listener, outbound=outbound)
                    )
                    continue
                if place is not None:
                    ahead[place] += 1
                count, size = count + 1, size + own
            found.append(item)
        return found

    def _context(self, conversation: Conversation) -> Context:
        if conversation.memory is None:
            limits = self._limits
            conversation.memory = Context(
                conversation.threads,
                limits.max_slots_per_thread,
                limits.max_slots_per_conversation,
                limits.max_bytes_per_conversation,
                keep_past=self._keeps_past,
            )
        return conversation.memory

    def _running(self, deliveries: Iterable[Delivery | None]) -> list[Record]:
        """Messages whose handler is at work now: each will stand last on its thread, if it is handled."""
        records: list[Record] = []
        for delivery in deliveries:
            if delivery is not None and delivery.stamp:
                record = self._record(delivery, delivery.stamp)
                memory = delivery.conversation.memory
                if memory is not None:
                    record.index = memory.next_index(delivery.thread)
                records.append(record)
        return records

    def _record(self, delivery: Delivery, stamp: int) -> Record:
        listener, contract = delivery.listener, delivery.contract
        shared = contract.immutable
        return Record(
            stamp,
            delivery.id,
            delivery.thread.id,
            delivery.sender,
            listener.name,
            contract.payload_class.__name__,
            delivery.text,
            None if shared else self._again,
            delivery.payload if shared else contract,
            delivery.began,
            listener.name if listener.is_agent else None,
            listener.usage_instructions,
            delivery.nudge,
            self._said(delivery),
        )

    def _said(self, delivery: Delivery) -> str:
        """What the agent sent; nothing where a full memory would have to forget something for it."""
        memory, said = delivery.conversation.memory, delivery.said
        if said and self.refuses and memory is not None:
            room = self._limits.max_bytes_per_conversation - memory.size - utf8_size(delivery.text)
            return said if utf8_size(said) <= room else ""
        return said


def _names(contract: Contract) -> tuple[str, ...]:
    """What a todo may call a payload, without case: its class, and its element where that differs."""
    tag, name = contract.tag.casefold(), contract.payload_class.__name__.casefold()
    return (tag,) if tag == name else (tag, name)
