"""The front door: an organism, opened from a file or a configuration; start, use, drain, report.

The only file that knows every part. Decides what a caller's request becomes and which error
it meets; the pump decides everything about messages. Used through ``async with
open_organism(…)``, by any number of tasks.
"""

from __future__ import annotations

import dataclasses
import os
import random as random_module
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast, final

import trio

from phloem.config import DEFAULT_BUDGETS, Budgets, ListenerConfig, OrganismConfig
from phloem.errors import ConfigurationError, ConfigurationFault, OutcomeForgotten
from phloem.events import EventBus, open_event_bus
from phloem.feeding.attached import Attached, attach
from phloem.feeding.batches import BatchResults, Messages, open_batch
from phloem.llm.driving import drive
from phloem.llm.facade import LLM, open_llm, takes
from phloem.loading import Driver, importable, load_config, resolve, running_listeners
from phloem.memory.todos import TodoWatcher
from phloem.messages import (
    Cause,
    Clock,
    ConversationState,
    Faults,
    Host,
    Ids,
    Outcome,
    Random,
    Receipt,
    ShutdownReport,
    iso_time,
)
from phloem.primitives import BOOT_LISTENER, DRIVEN_HEAR, SERVICE_LISTENERS, Boot
from phloem.pump.calling import Calling, HandlerThreads
from phloem.pump.conversing import Conversation
from phloem.pump.dispatch import callers_context
from phloem.pump.door import Door
from phloem.pump.observer import LoggingObserver, Observer
from phloem.pump.open_sources import Feed
from phloem.pump.pipeline import Pipeline
from phloem.pump.ports import SeededIds, TrioClock
from phloem.pump.pump import Pump, open_pump
from phloem.pump.reading import ContextView, ThreadView, statistics_of, threads_of, todos_of
from phloem.pump.routing import Listener
from phloem.pump.sources import Source, open_source
from phloem.pump.telling import PumpEvent

__all__ = ["Organism", "open_organism"]

KILLED: Final = Cause("killed", "the conversation was killed")
BLOCK_LEFT: Final = Cause("killed", "its block was left by an error")


@final
class Organism:
    """One configuration, running. Made by ``open_organism``."""

    def __init__(
        self,
        config: OrganismConfig,
        listeners: Sequence[Listener],
        pump: Pump,
        threads: HandlerThreads,
        llm: LLM,
    ) -> None:
        self.config, self.events, self.llm = config, pump.core.events, llm
        self._pump, self._core, self._threads = pump, pump.core, threads
        self._door = Door(pump, config.budgets.over(DEFAULT_BUDGETS))
        self.listeners: Mapping[str, Listener] = MappingProxyType(self._core.listeners)
        self.routing_table: Mapping[str, list[Listener]] = MappingProxyType(self._core.steps.routes.table)

    async def _boot(self) -> None:
        """The first message of the run; returns when it has been handled. Checkpoint."""
        now = iso_time(self._core.clock.wall())
        await self._door.boot(Boot(self.config.name, now, len(self.listeners)), BOOT_LISTENER.name)

    # -- sending -------------------------------------------------------------------------------

    async def ask(
        self, payload: Any, to: str | None = None, *, sender: str = "outside", budgets: Budgets | None = None
    ) -> Any:
        """Send a payload and wait for its conversation's end: the first payload answered at its root.

        Checkpoint. Cancelled means: its conversation was killed. Raises MessageRejected,
        ConversationFailed, NoResponse, OrganismClosed, SenderRefused, ContractError; inside a
        dispatch of this organism WouldDeadlock.
        """
        return await self._door.ask(self._door.payload(payload, to), sender, budgets, None)

    async def send(
        self, payload: Any, to: str | None = None, *, sender: str = "outside", budgets: Budgets | None = None
    ) -> Receipt:
        """Send a payload; returns as soon as it is accepted. Checkpoint. Cancelled means: nothing was.

        Raises MessageRejected, OrganismClosed, SenderRefused, ContractError; WouldDeadlock inside
        a dispatch of this organism if no seat is free.
        """
        return (await self._door.enter(self._door.payload(payload, to), sender, budgets, None)).receipt

    async def inject(
        self, xml: bytes | str, *, sender: str = "outside", budgets: Budgets | None = None
    ) -> Receipt:
        """Send a raw envelope, or a bare payload, of at most ``wire.max_bytes``. Else as ``send``.

        What it says of ``from`` and ``thread`` is overwritten by ``sender`` and by us.
        """
        return (await self._door.enter(self._door.document(xml, sender), sender, budgets, None)).receipt

    @asynccontextmanager
    async def open_conversation(
        self, sender: str = "outside", *, budgets: Budgets | None = None
    ) -> AsyncIterator[Conversation]:
        """Several turns with one memory, on one seat. Left normally it waits for them, else it kills them.

        Inside the block use the conversation's own ``ask``: the organism's waits for a seat more.
        Checkpoint. Cancelled while it waits for its seat means: nothing was opened. Raises
        SenderRefused, OrganismClosed, ConfigurationError for budgets that are none, and
        WouldDeadlock inside a dispatch of this organism if no seat is free.
        """
        self._door.check_sender(sender)
        limits = self._door.budgets(budgets)
        await self._door.take_seat(sender)
        conversation = self._core.open_conversation(sender, limits, callers_context(), lasting=True)
        try:
            yield Conversation(self._door, conversation)
            if not self._door.inside:
                for turn in list(conversation.turns.values()):
                    await self._door.outcome(turn)
        except BaseException:
            self._core.cut_conversation(conversation, ConversationState.CANCELLED, BLOCK_LEFT)
            raise
        finally:
            self._core.leave(conversation)

    def open_batch(
        self,
        source: Messages,
        *,
        ordered: bool = True,
        max_in_flight: int | None = None,
        sender: str = "outside",
    ) -> AbstractAsyncContextManager[BatchResults]:
        """``async with organism.open_batch(source) as results: async for result in results``.

        ``source`` is an iterable or async iterable of payloads, documents (bytes or str) and
        ``BatchMessage``s. Each has one ``BatchResult``, in the order of the source, or (not
        ``ordered``) as they end; a rejected one as well. At most ``max_in_flight`` (1,000) are read
        ahead of the slowest whose result nobody has read, so who reads slowly slows reading. What
        the source raises ends reading, and is raised after the results of what it gave before;
        so is ContractError for what can be no message. An async generator is closed. Once the
        organism is closed, what was not accepted has a result that says so.

        Left before its end it kills what is in flight, and waits for handlers to leave. Checkpoint.
        Cancelled means: the same, and after 2 seconds it waits no more. Raises SenderRefused,
        ConfigurationError, and WouldDeadlock inside a dispatch of this organism.
        """
        return open_batch(
            self._door,
            self._pump,
            source,
            ordered=ordered,
            max_in_flight=max_in_flight,
            sender=sender,
        )

    # -- sources -------------------------------------------------------------------------------

    def open_source(self, name: str, *, priority: bool = False) -> AbstractAsyncContextManager[Source]:
        """``async with organism.open_source("console") as source: await source.send(…)``.

        Its messages come from ``name``. Sources take turns at seats, handlers and wherever else there is
        a line, so that a flooding one delays another by at most one message for each source; those of
        ``priority`` go before all others. Whoever sends without one is one source together. Once the
        block is left nothing more is accepted; what was sent goes on. Checkpoint. Cancelled means:
        nothing was opened. Raises OrganismClosed, and SenderRefused for a name that a sender may not
        have or that is open.
        """
        return open_source(self._door, self._pump, name, priority=priority)

    def attach(
        self, stream: Any, *, sender: str, framing: str = "xml", to: str | None = None, priority: bool = False
    ) -> Attached:
        """Read messages from a stream of bytes, as a source named ``sender``, until it ends or is closed.

        ``stream``: a byte stream of Trio or anyio, an async iterable of bytes, a binary file (async or
        not; a process's stdout is one of these) or a path. ``framing``: ``xml``, envelopes one after
        the other; ``ndjson``, lines as in ``phloem run --batch``; ``lines``, each the text for the
        listener ``to``. In ndjson ``to`` takes what has fields and names nobody. The next bytes are read
        once the messages of the last are accepted. What is no message is told and counted, and reading
        goes on; what the stream raises ends it, and is in its statistics. The stream stays its owner's:
        only a path and an async generator are closed here. Shutdown ends reading first.

        Never a checkpoint. Raises ConfigurationError for a stream, framing or ``to`` that is none;
        else as ``open_source``.
        """
        return attach(
            self._door,
            self._pump,
            stream,
            sender=sender,
            framing=framing,
            to=to,
            priority=priority,
            limits=self.config.wire,
        )

    @property
    def sources(self) -> Mapping[str, Feed]:
        """The open sources and attached streams by name, as they come and go."""
        return self._pump.sources.feeds

    # -- waiting -------------------------------------------------------------------------------

    async def wait(self, receipt: Receipt) -> Outcome:
        """The outcome of what ``receipt`` names. Checkpoint. Cancelled means: only the waiting ended.

        Raises OutcomeForgotten for one that is neither live nor among the newest
        ``keep_outcomes``, WouldDeadlock inside a dispatch of this organism.
        """
        self._door.refuse_inside("wait")
        outcome = self._core.outcome(receipt)
        if outcome is not None:
            await trio.lowlevel.checkpoint()
            return outcome
        turn = self._core.live_turn(receipt)
        if turn is None:
            raise OutcomeForgotten(
                f"conversation {receipt.conversation} (turn {receipt.turn}) is not among the newest "
                f"{self.config.keep_outcomes} outcomes, which are kept (keep_outcomes)"
            )
        return await self._door.outcome(turn)

    async def wait_idle(self) -> None:
        """Until nothing is in flight. Checkpoint. WouldDeadlock inside a dispatch of this organism."""
        self._door.refuse_inside("wait_idle")
        await self._pump.wait_idle()

    async def kill(self, conversation: str) -> bool:
        """End a conversation: what waits ends, what runs is cancelled. False if it is not live.

        Checkpoint. Returns when its last handler has left; inside a dispatch it only asks for
        it. Cancelled means: it is killed all the same, only the waiting ended.
        """
        found = self._core.conversations.get(conversation)
        if found is None:
            await trio.lowlevel.checkpoint()
            return False
        turns = list(found.turns.values())
        self._core.cut_conversation(found, ConversationState.CANCELLED, KILLED)
        if not self._door.inside:
            for turn in turns:
                await self._door.outcome(turn)
        await trio.lowlevel.checkpoint()
        return True

    async def shutdown(self, grace: float | None = None) -> ShutdownReport:
        """Close, drain for at most ``grace`` seconds (``shutdown_grace``), cancel, sweep; then the report.

        Idempotent; the shortest grace asked for holds. Checkpoint. Cancelled means: the
        shutdown goes on, only the waiting ended. Inside a dispatch it only asks for it, and the
        report is the one so far.
        """
        await self._pump.stop(self.config.shutdown_grace if grace is None else grace)
        return self.report

    # -- reading -------------------------------------------------------------------------------

    @property
    def report(self) -> ShutdownReport:
        """The books as they stand; final once the block is left, save for threads that still run then."""
        return dataclasses.replace(self._core.ledger.report(), abandoned_threads=self._threads.abandoned)

    @property
    def threads(self) -> tuple[ThreadView, ...]:
        """The live threads, oldest conversation first."""
        return threads_of(self._core)

    @property
    def todos(self) -> tuple[TodoWatcher, ...]:
        """The open todos, oldest conversation first, as they were when they were asked for."""
        return todos_of(self._core)

    @property
    def context(self) -> ContextView:
        """What live conversations remember, and the newest ``keep_finished`` ended ones."""
        return ContextView(self._core)

    def statistics(self) -> dict[str, Any]:
        """Counts for an operator: messages, conversations, seats, queue, threads and each listener's."""
        return {
            **statistics_of(self._pump, self.context),
            "threads": self._threads.statistics(),
            "llm": self.llm.statistics(),
        }


@asynccontextmanager
async def open_organism(
    config: OrganismConfig | str | os.PathLike[str],
    *,
    listeners: Sequence[ListenerConfig] = (),
    clock: Clock | None = None,
    ids: Ids | None = None,
    random: Random | None = None,
    observer: Observer | None = None,
    faults: Faults | None = None,
    host: Host | None = None,
    pipeline: Pipeline | None = None,
    backends: Sequence[Any] | None = None,
) -> AsyncIterator[Organism]:
    """A running organism on Trio: what ``phloem.open_organism`` opens on every side, and says the rest of.

    Raises ConfigurationError with all faults. Checkpoint.
    """
    if pipeline is not None and not isinstance(cast("object", pipeline), Pipeline):
        found_type = f"a {type(pipeline).__name__}"
        raise ConfigurationError([ConfigurationFault("pipeline", found_type, "a Pipeline")])
    with _folder_of(config):
        if isinstance(config, OrganismConfig):
            found = dataclasses.replace(config, listeners=(*config.listeners, *listeners))
            found = resolve(found, backends=backends)
        else:
            found = load_config(config, listeners=listeners, keys=True, backends=backends)
        calling = Calling(found.max_sync_handlers, host)
        driver = Driver(drive, DRIVEN_HEAR, takes(found.llm_config, os.environ))
        running = running_listeners(found, [BOOT_LISTENER], SERVICE_LISTENERS, calling, driver)
        clock = TrioClock() if clock is None else clock
        ids = SeededIds() if ids is None else ids
        # Seeded from here, for a simulation has its own ``os.urandom`` and no way to Python's.
        random = random_module.Random(os.urandom(16)) if random is None else random
        async with (
            _bus_of(found, clock, ids, faults) as events,
            open_llm(found.llm_config, running, random=random, clock=clock, faults=faults) as llm,
            open_pump(
                found,
                [dataclasses.replace(each, prompt="") for each in running],  # no handler gets at one
                LoggingObserver(found.name) if observer is None else observer,
                clock,
                ids,
                random,
                events,
                faults,
                Pipeline.of(found.pipeline) if pipeline is None else pipeline,
            ) as pump,
        ):
            pump.core.llm = llm
            organism = Organism(found, running, pump, calling.threads, llm)
            await organism._boot()
            pump.open_gates()
            yield organism


def _bus_of(
    config: OrganismConfig, clock: Clock, ids: Ids, faults: Faults | None
) -> AbstractAsyncContextManager[EventBus]:
    """The bus that outlives the pump, so that what happens as it stops is delivered too."""
    limits = config.events
    return open_event_bus(
        limits.max_history,
        limits.max_concurrent_handlers,
        max_history_bytes=limits.max_history_bytes,
        buffer=limits.buffer,
        slow_after=limits.slow_after,
        grace=limits.grace,
        types=PumpEvent,
        clock=clock,
        id=ids.conversation(0),
        faults=faults,
    )


def _folder_of(config: OrganismConfig | str | os.PathLike[str]) -> AbstractContextManager[None]:
    """The file's folder is importable while its organism runs."""
    if isinstance(config, OrganismConfig):
        return nullcontext()
    return importable(Path(config).resolve().parent)
