"""The lives of conversations: how one begins, is cut, and ends, all in sync stretches.

Decides nothing about time and moves no task: it books, queues, marks what must stop and
tells the shell (``pump``) through two callbacks what has ended. What a dispatch's verdict
does is ``settling``'s, on top of this.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Final, Protocol, final

from phloem.config import Budgets
from phloem.errors import InternalError
from phloem.events import EventBus
from phloem.memory.threads import Thread
from phloem.messages import (
    SYSTEM,
    Cause,
    Clock,
    ConversationState,
    DeadLetter,
    Ending,
    Huh,
    Ids,
    Outcome,
    Receipt,
)

from .carried import Carried
from .conversation import Conversation, Delivery, Turn, further
from .gathering import begun, ended
from .huhs import huh_of
from .ledger import Ledger, Overrun
from .observer import Observer
from .origin import Origin
from .outcomes import Outcomes
from .remembering import Remembering
from .routing import Listener
from .run_queues import RunQueues
from .spoken import Spoken
from .steps import Checked, Ended, Passed, Refused, Steps

__all__ = ["Core"]

_FAILED: Final = (  # what makes a block failed; a turn that its own caller cancelled does not
    ConversationState.FAILED,
    ConversationState.TIMED_OUT,
    ConversationState.OUT_OF_BUDGET,
)
PRUNED: Final = Cause("pruned", "the call it belonged to has ended")


class Morgue(Protocol):
    """Who takes dead letters as messages. Both are called in the stretch that booked the death."""

    def buried(self, turn: Turn, letter: DeadLetter) -> None:
        """A message has died; what belongs to the same stretch is not all booked yet."""
        ...

    def deliver(self, turn: Turn) -> None:
        """The stretch is booked: what there is for somebody may be opened, if it fits."""
        ...


@final
class Core:
    """The books, the queue and the live conversations of one pump."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        steps: Steps,
        observer: Observer,
        clock: Clock,
        ids: Ids,
        memory: Remembering,
        events: EventBus,
        organism: str,
        *,
        depth_first: bool,
        count: Iterator[int] | None = None,
        max_attempts: int,
        keep_outcomes: int,
        keep_outcome_bytes: int,
        turn_ended: Callable[[Turn], None],
        conversation_ended: Callable[[Conversation], None],
    ) -> None:
        self.steps, self.observer, self.clock, self.memory = steps, observer, clock, memory
        self.events, self.organism = events, organism  # for handlers: the pump tells its observer
        self.listeners = {listener.key: listener for listener in listeners}
        self.max_attempts = max_attempts
        self.ledger = Ledger(observer)
        self.queue: RunQueues[Delivery] = RunQueues(depth_first=depth_first, count=count)
        self.conversations: dict[str, Conversation] = {}
        self.ended: dict[ConversationState, int] = dict.fromkeys(ConversationState, 0)
        self._ids = ids
        self._outcomes = Outcomes(keep_outcomes, keep_outcome_bytes)
        self._turn_ended, self._conversation_ended = turn_ended, conversation_ended
        self._opened = 0
        self.expiring: list[Delivery] = []  # with a deadline of their own, and without a timer yet
        self.morgue: Morgue | None = None  # who takes dead letters
        self.llm: Any = None  # what handlers call models with; its own package knows its type
        self.send_early: Callable[[Delivery, Spoken], Awaitable[bool]] | None = None  # set by the carriers

    # -- beginning ------------------------------------------------------------------------

    def open_conversation(
        self,
        sender: str,
        budgets: Budgets,
        context: Context,
        *,
        lasting: bool,
        source: Origin | None = None,
    ) -> Conversation:
        """A conversation that holds a seat from here on."""
        self._opened += 1
        id = self._ids.conversation(self._opened)
        if id in self.conversations:
            raise InternalError(f"the ids port gave {id!r} twice")
        census = self.memory.census
        conversation = Conversation(self, id, sender, budgets, context, census, lasting=lasting)
        conversation.started = self.clock.monotonic()
        conversation.source = source
        if source is not None:
            source.live += 1
        self.conversations[id] = conversation
        self.observer.conversation_started(conversation)
        return conversation

    def begin(self, turn: Turn, checked: Sequence[Checked]) -> None:
        """Book a stranger's message: what passed is queued, what did not is rejected with a Huh."""
        if self.memory.refuses and turn.conversation.sender != SYSTEM:
            place = turn.conversation.first_place
            checked = self.memory.admitted(turn.conversation, checked, lambda item: place(item.listener))
        passed = [item for item in checked if isinstance(item, Passed)]
        if not self._fits(turn, passed, len(checked)):
            return
        for item in checked:
            if isinstance(item, Refused):
                huh = self.tell_refused(turn, item, turn.conversation.sender, self.max_attempts - 1)
                turn.fault(Cause("rejected", f"{item.tag} was refused: {huh.found}, expected {huh.expected}"))
                key = "" if item.listener is None else item.listener.key
                self.ledger.refuse(turn, Ending.REJECTED, key=key)
            elif isinstance(item, Ended):
                if item.error is not None:
                    turn.fault(item.cause)
                self.end(turn, item, turn.conversation.sender, None)
        deliveries: list[Delivery] = []
        for item in passed:
            thread = turn.conversation.first_thread(turn, item.listener)
            deliveries.append(self.open(turn, thread, item, turn.conversation.sender, None))
        self.queue.put(deliveries)
        self.check(turn)

    def open(
        self,
        turn: Turn,
        thread: Thread,
        item: Passed,
        sender: str,
        cause: Delivery | None,
        tells: int | None = None,
    ) -> Delivery:
        """An entry for one payload and one listener; it still has to be queued."""
        hops, trail = (1, None) if cause is None else (cause.hops + 1, cause.trail)
        delivery = Delivery(
            turn.conversation.next_id(),
            turn,
            thread,
            item.listener,
            item.contract,
            item.payload,
            item.text,
            sender,
            hops,
            further(trail, hops, item.listener.key),
        )
        delivery.tells, delivery.mends = tells, item.mends
        if cause is not None:
            delivery.cause_id = cause.id
            delivery.talk = item.talk or cause.talk
        if item.carried is not None:
            delivery.carried = item.carried
            if item.carried.expires != math.inf:
                self.expiring.append(delivery)
        elif cause is not None and cause.carried is not None:  # a notice
            delivery.carried = Carried(dict(cause.carried.notes), math.inf)
        self.ledger.open(delivery)
        if thread.above is not None or item.listener.gathers:
            begun(thread, item.listener)
        if turn.conversation.todos is not None or self.memory.refuses:
            self.memory.accepted(delivery)
        return delivery

    def _fits(self, turn: Turn, passed: Sequence[Passed], count: int) -> bool:
        over = self.ledger.over_budget(turn, [item.listener for item in passed], count, 1, 1, None)
        if over is None:
            return True
        self.ledger.refuse(turn, Ending.ABANDONED, over.cause)
        self.overrun(turn, over)
        return False

    # -- telling --------------------------------------------------------------------------

    def tell_refused(
        self, turn: Turn, item: Refused, sender: str, attempts_left: int, sent_by: Delivery | None = None
    ) -> Huh:
        """Note a refusal in the outcome and to the observer; the Huh that speaks of it."""
        huh = huh_of(item, attempts_left)
        turn.rejected(huh)
        self.observer.refused(turn.conversation, sender, huh, item.detail, sent_by)
        return huh

    def bury(
        self,
        turn: Turn,
        message_id: str,
        sender: str,
        to: str,
        cause: Cause,
        xml: str,
        *,
        cause_id: str | None,
        attempts: tuple[Huh, ...] = (),
    ) -> None:
        """A dead letter: in the outcome, and to the observer. ``cause_id``: the message that led to it."""
        letter = DeadLetter(message_id, turn.conversation.id, sender, to, cause.reason, cause, xml, attempts)
        turn.buried(letter)
        self.observer.buried(letter, cause_id)
        if self.morgue is not None:
            self.morgue.buried(turn, letter)

    def end(self, turn: Turn, item: Ended, sender: str, sent_by: Delivery | None) -> None:
        """Book what a user's step has ended before it was sent, with its dead letter."""
        turn.stepped = turn.stepped or item.cause
        if not item.outbound:
            key = sender if item.listener is None and sent_by is not None else item.to
            self.ledger.refuse(turn, item.ending, item.cause, key=key if key in self.listeners else "")
        id, cause_id = turn.conversation.next_id(), None if sent_by is None else sent_by.id
        self.bury(turn, id, sender, item.to, item.cause, item.text, cause_id=cause_id)

    def call_ended(self, conversation: Conversation) -> Callable[[Thread], None]:
        """What to do when a thread ends that an agent has called somebody by."""
        return partial(self.observer.call_ended, conversation)

    # -- ending ---------------------------------------------------------------------------

    def close(
        self, delivery: Delivery, ending: Ending, cause: Cause | None = None, *, with_thread: bool = False
    ) -> None:
        """Book how it ended. Whoever calls releases its thread (or prunes it) and asks ``check``."""
        self.ledger.close(delivery, ending, cause)
        if delivery.thread.above is not None:
            ended(delivery.thread, self.queue)
        if delivery.carried is not None:
            delivery.carried.end_timer()
        self.memory.ended(delivery, ending, with_thread=with_thread)
        if delivery.tells is not None and (ending is Ending.HANDLED or cause is PRUNED):
            delivery.turn.faults.pop(delivery.tells, None)
        self.observer.ended(delivery, cause)

    def abandon(self, delivery: Delivery, cause: Cause) -> None:
        """Cut it: at once if it waits, or by cancelling its dispatch, whose end books it."""
        if delivery.ending is not None:
            return
        if delivery.running:
            if delivery.cut is None:
                delivery.cut = cause
                if delivery.scope is not None:
                    delivery.scope.cancel(reason=cause.text)
            return
        self.queue.discard(delivery)
        self.close(delivery, Ending.ABANDONED, cause)
        self.release(delivery)

    def release(self, delivery: Delivery) -> None:
        """Its thread is free for the next in line; a thread that nothing can reach any more goes."""
        thread = delivery.thread
        if thread.occupant is delivery:
            self.queue.release(thread)
        if thread.occupant is None and not thread.children:
            conversation = delivery.conversation
            if gone := conversation.threads.reap(thread):
                self.memory.forget(conversation, gone)

    def prune(self, thread: Thread, turn: Turn) -> None:
        """End a thread whose call has ended, with everything below it and everything still on it."""
        conversation = turn.conversation
        ended = conversation.threads.prune(thread, turn.number)
        for gone in [thread, *ended] if thread.lasting else ended:
            for delivery in [gone.occupant, *(gone.line or ())]:
                if delivery is None or delivery.turn is not turn or delivery.ending is not None:
                    continue
                if delivery.running:
                    self.abandon(delivery, PRUNED)
                else:
                    self.queue.discard(delivery)
                    self.close(delivery, Ending.ABANDONED, PRUNED)
                    if gone.occupant is delivery:
                        self.queue.release(gone)
        if thread.parent is not None:
            ended += conversation.threads.reap(thread.parent)
        self.memory.forget(conversation, ended)

    def cut(self, turn: Turn, state: ConversationState, cause: Cause) -> None:
        """End a turn from outside: what waits ends now, what runs is cancelled."""
        if turn.cut is not None or turn.outcome is not None:
            return
        turn.cut, turn.cut_state = cause, state
        for delivery in list(turn.live):
            self.abandon(delivery, cause)
        self.check(turn)

    def cut_conversation(self, conversation: Conversation, state: ConversationState, cause: Cause) -> None:
        """End a whole conversation from outside; one without a live turn when its block is left."""
        if conversation.over or conversation.cut is not None:
            return
        conversation.cut, conversation.cut_state = cause, state
        for turn in list(conversation.turns.values()):
            self.cut(turn, state, cause)

    def overrun(self, turn: Turn, over: Overrun) -> None:
        """A budget is spent: its turn ends, or the whole conversation."""
        if over.whole:
            self.cut_conversation(turn.conversation, ConversationState.OUT_OF_BUDGET, over.cause)
        else:
            self.cut(turn, ConversationState.OUT_OF_BUDGET, over.cause)

    def check(self, turn: Turn) -> None:
        """End the turn if nothing of it is in flight."""
        if self.morgue is not None:
            self.morgue.deliver(turn)
        if turn.live or turn.outcome is not None:
            return
        conversation = turn.conversation
        outcome = turn.outcome = turn.judge()
        del conversation.turns[turn.number]
        if outcome.state in _FAILED and conversation.failed is None:
            conversation.failed = outcome.cause
        if not turn.asked:  # nobody has a receipt of what was asked
            self._outcomes.remember(conversation.id, turn.number, outcome, turn.weight)
        if not conversation.lasting:
            self._end(conversation, outcome)
        elif conversation.left and not conversation.turns:
            self.leave(conversation)
        self._turn_ended(turn)

    def leave(self, conversation: Conversation) -> None:
        """The block of a lasting conversation is left: it ends now, or with the last of its live turns."""
        conversation.left = True
        if conversation.over or conversation.turns:
            return
        if conversation.cut_state is not None:
            state, cause = conversation.cut_state, conversation.cut
        elif conversation.failed is not None:
            state, cause = ConversationState.FAILED, conversation.failed
        else:
            state, cause = ConversationState.COMPLETED, None
        self._end(conversation, Outcome(conversation.id, state, cause))

    def _end(self, conversation: Conversation, outcome: Outcome) -> None:
        conversation.over = True
        del self.conversations[conversation.id]
        self.memory.over(conversation)
        self.ended[outcome.state] += 1
        if conversation.source is not None:
            conversation.source.live -= 1
            conversation.source.ended[outcome.state] += 1
        self.observer.conversation_ended(conversation, outcome)
        self._conversation_ended(conversation)

    # -- reading --------------------------------------------------------------------------

    def outcome(self, receipt: Receipt) -> Outcome | None:
        """The outcome of a turn that has ended and is still remembered."""
        return self._outcomes.of(receipt.conversation, receipt.turn)

    def live_turn(self, receipt: Receipt) -> Turn | None:
        """The turn of that receipt while something of it is in flight."""
        conversation = self.conversations.get(receipt.conversation)
        return None if conversation is None else conversation.turns.get(receipt.turn)

    def live_turns(self) -> Iterable[Turn]:
        """Every turn with something in flight, as a list that may be cut while it is read."""
        return [turn for conversation in self.conversations.values() for turn in conversation.turns.values()]
