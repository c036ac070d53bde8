"""A watch over one pump: is told all it does, sees its handlers come and go, and says what breaks a promise.

Decides which promises hold at every moment: who may be entered, how many at once, within which
budgets, and that what began ends once. Keeps books of its own and believes the pump's only where it
has none. Never raises and never waits, so that a pump is watched as it is. ``invariants`` opens
organisms with it, and looks at what is left once one is closed.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import trio

from phloem.config import AnyHandler, Budgets, Handler, OrganismConfig
from phloem.messages import Cause, ConversationState, Ending, HandlerMetadata, Outcome
from phloem.organism import Organism
from phloem.pump.calling import Around
from phloem.pump.conversation import Conversation, Delivery

from .sim.context import current_run

__all__ = ["Broken", "Watch"]

CUTS: Final = {  # what ends a message that way ends its whole conversation, unless that is a block of turns
    "shutdown": ConversationState.DRAINED,
    "killed": ConversationState.CANCELLED,
    "deadline": ConversationState.TIMED_OUT,
    "budget": ConversationState.OUT_OF_BUDGET,
    "repeats": ConversationState.OUT_OF_BUDGET,
}
PHASES: Final = ("open", "draining", "stopping", "closed")
LATE: Final = 0.01  # virtual seconds; what the pump sleeps for parse threads' sake adds up to far less


@final
@dataclass(frozen=True, slots=True)
class Broken:
    """One promise that was broken: as it stands in ``Run.found`` and ``Result.found``."""

    what: str

    def __str__(self) -> str:
        return self.what


@final
class _Seconds:
    """What one listener has spent in one turn, over all its dispatches at once."""

    __slots__ = ("at", "running", "spent")

    def __init__(self, now: float) -> None:
        self.at, self.running, self.spent = now, 0, 0.0

    def change(self, by: int, now: float) -> None:
        self.spent += (now - self.at) * self.running
        self.at = now
        self.running += by


@final
class _Dispatch:
    """One that has begun: ``max_concurrent`` and what its handler spends from, until that has left."""

    __slots__ = ("key", "life", "meter", "most")

    def __init__(self, life: _Life, key: str, most: int | None, meter: _Seconds | None) -> None:
        self.life, self.key, self.most, self.meter = life, key, most, meter


@final
class _Life:
    """What is known of a conversation that has not ended."""

    __slots__ = ("at_work", "by_listener", "by_turn", "cut", "ended", "hops", "on_thread", "seconds", "turns")

    def __init__(self) -> None:
        self.hops: dict[str, int] = {}  # message -> how far it is from its stranger
        self.ended: set[str] = set()
        self.on_thread: dict[str, str] = {}  # thread -> the message that it is kept for
        self.turns: dict[int, float] = {}  # turn -> when the first of it was heard of
        self.by_turn: Counter[int] = Counter()
        self.by_listener: Counter[str] = Counter()
        self.seconds: dict[tuple[int, str], _Seconds] = {}
        self.at_work = 0
        self.cut: str | None = None  # why the first message of it was abandoned, other than by a respond


@final
class Watch:
    """An observer of one pump. ``violations`` is what it has found, in the order of finding."""

    def __init__(self, config: OrganismConfig) -> None:
        self.violations: list[str] = []
        self.organism: Organism | None = None  # set once it is open
        self.left = False  # set once its block has been left
        self.conversations: dict[str, int] = {}  # every conversation there was -> how often it ended
        self.messages_ended = 0
        self._most = min(config.max_concurrent_handlers, config.max_concurrent_pipelines)
        self._seats = config.max_in_flight
        self._lives: dict[str, _Life] = {}
        self._due: dict[str, _Dispatch] = {}  # dispatched; a fault may stand in the handler's stead
        self._at_work: dict[str, _Dispatch] = {}
        self._by_listener: Counter[str] = Counter()
        self._phase = ""
        self._run = current_run()

    def found(self, what: str) -> None:
        """A promise is broken: kept here, and for the run's oracle, and a line in its trace."""
        self.violations.append(what)
        if self._run is not None:
            self._run.found.append(Broken(what))
            self._run.note(f"broken promise: {what}")

    @property
    def at_work(self) -> tuple[str, ...]:
        """Messages whose handlers have been entered and have not left."""
        return tuple(f"{id} ({work.key})" for id, work in self._at_work.items())

    @property
    def closed(self) -> bool:
        """The pump said that it is."""
        return self._phase == "closed"

    @property
    def alive(self) -> tuple[str, ...]:
        """Conversations that have begun and have not ended."""
        return tuple(self._lives)

    # -- handlers -------------------------------------------------------------------------------

    def around(self, handler: AnyHandler) -> AnyHandler:
        """The same handler, seen when it comes and when it goes. A thread that is abandoned has gone."""
        return Around(handler, self._seen)

    def _seen(self, handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def watched(payload: Any, metadata: HandlerMetadata) -> Any:
            id = metadata.message_id  # now: the handler may write to its metadata
            self._entered(id)
            try:
                return await handler(payload, metadata)
            finally:
                self._gone(id)

        return watched

    def _entered(self, id: str) -> None:
        work = self._due.pop(id, None)
        if self.left:
            self.found(f"a handler was entered with {id} after open_organism was left; expected no work then")
        elif work is None:
            self.found(
                f"a handler was entered with {id} without a dispatch of its own; expected one for each"
            )
        if work is None:
            return
        self._at_work[id] = work
        self._by_listener[work.key] += 1
        work.life.at_work += 1
        if work.meter is not None:
            work.meter.change(+1, trio.current_time())
        if len(self._at_work) > self._most:
            self.found(f"{len(self._at_work)} handlers were at work; expected at most {self._most}")
        running = self._by_listener[work.key]
        if work.most is not None and running > work.most:
            what = f"{running} handlers of {work.key} were at work"
            self.found(f"{what}; expected at most {work.most} (max_concurrent)")

    def _gone(self, id: str) -> None:
        work = self._at_work.pop(id, None)
        if self.left:
            self.found(f"the handler of {id} was at work after open_organism was left; expected none")
        if work is None:
            return
        self._by_listener[work.key] -= 1
        work.life.at_work -= 1
        if work.meter is not None:
            work.meter.change(-1, trio.current_time())

    # -- conversations --------------------------------------------------------------------------

    def conversation_started(self, conversation: Conversation) -> None:
        if conversation.id in self.conversations:
            self.found(f"conversation {conversation.id} began twice")
            return
        life = self._lives[conversation.id] = _Life()
        self.conversations[conversation.id] = 0
        if not conversation.lasting:
            life.turns[1] = trio.current_time()
        if len(self._lives) > self._seats:
            self.found(
                f"{len(self._lives)} conversations live; expected at most {self._seats}, one for a seat"
            )
        if self.organism is not None and not self.organism._pump.intake.closed:
            held = self._seats - self.organism._pump.intake.free_seats
            if held < len(self._lives):
                self.found(f"{held} seats are held by {len(self._lives)} conversations; expected one by each")

    def conversation_ended(self, conversation: Conversation, outcome: Outcome) -> None:
        id = conversation.id
        life = self._lives.pop(id, None)
        self.conversations[id] = self.conversations.get(id, 0) + 1
        if life is None:
            self.found(f"conversation {id} ended {outcome.state}, and had ended before; expected one end")
            return
        if open := [message for message in life.hops if message not in life.ended]:
            self.found(
                f"conversation {id} ended {outcome.state} while {_some(open)} had not; expected none left"
            )
        if life.at_work:
            self.found(f"conversation {id} ended {outcome.state} with {life.at_work} of its handlers at work")
        due = None if life.cut is None or conversation.lasting else CUTS[life.cut]
        if due is not None and outcome.state is not due:
            self.found(
                f"conversation {id} ended {outcome.state}, though it was cut ({life.cut}); expected {due}"
            )
        spent, most = conversation.messages, conversation.budgets.messages
        if spent < len(life.hops):
            self.found(f"conversation {id} was charged {spent} messages; expected {len(life.hops)} or more")
        # A stranger's message that does not fit is itself one message more, and the last.
        refused = outcome.state is ConversationState.OUT_OF_BUDGET
        if most is not None and spent > most + refused:
            self.found(f"conversation {id} spent {spent} messages; expected at most {most} (its budget)")

    # -- messages -------------------------------------------------------------------------------

    def dispatched(self, delivery: Delivery) -> None:
        id, key, conversation = delivery.id, delivery.listener.key, delivery.conversation
        what = f"message {id} for {key}"
        life = self._lives.get(conversation.id)
        if life is None:
            self.found(f"{what} was dispatched after the end of its conversation; expected nothing then")
            return
        if self._phase in ("stopping", "closed"):
            self.found(
                f"{what} was dispatched while the organism was {self._phase}; expected nothing to start"
            )
        cut = delivery.cut or delivery.turn.cut or conversation.cut
        if cut is not None:
            self.found(f"{what} was dispatched after it was cut ({cut.reason}); expected it abandoned")
        if id in life.ended:
            self.found(f"{what} was dispatched after it had ended {delivery.ending}; expected one end")
        if id in self._at_work:
            self.found(f"{what} was dispatched while its handler was at work; expected one attempt at a time")
        other = life.on_thread.setdefault(delivery.thread.id, id)
        if other != id:
            self.found(
                f"{what} was dispatched on thread {delivery.thread.id}, which {other} had; expected one"
            )
        now = trio.current_time()
        self._known(life, delivery, now)
        self._begin(life, delivery, now)

    def ended(self, delivery: Delivery, cause: Cause | None) -> None:
        id, key = delivery.id, delivery.listener.key
        what = f"message {id} for {key}"
        self.messages_ended += 1
        self._check_books(delivery.conversation.core, what)
        life = self._lives.get(delivery.conversation.id)
        if life is None:
            self.found(f"{what} ended {delivery.ending} after its conversation; expected it to end before")
            return
        self._known(life, delivery, trio.current_time())
        if id in life.ended:
            self.found(f"{what} ended twice, the second time {delivery.ending}; expected one end")
        life.ended.add(id)
        if delivery.ending is Ending.ABANDONED and cause is not None and cause.reason in CUTS:
            life.cut = life.cut or cause.reason
        if life.on_thread.get(delivery.thread.id) == id:
            del life.on_thread[delivery.thread.id]
        self._check_gone(delivery, f"ended {delivery.ending}")
        if delivery.cut is not None and delivery.ending is not Ending.ABANDONED:
            self.found(f"{what} ended {delivery.ending}, though it was cut ({delivery.cut.reason})")
        if delivery.ending is Ending.HANDLED and not delivery.entered:
            self.found(f"{what} ended handled, and no handler was entered with it")

    def retrying(self, delivery: Delivery, cause: Cause, delay: float) -> None:
        self._check_gone(delivery, "was to be tried again")
        if delivery.attempt > delivery.listener.retries:
            most = delivery.listener.retries
            self.found(
                f"message {delivery.id} is tried a {delivery.attempt + 1}. time; expected {most} retries"
            )

    def _begin(self, life: _Life, delivery: Delivery, now: float) -> None:
        """Its handler is entered in the same breath, if any is: phloem's own are not seen."""
        turn, listener = delivery.turn, delivery.listener
        meter: _Seconds | None = None
        until = now + listener.handler_timeout
        if listener.budgets.seconds is not None:
            meter = life.seconds.setdefault((turn.number, listener.key), _Seconds(now))
            meter.change(0, now)
            left = max(listener.budgets.seconds - meter.spent, 0.0)
            until = min(until, now + left / (meter.running + 1))
        if self._run is not None and not _holds(delivery.scope, until):
            what = f"message {delivery.id} for {listener.key}"
            self.found(
                f"{what} was given until {_deadline(delivery.scope)}; expected {until:g} at the latest"
            )
        self._due[delivery.id] = _Dispatch(life, listener.key, listener.max_concurrent, meter)

    def _check_gone(self, delivery: Delivery, how: str) -> None:
        self._due.pop(delivery.id, None)
        if delivery.id in self._at_work:
            what = f"message {delivery.id} for {delivery.listener.key}"
            self.found(f"{what} {how} while its handler was at work; expected that to have left")
            self._gone(delivery.id)

    # -- budgets --------------------------------------------------------------------------------

    def _known(self, life: _Life, delivery: Delivery, now: float) -> None:
        """Count a message when it is first heard of, and hold it to its budgets."""
        turn = delivery.turn
        begun = life.turns.setdefault(turn.number, now)
        if delivery.id not in life.hops:
            cause = delivery.cause_id
            life.hops[delivery.id] = 1 if cause is None else life.hops.get(cause, 0) + 1
            life.by_turn[turn.number] += 1
            life.by_listener[delivery.listener.key] += 1
            if cause is not None and cause not in life.hops:
                self.found(f"message {delivery.id} was caused by {cause}, which nobody has heard of")
            self._check_counts(life, delivery)
        if self._run is not None and delivery.ending is None:
            late = now - begun - _most(turn.budgets.seconds)
            if late > LATE:
                what = f"message {delivery.id} for {delivery.listener.key}"
                self.found(
                    f"{what} was dispatched {late:g} s after its conversation's time was over; expected it "
                    "abandoned (does something block the event loop?)"
                )

    def _check_counts(self, life: _Life, delivery: Delivery) -> None:
        turn, key = delivery.turn, delivery.listener.key
        whole: Budgets = turn.conversation.budgets
        bounds: Sequence[tuple[str, float, float | None]] = (
            ("messages", len(life.hops), whole.messages),
            ("messages of one call", life.by_turn[turn.number], turn.message_limit),
            (f"messages for {key}", life.by_listener[key], delivery.listener.budgets.messages),
            ("hops", life.hops[delivery.id], turn.budgets.hops),
            ("levels of threads", delivery.thread.depth, whole.depth),
            ("levels of threads of one call", delivery.thread.depth, turn.budgets.depth),
        )
        for name, spent, most in bounds:
            if spent > _most(most):
                what = f"conversation {turn.conversation.id} at message {delivery.id}"
                self.found(f"{what}: {spent} {name}; expected at most {most} (its budget)")

    # -- books ----------------------------------------------------------------------------------

    def _check_books(self, core: Any, what: str) -> None:
        ledger = core.ledger
        booked = sum(ledger.endings.values()) + ledger.in_flight
        if ledger.accepted != booked or ledger.in_flight < 0:
            self.found(
                f"as {what} ended, the books had {ledger.accepted} accepted and {booked} ended or in flight "
                f"({ledger.in_flight}); expected them equal"
            )

    def phase(self, name: str) -> None:
        """From one to a later one; nothing is at work once it is closed."""
        if self._phase and PHASES.index(name) <= PHASES.index(self._phase):
            self.found(
                f"the organism was {self._phase} and then {name}; expected them in the order of {PHASES}"
            )
        self._phase = name
        if name == "closed" and self._at_work:
            self.found(f"the organism was closed while the handlers of {_some(self.at_work)} were at work")

    # -- what breaks no promise by itself ---------------------------------------------------------

    def _heard(self, *_: object, **__: object) -> None:
        """Told elsewhere too, or by nothing that could be wrong."""

    refused = buried = raised = step_raised = claim_ignored = mended = unread = broke = waiting = _heard
    overslept = held_up = _heard
    call_started = call_ended = budget_warning = repeating = _heard


def _holds(scope: trio.CancelScope | None, until: float) -> bool:
    return scope is not None and scope.deadline <= until + LATE


def _deadline(scope: trio.CancelScope | None) -> str:
    return "no time" if scope is None else f"{scope.deadline:g}"


def _most(budget: float | None) -> float:
    return math.inf if budget is None else budget


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
