"""Carriers: the tasks that take conversations on from hop to hop.

Decides which task handles which delivery: a carrier goes on with whatever is next, and what
branches gets a carrier of its own. Each dispatch has a nursery of its own, and a failed one
its back-off. Books nothing itself (``settling`` does) and never outlives the nursery that
``pump`` owns. Called by the pump and, to start what was queued, by whoever queued it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, final

import trio

from phloem.config import BUDGET_WARNING, SLOW_AFTER
from phloem.guarding import Raised, attempted
from phloem.messages import Cause, ConversationState, Faults, Random

from .conversation import Delivery, Turn
from .core import Core
from .dispatch import OVERRAN, context_for, enter, why
from .flow import Flow
from .intake import Intake
from .meters import Meter
from .planning import Planning
from .routing import Listener
from .settling import Settling
from .slots import Slots
from .spoken import Spoken
from .stages import StepRaised

__all__ = ["STOPPED", "Carriers"]

STOPPED: Final = Cause("shutdown", "the organism stopped before it had ended")
_NO_VERDICT: Final = object()


@final
class Carriers:
    """All carriers of one pump. ``spawn`` starts a task in the pump's nursery; None while it is not open."""

    def __init__(
        self,
        core: Core,
        slots: Slots,
        intake: Intake,
        random: Random,
        faults: Faults | None = None,
        flow: Flow | None = None,
    ) -> None:
        self._core, self._slots, self._intake, self._random = core, slots, intake, random
        self._faults, self._flow = faults, flow
        self._observer = core.observer
        self._planning = Planning(core, flow)
        self._settling = Settling(core, self._planning)
        self._waking = math.inf  # when the gates are asked again
        self._parse_was_last = False
        self.spawn: Callable[..., None] | None = None
        core.send_early = self.send_early

    async def send_early(self, delivery: Delivery, spoken: Spoken) -> bool:
        """Send what a running agent's model has written so far; False if that goes with the rest.

        A checkpoint where users' steps are one. Cancelled means: it may have been sent.
        """
        if not self._core.steps.all_idempotent(spoken.answer, delivery.listener):
            return False
        plan = await self._planning.early(delivery, spoken)
        if isinstance(plan, Raised) or not self._settling.early(delivery, plan):
            return False
        self.pulse()
        return True

    def pulse(self) -> None:
        """Start whatever has room to run. Never a checkpoint."""
        while (taken := self._next()) is not None:
            carrier, delivery = taken
            assert self.spawn is not None  # _next has found the nursery open
            name = f"phloem {delivery.listener.key}"
            context_for(delivery).run(self.spawn, self._carry, carrier, delivery, name=name)
        if self._core.expiring:
            self._start_deadlines()

    def start_timer(self, turn: Turn) -> None:
        """Hold the turn to its budget of seconds, if it has one."""
        seconds = turn.budgets.seconds
        if seconds is not None and seconds != math.inf and turn.outcome is None and self.spawn is not None:
            self.spawn(self._time, turn, seconds, name="phloem time budget")

    def wake_at(self, when: float) -> None:
        """Ask the gates again then."""
        if self.spawn is not None and when < self._waking:
            self._waking = when
            self.spawn(self._wake, when, name="phloem gate")

    async def _wake(self, when: float) -> None:
        await trio.sleep_until(when)
        if when == self._waking:
            self._waking = math.inf
        self.pulse()

    def _start_deadlines(self) -> None:
        """A timer for each message with a deadline of its own that could not be taken at once."""
        expiring, self._core.expiring = self._core.expiring, []
        for delivery in expiring:
            if self.spawn is not None and delivery.carried is not None and delivery.waits:
                timer = delivery.carried.timer = trio.CancelScope()
                self.spawn(self._expire, delivery, timer, name="phloem deadline")

    async def _expire(self, delivery: Delivery, timer: trio.CancelScope) -> None:
        """End a delivery at its own deadline while it waits; a running one has that on its dispatch."""
        with timer:
            await trio.sleep_until(delivery.expires)
        if delivery.carried is None or delivery.carried.timer is not timer or not delivery.waits:
            return
        delivery.carried.timer = None
        self._core.queue.discard(delivery)
        key = delivery.listener.key
        cause = Cause("deadline", f"the deadline of its message passed before {key} was reached", key)
        delivery.turn.stepped = delivery.turn.stepped or cause
        self._settling.failed(delivery, cause)
        self.pulse()

    def _next(self) -> tuple[object, Delivery] | None:
        """A new carrier's slots, and the next delivery with room, taken."""
        intake, slots = self._intake, self._slots
        if not self._parse_was_last:
            self._parse_was_last = intake.serve()
        delivery = None
        if self._core.queue and self.spawn is not None and slots.any_room():
            delivery = self._core.queue.take(slots.room_for)
        if delivery is None:
            if self._parse_was_last:
                self._parse_was_last = intake.serve()
            return None
        carrier = object()
        slots.enter(carrier)
        self._take(carrier, delivery)
        return carrier, delivery

    def _take(self, carrier: object, delivery: Delivery) -> None:
        self._slots.take(delivery.listener, carrier)
        if delivery.carried is not None:
            delivery.carried.end_timer()
        delivery.running = delivery.turn.dispatched = True
        self._parse_was_last = False

    def _carry_on(self, carrier: object, listener: Listener) -> Delivery | None:
        """What a carrier handles next after one of ``listener``; None: its slots are given back."""
        slots, intake = self._slots, self._intake
        slots.give_back(listener, carrier)
        delivery = None
        if intake.parsing:
            intake.breathe()
        if self.spawn is not None and not intake.wanting:
            delivery = self._core.queue.take(slots.room_for)
        if delivery is not None:
            self._take(carrier, delivery)
            task = trio.lowlevel.current_task()
            task.context, task.name = context_for(delivery), f"phloem {delivery.listener.key}"
        else:
            slots.leave(carrier)
        if delivery is None or self._core.expiring or (self._core.queue and slots.any_room()):
            self.pulse()
        return delivery

    async def _carry(self, carrier: object, delivery: Delivery | None) -> None:
        """Handle one delivery after the other, for as long as there is one with room."""
        while delivery is not None:
            delivery = await self._handle(carrier, delivery)

    async def _handle(self, carrier: object, delivery: Delivery) -> Delivery | None:
        """One dispatch, in a nursery of its own, to its booked end; what this carrier handles next.

        The handler runs in the nursery's body: a task more would cost two checkpoints and
        protect nothing. What it returns is settled before the nursery is left, so that leaving
        it is the one checkpoint of a message: Trio runs a task's next step in whatever its
        `context` then is, and the next handler finds its own.
        """
        listener = delivery.listener
        verdict: Any = _NO_VERDICT
        now = trio.current_time()
        meter = None if listener.budgets.seconds is None else self._meter(delivery.turn, listener, now)
        settled, following, left, plan = False, None, False, None
        try:
            async with trio.open_nursery() as nursery:
                scope = delivery.scope = nursery.cancel_scope
                scope.deadline = now + listener.handler_timeout
                if delivery.carried is not None and delivery.carried.expires < scope.deadline:
                    scope.deadline = delivery.carried.expires
                    if now >= delivery.carried.expires:
                        scope.cancel(reason="the deadline of its message has passed")
                if meter is not None:
                    meter.start(scope, now)
                if delivery.cut is not None:
                    scope.cancel(reason=delivery.cut.text)
                returned = await enter(delivery, self._core.memory, self._observer, self._faults, self._flow)
                if self._flow is not None and type(returned) is not Raised:
                    plan = await self._planning.through(delivery, returned)
                if not scope.cancel_called:  # past its own deadline it may still return
                    await trio.lowlevel.checkpoint_if_cancelled()  # cancelled from outside it may not
                verdict = returned
                if delivery.cut is None and type(verdict) is not Raised:
                    if meter is not None:
                        self._stop(meter, delivery)
                    delivery.scope = None
                    settled = True
                    self._settling.returned(delivery, plan or self._planning.plan(delivery, verdict))
                    following = self._carry_on(carrier, listener)
                left = True
            if not settled and verdict is _NO_VERDICT:
                verdict = OVERRAN
        except (RuntimeError, AssertionError) as error:
            if not left:
                raise
            # Bare, so it is no error of the body: Trio has found a scope that the handler left open,
            # by breaking out of a generator that holds one. Its nursery has put the task right again.
            self._observer.raised(delivery, error)
        finally:
            if not settled:
                if meter is not None and delivery.scope is not None:
                    self._stop(meter, delivery)
                delivery.scope = None
                if verdict is _NO_VERDICT:
                    self._slots.give_back(listener, carrier)
                    self._slots.leave(carrier)
                    self._stopped(delivery)
        late = trio.current_time() - now - listener.handler_timeout
        if late > SLOW_AFTER:
            self._observer.overslept(delivery, late + listener.handler_timeout, listener.handler_timeout)
        if settled:
            return following
        if meter is not None and verdict is OVERRAN and delivery.cut is None:
            self._out_of_seconds(meter, delivery)
        if delivery.cut is not None:
            self._settling.abandoned(delivery, delivery.cut)
        elif delivery.attempt <= listener.retries and self.spawn is not None and not delivery.part_sent:
            cause = self._cause(delivery, verdict)
            self._core.memory.settle(delivery, keep=False)
            self.spawn(self._back_off, delivery, cause, name=f"phloem {listener.key} back-off")
        else:
            self._settling.failed(delivery, self._cause(delivery, verdict))
        following = self._carry_on(carrier, listener)
        await trio.lowlevel.cancel_shielded_checkpoint()  # the step in which `context` is read
        return following

    def _stopped(self, delivery: Delivery) -> None:
        """Cut, or cancelled from outside: its conversation is judged by that, whoever hears of it first."""
        if delivery.cut is None:
            self._core.cut_conversation(delivery.conversation, ConversationState.DRAINED, STOPPED)
        self._settling.abandoned(delivery, delivery.cut or STOPPED)

    def _cause(self, delivery: Delivery, verdict: Any) -> Cause:
        """The failure as data; the traceback goes to the observer."""
        if isinstance(verdict, Raised):
            self._observer.raised(delivery, verdict.error)
        text, exception = why(verdict, delivery, delivery.listener.handler_timeout)
        if verdict is OVERRAN and trio.current_time() >= delivery.expires:
            text = f"{delivery.listener.key} overran the deadline of its message"
        reason = "deadline" if verdict is OVERRAN else "handler"
        if isinstance(verdict, Raised) and isinstance(verdict.error, StepRaised):
            reason = "step"
        return Cause(reason, text, delivery.listener.key, exception)

    async def _back_off(self, delivery: Delivery, cause: Cause) -> None:
        """Queue a failed delivery again after a pause. It keeps its thread meanwhile, and no slot."""
        listener = delivery.listener
        doublings = min(delivery.attempt - 1, 60)  # more would overflow, long after any maximum
        delay = min(listener.retry_max_delay, listener.retry_base_delay * 2.0**doublings)
        delay *= 0.5 + 0.5 * self._random.random()  # jitter: what failed together need not return together
        if delivery.cut is None and trio.current_time() + delay >= delivery.expires:
            self._settling.failed(delivery, cause)
            self.pulse()
            return
        self._observer.retrying(delivery, cause, delay)
        slept, delivery.pausing = False, True
        try:
            with trio.CancelScope() as delivery.scope:
                if delivery.cut is not None:
                    delivery.scope.cancel(reason=delivery.cut.text)
                await trio.sleep(delay)
            slept = True
        finally:
            delivery.scope = None
            if not slept or delivery.cut is not None:
                self._stopped(delivery)
        delivery.pausing = False
        if delivery.ending is not None:
            return
        payload = attempted(self._core.steps.again, delivery.contract, delivery.text)
        if isinstance(payload, Raised):  # a __post_init__ that changed its mind
            self._settling.failed(delivery, self._cause(delivery, payload))
            return
        delivery.payload = payload
        delivery.attempt += 1
        delivery.running = False
        self._core.queue.again(delivery)
        if delivery.expires != math.inf:
            self._core.expiring.append(delivery)
        self.pulse()

    def _meter(self, turn: Turn, listener: Listener, now: float) -> Meter:
        if turn.meters is None:
            turn.meters = {}
        meter = turn.meters.get(listener)
        if meter is None:
            assert listener.budgets.seconds is not None
            meter = turn.meters[listener] = Meter(listener.budgets.seconds, now)
        return meter

    def _stop(self, meter: Meter, delivery: Delivery) -> None:
        """A dispatch spends no more of its listener's seconds; told of here if they are nearly spent."""
        now, listener = trio.current_time(), delivery.listener
        meter.stop(delivery.scope, now)
        left, seconds = meter.now_near(now), listener.budgets.seconds
        if left is not None and seconds is not None:
            tell, conversation = self._observer.budget_warning, delivery.conversation
            tell(conversation, "seconds", seconds - left, seconds, "listener", listener.key)

    def _out_of_seconds(self, meter: Meter, delivery: Delivery) -> None:
        if meter.empty(trio.current_time()):
            key, seconds = delivery.listener.key, delivery.listener.budgets.seconds
            cause = Cause("deadline", f"{key} spent its {seconds:g} s in this conversation", key)
            self._core.cut(delivery.turn, ConversationState.TIMED_OUT, cause)

    async def _time(self, turn: Turn, seconds: float) -> None:
        if turn.outcome is not None:
            return
        began = trio.current_time()
        with trio.CancelScope() as turn.timer:
            if seconds > 0.0:  # a caller's "what is left" may be less than nothing
                await trio.sleep_until(began + seconds * BUDGET_WARNING)
                level = "call" if turn.conversation.lasting else "conversation"
                used = trio.current_time() - began
                self._observer.budget_warning(turn.conversation, "seconds", used, seconds, level, None)
            await trio.sleep_until(began + max(seconds, 0.0))
            cause = Cause("deadline", f"the conversation had {seconds:g} s")
            self._core.cut(turn, ConversationState.TIMED_OUT, cause)
