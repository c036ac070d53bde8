"""The pump: owner of the nursery in which everything runs; drain, stop, sweep.

Decides which task carries which delivery, and in what order an organism comes to rest. One
carrier task takes a conversation on from hop to hop; what branches gets a carrier of its
own. The books are ``core``'s and ``settling``'s: every change there is one sync stretch.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, final

import trio

from phloem.config import PARSE_THREADS, SLOW_AFTER, OrganismConfig, ThreadScheduling
from phloem.errors import InvalidMessage
from phloem.guarding import Raised
from phloem.messages import Cause, Clock, ConversationState, Ending, Ids, Random

from .conversation import Conversation, Delivery, Turn
from .core import Core
from .dispatch import OVERRAN, current_dispatch, dispatch, why
from .intake import Intake
from .meters import Meter
from .observer import Observer
from .pipeline import Pipeline
from .routing import Listener
from .settling import Settling
from .slots import Slots

__all__ = ["Pump", "open_pump"]

STOPPED: Final = Cause("shutdown", "the organism stopped before it had ended")
_NO_VERDICT: Final = object()


@final
class Pump:
    """What ``open_pump`` hands out. Use it inside that block only."""

    def __init__(
        self,
        config: OrganismConfig,
        listeners: Sequence[Listener],
        observer: Observer,
        clock: Clock,
        ids: Ids,
        random: Random,
    ) -> None:
        pipeline = Pipeline(listeners, config.wire)
        self.observer, self._random = observer, random
        self.core = Core(
            listeners,
            pipeline,
            observer,
            clock,
            ids,
            depth_first=config.thread_scheduling == ThreadScheduling.DEPTH_FIRST,
            max_attempts=config.max_attempts,
            keep_outcomes=config.keep_outcomes,
            turn_ended=self._turn_ended,
            conversation_ended=self._conversation_ended,
        )
        self.slots = Slots(
            listeners,
            handlers=config.max_concurrent_handlers,
            pipelines=config.max_concurrent_pipelines,
            threads=PARSE_THREADS,
        )
        self.intake = Intake(
            pipeline,
            self.slots,
            self.pulse,
            seats=config.max_in_flight,
            thread_parse_bytes=config.wire.thread_parse_bytes,
        )
        self._settling = Settling(self.core)
        self._spawn: Callable[..., None] | None = None  # into the nursery that `run` owns, while it is open
        self._halted = False
        self._parse_was_last = False
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self._idle: trio.Event | None = None
        self._drain_until = math.inf
        self._draining: trio.CancelScope | None = None

    # -- work --------------------------------------------------------------------------------

    def pulse(self) -> None:
        """Start whatever has room to run. Never a checkpoint."""
        while (delivery := self._next()) is not None:
            assert self._spawn is not None  # _next has found the nursery open
            self._spawn(self._carry, delivery, name=f"phloem {delivery.listener.key}")

    def start_timer(self, turn: Turn) -> None:
        """Hold the turn to its budget of seconds, if it has one."""
        seconds = turn.budgets.seconds
        if seconds is not None and seconds != math.inf and turn.outcome is None and self._spawn is not None:
            self._spawn(self._time, turn, seconds, name="phloem time budget")

    def _next(self) -> Delivery | None:
        """The next delivery with room, taken: it holds its slots."""
        if not self._parse_was_last:
            self._parse_was_last = self.intake.serve()
        slots, queue = self.slots, self.core.queue
        delivery = None
        if queue and slots.any_room() and self._spawn is not None:
            delivery = queue.take(slots.room_for)
        if delivery is None:
            if self._parse_was_last:
                self._parse_was_last = self.intake.serve()
            return None
        slots.take(delivery.listener, delivery)
        delivery.running = delivery.turn.dispatched = True
        self._parse_was_last = False
        return delivery

    async def _carry(self, delivery: Delivery | None) -> None:
        """Handle one delivery after the other, for as long as there is one with room."""
        while delivery is not None:
            await self._handle(delivery)
            delivery = self._next()
            if delivery is not None:
                self.pulse()

    async def _handle(self, delivery: Delivery) -> None:
        """From a taken delivery to its booked end (or its place in the queue again)."""
        listener, turn = delivery.listener, delivery.turn
        verdict: Any = _NO_VERDICT
        started = trio.current_time()
        meter = None if listener.budgets.seconds is None else self._meter(turn, listener, started)
        try:
            self.observer.dispatched(delivery)
            verdict = await dispatch(self, delivery, listener.handler_timeout, meter)
        finally:
            delivery.scope = None
            self.slots.give_back(listener, delivery)
            if verdict is _NO_VERDICT:
                self._settling.abandoned(delivery, delivery.cut or STOPPED)
        elapsed = trio.current_time() - started
        if elapsed > listener.handler_timeout + SLOW_AFTER:
            self.observer.overslept(delivery, elapsed, listener.handler_timeout)
        if meter is not None and verdict is OVERRAN and delivery.cut is None:
            self._out_of_seconds(meter, delivery)
        if delivery.cut is not None:
            self._settling.abandoned(delivery, delivery.cut)
        elif verdict is OVERRAN or type(verdict) is Raised:
            await self._failed(delivery, verdict)
        else:
            self._settling.returned(delivery, verdict)

    async def _failed(self, delivery: Delivery, verdict: Any) -> None:
        """Another attempt after a pause that holds no slot, or the end."""
        listener = delivery.listener
        text, exception = why(verdict, delivery, listener.handler_timeout)
        cause = Cause("handler", text, listener.key, exception)
        if isinstance(verdict, Raised):
            self.observer.raised(delivery, verdict.error)
        if delivery.attempt > listener.retries or self._spawn is None:
            self._settling.failed(delivery, cause)
            return
        delay = min(listener.retry_max_delay, listener.retry_base_delay * 2.0 ** (delivery.attempt - 1))
        delay *= 0.5 + 0.5 * self._random.random()  # jitter: what failed together need not return together
        self.observer.retrying(delivery, cause, delay)
        self.pulse()
        slept = False
        try:
            with trio.CancelScope() as delivery.scope:
                await trio.sleep(delay)
            slept = True
        finally:
            delivery.scope = None
            if not slept:
                self._settling.abandoned(delivery, delivery.cut or STOPPED)
        if delivery.cut is not None:
            self._settling.abandoned(delivery, delivery.cut)
            return
        try:
            delivery.payload = self.core.pipeline.again(delivery.contract, delivery.text)
        except InvalidMessage as error:  # a __post_init__ that changed its mind
            self._settling.failed(delivery, Cause("handler", str(error), listener.key, type(error).__name__))
            return
        delivery.attempt += 1
        delivery.running = False
        self.core.queue.again(delivery)

    def _meter(self, turn: Turn, listener: Listener, now: float) -> Meter:
        if turn.meters is None:
            turn.meters = {}
        meter = turn.meters.get(listener)
        if meter is None:
            assert listener.budgets.seconds is not None
            meter = turn.meters[listener] = Meter(listener.budgets.seconds, now)
        return meter

    def _out_of_seconds(self, meter: Meter, delivery: Delivery) -> None:
        if meter.empty(trio.current_time()):
            key, seconds = delivery.listener.key, delivery.listener.budgets.seconds
            cause = Cause("deadline", f"{key} spent its {seconds:g} s in this conversation", key)
            self.core.cut(delivery.turn, ConversationState.TIMED_OUT, cause)

    async def _time(self, turn: Turn, seconds: float) -> None:
        if turn.outcome is not None:
            return
        with trio.CancelScope() as turn.timer:
            await trio.sleep(seconds)
            cause = Cause("deadline", f"the conversation had {seconds:g} s")
            self.core.cut(turn, ConversationState.TIMED_OUT, cause)

    # -- rest --------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing is in flight."""
        return self.core.ledger.in_flight == 0

    async def wait_idle(self) -> None:
        """Until nothing is in flight. Checkpoint."""
        if self.idle:
            await trio.lowlevel.checkpoint()
            return
        if self._idle is None:
            self._idle = trio.Event()
        await self._idle.wait()

    def ask_to_stop(self, grace: float) -> None:
        """Close the intake and drain for at most ``grace`` seconds from now. The shortest grace asked for holds."""
        if not self._stop.is_set():
            self.intake.close()
            self.observer.phase("draining")
        self._drain_until = min(self._drain_until, trio.current_time() + grace)
        if self._draining is not None:
            self._draining.deadline = self._drain_until
        self._stop.set()

    async def stop(self, grace: float) -> None:
        """Close, drain, cancel, sweep; idempotent. Checkpoint. Inside a dispatch it is only asked for.

        Cancelled means: the stop goes on, only the waiting ended.
        """
        self.ask_to_stop(grace)
        if current_dispatch(self) is not None:
            await trio.lowlevel.checkpoint()
        else:
            await self._stopped.wait()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Own the nursery until asked to stop. ``open_pump`` starts it, once."""
        try:
            async with trio.open_nursery() as workers:
                self._spawn = workers.start_soon  # the pump may start carriers, and do no more with it
                self.observer.phase("open")
                try:
                    task_status.started()
                    await self._stop.wait()
                    with trio.CancelScope(deadline=self._drain_until) as self._draining:
                        await self.wait_idle()
                finally:
                    self._halt()
                    workers.cancel_scope.cancel(reason="the organism stops")
        finally:
            self._sweep()

    async def watch(self) -> None:
        """Name the handlers that were cancelled by a stop and do not leave. Shielded: it ends with the stop."""
        with trio.CancelScope(shield=True):
            await self._stop.wait()
            while not self._stopped.is_set():
                with trio.move_on_after(SLOW_AFTER):
                    await self._stopped.wait()
                if self._halted and not self._stopped.is_set():
                    running = [d for turn in self.core.live_turns() for d in turn.live if d.running]
                    self.observer.held_up(sorted({delivery.listener.key for delivery in running}))

    def _halt(self) -> None:
        """From here on nothing starts: what waits ends, what runs is told to."""
        if not self._halted:
            self._halted, self._spawn = True, None
            self.intake.close()
            self._stop.set()
            self.observer.phase("stopping")
        for conversation in list(self.core.conversations.values()):
            if conversation.turns:
                self.core.cut_conversation(conversation, ConversationState.DRAINED, STOPPED)

    def _sweep(self) -> None:
        """No task is left: whatever is still in the books ends here, and so do open blocks."""
        self._halt()
        for turn in self.core.live_turns():
            for delivery in list(turn.live):
                self.core.close(delivery, Ending.ABANDONED, STOPPED)
            self.core.check(turn)
        for conversation in list(self.core.conversations.values()):
            self.core.leave(conversation)
        self._stopped.set()
        self.observer.phase("closed")

    # -- what has ended ----------------------------------------------------------------------

    def _turn_ended(self, turn: Turn) -> None:
        for waiter in turn.waiters:
            waiter.send_nowait(turn.outcome)
        if turn.timer is not None:
            turn.timer.cancel(reason="the turn has ended")
        if self._idle is not None and self.idle:
            self._idle.set()
            self._idle = None

    def _conversation_ended(self, conversation: Conversation) -> None:
        self.intake.give_back()


@asynccontextmanager
async def open_pump(
    config: OrganismConfig,
    listeners: Sequence[Listener],
    observer: Observer,
    clock: Clock,
    ids: Ids,
    random: Random,
) -> AsyncIterator[Pump]:
    """A running pump. Left normally it drains for ``shutdown_grace`` seconds; left by an error it does not.

    An error of the body arrives as it was raised, not wrapped into a group.
    """
    pump = Pump(config, listeners, observer, clock, ids, random)
    failed: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.watch, name="phloem watch")
        await nursery.start(pump.run, name="phloem pump")
        try:
            yield pump
        except Exception as error:
            failed = error
            pump.ask_to_stop(0.0)
        except BaseException:
            pump.ask_to_stop(0.0)
            raise
        else:
            await pump.stop(config.shutdown_grace)
    if failed is not None:
        raise failed
