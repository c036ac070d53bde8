"""The door for programs that do not await: an organism in a thread of its own, used by plain calls.

Decides what of an organism can be had from other threads, and under which names: the same ones, each
blocking call with a ``timeout``. How a call crosses, is interrupted and ends is ``thread_calls``'s.
Scripts, notebooks and WSGI programs use it, through ``with open_organism_in_thread(…)``.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, final

import trio

from phloem.config import Budgets, ListenerConfig, OrganismConfig
from phloem.errors import OrganismClosed, StreamOverflowed
from phloem.events import AgentEvent, EventStream, HistoryGap, Lagged, Overflow
from phloem.loading import importable, load_config, resolve
from phloem.memory.todos import TodoWatcher
from phloem.messages import Clock, Faults, Ids, Outcome, Random, Receipt, ShutdownReport
from phloem.organism import Organism, open_organism
from phloem.pump.conversing import Conversation
from phloem.pump.observer import Observer
from phloem.pump.pipeline import Pipeline
from phloem.pump.reading import ThreadView
from phloem.pump.routing import Listener

from .thread_calls import OrganismThread, refuse_task

__all__ = ["ConversationInThread", "EventsInThread", "OrganismInThread", "open_organism_in_thread"]


@final
class OrganismInThread:
    """An organism, for any number of threads at once. Made by ``open_organism_in_thread``.

    Each call blocks until it is done. After ``timeout`` seconds it raises TimeoutError; interrupted
    (Ctrl-C) it raises that. Either way it was then cancelled in the organism, as if its caller had
    been, and that is done. Each raises OrganismClosed once the organism has stopped, WouldDeadlock in a
    handler, CallerError in a Trio task.
    """

    def __init__(self, organism: Organism, thread: OrganismThread) -> None:
        self._organism, self._thread = organism, thread
        self.config: OrganismConfig = organism.config
        self.listeners: Mapping[str, Listener] = organism.listeners

    # -- sending -------------------------------------------------------------------------------

    def ask(
        self,
        payload: Any,
        to: str | None = None,
        *,
        sender: str = "outside",
        budgets: Budgets | None = None,
        timeout: float | None = None,
    ) -> Any:
        """As ``Organism.ask``. Interrupted or timed out means: its conversation was killed."""
        ask = partial(self._organism.ask, sender=sender, budgets=budgets)
        return self._thread.call(ask, payload, to, timeout=timeout)

    def send(
        self,
        payload: Any,
        to: str | None = None,
        *,
        sender: str = "outside",
        budgets: Budgets | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """As ``Organism.send``. Timed out means: nothing was accepted."""
        send = partial(self._organism.send, sender=sender, budgets=budgets)
        receipt: Receipt = self._thread.call(send, payload, to, timeout=timeout)
        return receipt

    def inject(
        self,
        xml: bytes | str,
        *,
        sender: str = "outside",
        budgets: Budgets | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """As ``Organism.inject``. Timed out means: nothing was accepted."""
        inject = partial(self._organism.inject, sender=sender, budgets=budgets)
        receipt: Receipt = self._thread.call(inject, xml, timeout=timeout)
        return receipt

    @contextmanager
    def open_conversation(
        self, sender: str = "outside", *, budgets: Budgets | None = None, timeout: float | None = None
    ) -> Iterator[ConversationInThread]:
        """As ``Organism.open_conversation``; ``timeout`` is for the wait for its seat."""
        opens = partial(self._organism.open_conversation, sender, budgets=budgets)
        with self._thread.holding(opens, timeout) as conversation:
            yield ConversationInThread(conversation, self._thread)

    # -- waiting -------------------------------------------------------------------------------

    def wait(self, receipt: Receipt, *, timeout: float | None = None) -> Outcome:
        """As ``Organism.wait``. Interrupted or timed out means: only the waiting ended."""
        outcome: Outcome = self._thread.call(self._organism.wait, receipt, timeout=timeout)
        return outcome

    def wait_idle(self, *, timeout: float | None = None) -> None:
        """Until nothing is in flight."""
        self._thread.call(self._organism.wait_idle, timeout=timeout)

    def kill(self, conversation: str, *, timeout: float | None = None) -> bool:
        """As ``Organism.kill``. Interrupted or timed out means: it is killed all the same."""
        killed: bool = self._thread.call(self._organism.kill, conversation, timeout=timeout)
        return killed

    def shutdown(self, grace: float | None = None, *, timeout: float | None = None) -> ShutdownReport:
        """As ``Organism.shutdown``. Interrupted or timed out means: it goes on."""
        report: ShutdownReport = self._thread.call(self._organism.shutdown, grace, timeout=timeout)
        return report

    @contextmanager
    def open_stream(
        self,
        event_types: Iterable[str] | str | None = None,
        filter_stream: str | None = None,
        filter_node: str | None = None,
        filter_execution: str | None = None,
        *,
        buffer: int | None = None,
        overflow: str = Overflow.BLOCK,
        since: int | None = None,
    ) -> Iterator[EventsInThread]:
        """As ``organism.events.open_stream``: a plain iterator, which ends with the organism.

        To be used on another thread than the one that leaves the organism's block, if it is to
        see the end.
        """
        opened = partial(
            self._organism.events.open_stream,
            event_types,
            filter_stream,
            filter_node,
            filter_execution,
            buffer=buffer,
            overflow=overflow,
            since=since,
        )
        rest: deque[AgentEvent | Lagged | HistoryGap] = deque()
        complete = threading.Event()

        @asynccontextmanager
        async def reading() -> AsyncIterator[EventStream]:
            try:
                async with opened() as stream:
                    yield stream
                    while True:  # at the organism's end; the iterator outlives it
                        try:
                            rest.append(stream.receive_nowait())
                        except (trio.WouldBlock, trio.EndOfChannel, StreamOverflowed):
                            break
            finally:
                complete.set()

        with self._thread.holding(reading, None) as stream:
            yield EventsInThread(stream, rest, complete, self._thread)

    # -- reading -------------------------------------------------------------------------------

    @property
    def report(self) -> ShutdownReport:
        """As ``Organism.report``; after the block as well."""
        return self._thread.read(lambda: self._organism.report)

    @property
    def threads(self) -> tuple[ThreadView, ...]:
        """The live threads of conversations, oldest conversation first."""
        return self._thread.read(lambda: self._organism.threads)

    @property
    def todos(self) -> tuple[TodoWatcher, ...]:
        """The open todos, oldest conversation first."""
        return self._thread.read(lambda: self._organism.todos)

    def statistics(self) -> dict[str, Any]:
        """As ``Organism.statistics``."""
        return self._thread.read(self._organism.statistics)


@final
class ConversationInThread:
    """Several turns with one memory; from ``open_conversation``, inside its block only. Blocks likewise."""

    def __init__(self, conversation: Conversation, thread: OrganismThread) -> None:
        self._conversation, self._thread = conversation, thread

    @property
    def id(self) -> str:
        """As in its receipts and outcomes."""
        return self._conversation.id

    def ask(
        self,
        payload: Any,
        to: str | None = None,
        *,
        budgets: Budgets | None = None,
        timeout: float | None = None,
    ) -> Any:
        """As the next turn. Interrupted or timed out means: this turn was cut, no other."""
        ask = partial(self._conversation.ask, budgets=budgets)
        return self._thread.call(ask, payload, to, timeout=timeout)

    def send(
        self,
        payload: Any,
        to: str | None = None,
        *,
        budgets: Budgets | None = None,
        timeout: float | None = None,
    ) -> Receipt:
        """As the next turn. Timed out means: nothing was accepted."""
        send = partial(self._conversation.send, budgets=budgets)
        receipt: Receipt = self._thread.call(send, payload, to, timeout=timeout)
        return receipt

    def inject(
        self, xml: bytes | str, *, budgets: Budgets | None = None, timeout: float | None = None
    ) -> Receipt:
        """As the next turn. Timed out means: nothing was accepted."""
        inject = partial(self._conversation.inject, budgets=budgets)
        receipt: Receipt = self._thread.call(inject, xml, timeout=timeout)
        return receipt


@final
class EventsInThread:
    """Events, one after the other; from ``open_stream``. Several threads may read: each gets others."""

    def __init__(
        self,
        stream: EventStream,
        rest: deque[AgentEvent | Lagged | HistoryGap],
        complete: threading.Event,
        thread: OrganismThread,
    ) -> None:
        self._stream, self._rest, self._complete, self._thread = stream, rest, complete, thread

    def __iter__(self) -> EventsInThread:
        return self

    def __next__(self) -> AgentEvent | Lagged | HistoryGap:
        try:
            return self.receive()
        except trio.EndOfChannel:
            raise StopIteration from None

    def receive(self, *, timeout: float | None = None) -> AgentEvent | Lagged | HistoryGap:
        """The next event, or how many were lost before it. Timed out means: nothing was taken.

        Raises trio.EndOfChannel after the last one, StreamOverflowed (once) if its policy is ``error``.
        """
        try:
            event: AgentEvent | Lagged | HistoryGap = self._thread.call(self._stream.receive, timeout=timeout)
        except OrganismClosed:
            if self._thread.failure is not None:
                raise
        else:
            return event
        self._thread.await_end_of(self._complete)  # calls are refused before the rest has been put aside
        try:
            return self._rest.popleft()
        except IndexError:
            raise trio.EndOfChannel from None


@contextmanager
def open_organism_in_thread(
    config: OrganismConfig | str | os.PathLike[str],
    *,
    listeners: Sequence[ListenerConfig] = (),
    clock: Clock | None = None,
    ids: Ids | None = None,
    random: Random | None = None,
    observer: Observer | None = None,
    faults: Faults | None = None,
    pipeline: Pipeline | None = None,
    backends: Sequence[Any] | None = None,
) -> Iterator[OrganismInThread]:
    """As ``open_organism``, for programs that do not await: it runs in a thread of its own.

    What it imports it imports here, in the caller's thread; handlers, ``observer`` and the other
    ports are called in its own. Left normally it drains; left by an error, Ctrl-C or ``sys.exit``
    it drops what is in flight. Once the block is left its thread has ended, however it was left;
    a block that nobody leaves does not keep Python from exiting. A fork has no such thread: it has to
    open an organism of its own. Works where an event loop is running, as in a notebook, which then
    waits; in a Trio task it is refused. Blocks until the organism runs. Raises ConfigurationError
    with all faults, CallerError, and what the organism died of.
    """
    refuse_task("open_organism_in_thread")
    folder: AbstractContextManager[None] = nullcontext()
    if not isinstance(config, OrganismConfig):
        folder = importable(Path(config).resolve().parent)
    with folder:
        # Imported in the organism's thread, a module that is being imported here would wait for us for ever.
        if isinstance(config, OrganismConfig):
            found = dataclasses.replace(config, listeners=(*config.listeners, *listeners))
            found = resolve(found, backends=backends)
        else:
            found = load_config(config, listeners=listeners, keys=True, backends=backends)
        opens = partial(
            open_organism,
            found,
            clock=clock,
            ids=ids,
            random=random,
            observer=observer,
            faults=faults,
            pipeline=pipeline,
            backends=backends,
        )
        thread = OrganismThread(opens, found.name)
        with thread.running() as organism:
            yield OrganismInThread(organism, thread)
