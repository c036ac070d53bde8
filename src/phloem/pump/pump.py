"""The pump: owner of the nursery in which everything runs; drain, stop, sweep.

Decides in what order an organism comes to rest. Its tasks are ``carrying``'s, its books are
``core``'s and ``settling``'s: every change there is one sync stretch.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import final

import trio

from phloem.config import PARSE_THREADS, SLOW_AFTER, OrganismConfig, ThreadScheduling
from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.events import EventBus
from phloem.guarding import holds_cancelled
from phloem.messages import Clock, ConversationState, Ending, Faults, Ids, Random

from .burying import Burying, check_branches
from .carrying import STOPPED, Carriers
from .conversation import Conversation, Turn
from .core import Core
from .dispatch import current_dispatch
from .flow import Flow
from .gates import Gates
from .intake import Intake
from .observer import Observer, Observers
from .open_sources import OpenSources
from .origin import Origin
from .pipeline import Pipeline
from .remembering import Remembering
from .routing import Listener
from .slots import Slots
from .steps import Steps
from .telling import Telling

__all__ = ["Pump", "open_pump"]


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
        events: EventBus,
        faults: Faults | None = None,
        pipeline: Pipeline | None = None,
    ) -> None:
        pipeline = Pipeline.default() if pipeline is None else pipeline
        steps = Steps(listeners, config.wire, repairs="repair" not in pipeline.removed)
        telling = Telling(events.record, config.name, lambda: self.core.ledger.report())
        self.observer = Observers(telling, observer)
        own = not pipeline.is_default
        self._turns = count(1)  # of all sources, in all lines
        tell = self.observer.step_raised
        self.flow = Flow(pipeline, steps, random, tell, self._turns) if own else None
        self.core = Core(
            listeners,
            steps,
            self.observer,
            clock,
            ids,
            Remembering(config.memory, steps, clock),
            events,
            config.name,
            depth_first=config.thread_scheduling == ThreadScheduling.DEPTH_FIRST,
            count=self._turns,
            max_attempts=config.max_attempts,
            keep_outcomes=config.keep_outcomes,
            keep_outcome_bytes=config.keep_outcome_bytes,
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
            steps,
            self.slots,
            lambda: self.carriers.pulse(),
            self.core.memory.census,
            seats=config.max_in_flight,
            limits=config.wire,
            faults=faults,
            count=self._turns,
        )
        self.carriers = Carriers(self.core, self.slots, self.intake, random, faults, self.flow)
        if self.flow is not None:
            check_branches(pipeline.placed, listeners, steps.routes)
            self.intake.users_gates = self.flow.lines
            if self.flow.branches:
                self.core.morgue = Burying(self.core, self.flow.branches, config.wire.max_text)
        self.sources = OpenSources()
        self._halted = False
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self._idle: trio.Event | None = None
        self._drain_until = math.inf
        self._draining: trio.CancelScope | None = None

    def origin(self, name: str, *, urgent: bool = False) -> Origin:
        """A source for lines and books, from now on. Once it has no more, ``intake.close_source`` it."""
        return Origin(name, urgent=urgent, born=next(self._turns))

    def open_gates(self) -> None:
        """From here on users' steps before ``dispatch`` say what may go: the first message is handled."""
        if self.flow is not None and self.flow.gates:
            self.slots.gates = Gates(self.flow.gates, self.carriers.wake_at)

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
        """Close the sources, the intake, drain for at most ``grace`` seconds. The shortest grace holds."""
        if not grace >= 0:
            raise ConfigurationError([ConfigurationFault("grace", f"{grace}", "seconds, 0 or more")])
        if not self._stop.is_set():
            self.sources.close(self.intake.close)
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
        if current_dispatch(self.core) is not None:
            await trio.lowlevel.checkpoint()
        else:
            await self._stopped.wait()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Own the nursery until asked to stop. ``open_pump`` starts it, once."""
        try:
            async with trio.open_nursery() as workers:
                self.carriers.spawn = workers.start_soon  # carriers may start tasks, and do no more with it
                self.observer.phase("open")
                try:
                    task_status.started()
                    await self._stop.wait()
                    with trio.CancelScope(deadline=self._drain_until) as self._draining:
                        if not self.intake.closed:  # some source still has a task that reads
                            await self.intake.shut()
                        await self.wait_idle()
                finally:
                    self._halt()
                    workers.cancel_scope.cancel(reason="the organism stops")
        finally:
            try:
                with trio.CancelScope(shield=True):  # a thread job cannot be cancelled; 1 MiB takes 35 ms
                    await self.intake.quiet()
                self._sweep()
            finally:
                self._stopped.set()  # also when a bug of ours interrupts the sweep: nobody waits for ever

    async def watch(self) -> None:
        """Name the handlers that a stop cancelled and that do not leave. Shielded: it ends with the stop."""
        with trio.CancelScope(shield=True):
            await self._stop.wait()
            while not self._stopped.is_set():
                with trio.move_on_after(SLOW_AFTER):
                    await self._stopped.wait()
                if self._halted and not self._stopped.is_set():
                    running = [d for turn in self.core.live_turns() for d in turn.live if d.running]
                    names = {delivery.listener.key for delivery in running}.union(self.sources.readers)
                    if names:
                        self.observer.held_up(sorted(names))

    def _halt(self) -> None:
        """From here on nothing starts: what waits ends, what runs is told to."""
        if not self._halted:
            self._halted, self.carriers.spawn = True, None
            self.sources.close(self.intake.close)
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
        for id in conversation.subscriptions or ():  # after its end was told: they still hear of that
            self.core.events.retire(id)
        conversation.subscriptions = None
        self.intake.give_back()


@asynccontextmanager
async def open_pump(
    config: OrganismConfig,
    listeners: Sequence[Listener],
    observer: Observer,
    clock: Clock,
    ids: Ids,
    random: Random,
    events: EventBus,
    faults: Faults | None = None,
    pipeline: Pipeline | None = None,
) -> AsyncIterator[Pump]:
    """A running pump. Left normally it drains for ``shutdown_grace`` seconds; left by an error it does not.

    An error of the body arrives as it was raised, not wrapped into a group. What happens is told to
    ``observer`` and, before it, on ``events``, which must stay open for longer.
    """
    pump = Pump(config, listeners, observer, clock, ids, random, events, faults, pipeline)
    failed: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.watch, name="phloem watch")
        await nursery.start(pump.run, name="phloem pump")
        try:
            yield pump
        except BaseException as error:  # noqa: ASYNC103 - kept, and raised below, unless a scope waits for it
            pump.ask_to_stop(0.0)
            if holds_cancelled(error):
                raise
            failed = error
            nursery.cancel_scope.shield = True  # cancelled from outside, leaving it would lose the error
        else:
            await pump.stop(config.shutdown_grace)
    if failed is not None:
        raise failed
