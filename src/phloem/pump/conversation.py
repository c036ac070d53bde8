"""A conversation, its turns and its deliveries, as records.

Decides how a turn is judged when nothing of it is in flight, and what its outcome says.
Pure: no queue, no task, no clock; ``ledger`` books the deliveries, ``pump`` moves them.
An ingress outside a block is a conversation of one turn.
"""

from __future__ import annotations

import math
from contextvars import Context
from typing import Any, Final, final

from phloem.config import KEEP_TOLD, Budgets
from phloem.contract import Contract
from phloem.memory.context import Context as Memory
from phloem.memory.threads import Census, Thread, ThreadTree
from phloem.memory.todos import Todos
from phloem.messages import Cause, ConversationState, DeadLetter, Ending, Huh, Outcome, Receipt
from phloem.wire.repair import Mend

from .accounts import Account, nearly
from .carried import Carried
from .meters import Meter
from .origin import Origin
from .repeats import Talk
from .routing import Listener

__all__ = ["Conversation", "Delivery", "Trail", "Turn", "cycle_of", "further"]

Trail = tuple[str, Any]  # (listener, the trail before it); a linked list that shares its tail
KEPT_TRAIL: Final = 64  # names; a cycle of 32 listeners is still seen twice
CUT_TRAIL_EVERY: Final = 128  # hops; so a chain of any length holds at most 192 names


@final
class Delivery:
    """One payload for one listener: the ledger's unit. ``ending`` is written once, by the ledger."""

    __slots__ = (
        "attempt",
        "began",
        "carried",
        "cause_id",
        "contract",
        "conversation",
        "cut",
        "ending",
        "entered",
        "hops",
        "id",
        "line",
        "listener",
        "mends",
        "nudge",
        "order",
        "part_sent",
        "pausing",
        "payload",
        "running",
        "said",
        "scope",
        "sender",
        "stamp",
        "talk",
        "tells",
        "text",
        "thread",
        "trail",
        "turn",
    )

    def __init__(
        self,
        id: str,
        turn: Turn,
        thread: Thread,
        listener: Listener,
        contract: Contract,
        payload: Any,
        text: str,
        sender: str,
        hops: int,
        trail: Trail | None,
    ) -> None:
        self.id, self.turn, self.conversation, self.thread = id, turn, turn.conversation, thread
        self.listener, self.contract, self.payload, self.text = listener, contract, payload, text
        self.sender, self.hops, self.trail = sender, hops, trail
        self.cause_id: str | None = None  # the message that led to this one
        self.attempt = 1
        self.entered = 0  # how often its handler was
        self.order = 0
        self.line = listener if listener.max_concurrent is not None else None  # where the run queue keeps it
        self.tells: int | None = None  # the fault that this notice tells of
        self.ending: Ending | None = None
        self.running = False
        self.cut: Cause | None = None  # why its dispatch was told to stop
        self.scope: Any = None  # the cancel scope of its dispatch or back-off
        self.pausing = False  # in back-off: out of the queue, and in nobody's hands
        self.stamp = 0  # while its handler is at work: its place among all that this conversation handled
        self.began = 0.0
        self.nudge = ""
        self.carried: Carried | None = None
        self.mends: tuple[Mend, ...] = ()  # of the document that it came in
        self.talk: Talk | None = None  # what agents have said to each other on its way, itself included
        self.said = ""  # what its agent sent, once that is booked
        self.part_sent = False  # something of its answer went while the rest was being written

    @property
    def expires(self) -> float:
        """When its own deadline is, on Trio's clock; inf for none."""
        return math.inf if self.carried is None else self.carried.expires

    @property
    def waits(self) -> bool:
        """True while it is queued, or stands in its thread's line."""
        return self.ending is None and not self.running

    @property
    def handled(self) -> bool:
        """True while a handler has it (or is about to)."""
        return self.running and not self.pausing


@final
class Turn:
    """One ingress and all it caused."""

    __slots__ = (
        "account",
        "asked",
        "budgets",
        "conversation",
        "cut",
        "cut_state",
        "dead_letters",
        "dispatched",
        "faults",
        "live",
        "message_limit",
        "messages",
        "meters",
        "near_depth",
        "near_hops",
        "near_messages",
        "next_fault",
        "number",
        "outcome",
        "payloads",
        "rejections",
        "stepped",
        "timer",
        "waiters",
        "warned",
        "weight",
    )

    def __init__(
        self, conversation: Conversation, number: int, budgets: Budgets, asked: Budgets | None
    ) -> None:
        """``asked``: what this call has for itself; the conversation's hold beside them."""
        self.conversation, self.number, self.budgets = conversation, number, budgets
        self.message_limit = None if asked is None else asked.messages
        self.account: Account | None = None  # of what its models spend, where it asked for less
        if asked is not None and (asked.tokens is not None or asked.cost is not None):
            self.account = Account(asked.tokens, asked.cost)
        self.messages = 0
        self.near_messages = nearly(self.message_limit)
        self.near_hops = nearly(budgets.hops)
        self.near_depth = min(nearly(budgets.depth), nearly(conversation.budgets.depth))
        self.warned: frozenset[str] = frozenset()  # budgets of this turn, told of as nearly spent
        self.live: dict[Delivery, None] = {}
        self.dispatched = False
        self.payloads: list[Any] = []
        self.rejections: list[Huh] = []
        self.dead_letters: list[DeadLetter] = []
        self.faults: dict[int, Cause] = {}
        self.next_fault = 0
        self.cut: Cause | None = None
        self.cut_state: ConversationState | None = None
        self.meters: dict[Listener, Meter] | None = None
        self.timer: Any = None
        self.waiters: list[Any] = []
        self.asked = False  # its outcome goes to who asked, and to nobody later
        self.weight = 0  # characters of payloads that its outcome keeps
        self.outcome: Outcome | None = None
        self.stepped: Cause | None = None  # why a user's step ended the first of those it ended

    @property
    def receipt(self) -> Receipt:
        return Receipt(self.conversation.id, self.conversation.threads.root.id, self.number)

    def fault(self, cause: Cause) -> int:
        """Book a fault that nobody has answered yet; its number, for the notice that tells of it."""
        self.next_fault += 1
        self.faults[self.next_fault] = cause
        return self.next_fault

    def rejected(self, huh: Huh) -> None:
        if len(self.rejections) < KEEP_TOLD:
            self.rejections.append(huh)

    def buried(self, letter: DeadLetter) -> None:
        if len(self.dead_letters) < KEEP_TOLD:
            self.dead_letters.append(letter)
            self.weight += len(letter.payload_xml)

    def judge(self) -> Outcome:
        """How it ended. Asked once, when nothing of it is in flight."""
        cause: Cause | None = None
        if self.cut_state is not None:
            state, cause = self.cut_state, self.cut
        elif not self.dispatched and self.stepped is None:
            state = ConversationState.REJECTED
            cause = next(iter(self.faults.values()), None)
        elif self.faults:
            state = ConversationState.FAILED
            cause = next(iter(self.faults.values()))
        else:
            state = ConversationState.COMPLETED
            cause = None if self.dispatched else self.stepped
        return Outcome(
            self.conversation.id,
            state,
            cause,
            tuple(self.payloads),
            tuple(self.rejections),
            tuple(self.dead_letters),
        )


@final
class Conversation:
    """All threads that grew from one ingress, or from the turns of one ``open_conversation``."""

    __slots__ = (
        "accounts",
        "budgets",
        "context",
        "core",
        "cut",
        "cut_state",
        "failed",
        "firsts",
        "id",
        "last_id",
        "left",
        "listener_messages",
        "memory",
        "messages",
        "near_messages",
        "over",
        "sender",
        "source",
        "stamp",
        "started",
        "subscriptions",
        "threads",
        "todos",
        "turn_count",
        "turns",
        "warned",
    )

    def __init__(
        self,
        core: object,
        id: str,
        sender: str,
        budgets: Budgets,
        context: Context,
        census: Census,
        *,
        lasting: bool,
    ) -> None:
        self.core = core  # whose it is; two pumps in one process never meet
        self.id, self.sender, self.budgets, self.context = id, sender, budgets, context
        self.last_id = 0
        self.threads = ThreadTree(f"{id}-0", sender, census)
        self.memory: Memory | None = None  # what its threads remember, once there is something
        self.todos: Todos | None = None
        self.subscriptions: dict[str, None] | None = None  # its handlers' to the bus, once there is one
        self.stamp = 0  # handlers entered, and answers at the root
        self.firsts: dict[Listener, Thread] | None = {} if lasting else None
        self.turns: dict[int, Turn] = {}
        self.turn_count = 0
        self.messages = 0
        self.near_messages = nearly(budgets.messages)
        self.listener_messages: dict[Listener, int] = {}
        self.accounts: dict[str, Account] | None = None  # its own ("") and its listeners', once one spends
        self.warned: frozenset[str] = frozenset()  # budgets of it, told of as nearly spent
        self.failed: Cause | None = None
        self.cut: Cause | None = None
        self.cut_state: ConversationState | None = None
        self.left = False
        self.over = False
        self.started = 0.0
        self.source: Origin | None = None  # which source it came from, if that was one of its own

    @property
    def lasting(self) -> bool:
        """True within ``open_conversation``: it outlives its turns."""
        return self.firsts is not None

    def next_id(self) -> str:
        """An id for a message or a thread. Drawn per conversation, so no other conversation decides it."""
        self.last_id += 1
        return f"{self.id}-{self.last_id}"

    def open_turn(self, asked: Budgets | None) -> Turn:
        """A turn under the conversation's budgets and those of this call."""
        self.turn_count += 1
        budgets = self.budgets if asked is None else asked.over(self.budgets)
        turn = Turn(self, self.turn_count, budgets, asked)
        self.turns[turn.number] = turn
        return turn

    def first_thread(self, turn: Turn, listener: Listener) -> Thread:
        """The thread that a stranger's delivery to ``listener`` works on, a child of the root."""
        root = self.threads.root
        if self.firsts is None:
            return self.threads.extend(root, self.next_id(), listener.key, turn.number)
        thread = self.firsts.get(listener)
        if thread is None:
            thread = self.threads.extend(root, self.next_id(), listener.key, turn.number, lasting=True)
            self.firsts[listener] = thread
        return thread

    def first_place(self, listener: Listener) -> Thread | Listener | None:
        """Where a stranger's delivery will stand: a thread, its listener's to come, or a new one."""
        return None if self.firsts is None else self.firsts.get(listener, listener)


def further(trail: Trail | None, hops: int, name: str) -> Trail:
    """The trail one hop on, cut now and then so that it never grows with the conversation."""
    if hops % CUT_TRAIL_EVERY == 0:
        kept = _names(trail, KEPT_TRAIL)
        trail = None
        for kept_name in kept:
            trail = (kept_name, trail)
    return (name, trail)


def cycle_of(trail: Trail | None) -> tuple[str, ...]:
    """The shortest run of listeners that the trail ends with twice; () if there is none."""
    names = _names(trail, KEPT_TRAIL)
    for length in range(1, len(names) // 2 + 1):
        if names[-length:] == names[-2 * length : -length]:
            return tuple(names[-length:])
    return ()


def _names(trail: Trail | None, most: int) -> list[str]:
    names: list[str] = []
    while trail is not None and len(names) < most:
        name, trail = trail
        names.append(name)
    names.reverse()
    return names
