"""The front door: an organism, opened from a file or a configuration; start, use, drain, report.

The only file that knows every part. Decides what a caller's request becomes and which error
it meets; the pump decides everything about messages. Used through ``async with
open_organism(…)``, by any number of tasks.
"""

from __future__ import annotations

import contextvars
import dataclasses
import os
import random as random_module
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, final

import trio

from phloem.config import DEFAULT_BUDGETS, MAX_NAME, Budgets, ListenerConfig, OrganismConfig
from phloem.contract import contract_of
from phloem.errors import (
    ConversationFailed,
    InvalidMessage,
    MessageRejected,
    NoResponse,
    OrganismClosed,
    OutcomeForgotten,
    SenderRefused,
    WouldDeadlock,
)
from phloem.loading import importable, load_config, resolve
from phloem.messages import (
    SYSTEM,
    Cause,
    Clock,
    ConversationState,
    Ids,
    Outcome,
    Random,
    Receipt,
    ShutdownReport,
)
from phloem.pump.conversation import Conversation as _Conversation
from phloem.pump.conversation import Turn
from phloem.pump.dispatch import current_dispatch
from phloem.pump.observer import LoggingObserver, Observer
from phloem.pump.pipeline import Checked, Refused
from phloem.pump.ports import SeededIds, TrioClock
from phloem.pump.pump import Pump, open_pump
from phloem.pump.routing import Listener, twin_keys
from phloem.wire.parsing import first_bad_char, quoted

__all__ = ["Conversation", "Organism", "ThreadView", "open_organism"]

KILLED: Final = Cause("killed", "the conversation was killed")
ASK_CANCELLED: Final = Cause("killed", "the ask was cancelled")
BLOCK_LEFT: Final = Cause("killed", "its block was left by an error")


@final
@dataclasses.dataclass(frozen=True, slots=True)
class ThreadView:
    """A live thread, as it was when it was asked for. ``state``: idle, queued or running."""

    id: str
    conversation: str
    listener: str
    chain: tuple[str, ...]
    state: str


@final
class Conversation:
    """Several turns with one memory; from ``organism.open_conversation``, inside its block only."""

    def __init__(self, organism: Organism, conversation: _Conversation) -> None:
        self._organism, self._conversation = organism, conversation

    @property
    def id(self) -> str:
        return self._conversation.id

    async def ask(self, payload: Any, to: str | None = None, *, budgets: Budgets | None = None) -> Any:
        """As ``Organism.ask``, as the next turn. Checkpoint. Cancelled means: this turn was cut, no other."""
        return await self._organism._ask(self._payload(payload, to), self._conversation.sender, budgets, self._conversation)

    async def send(self, payload: Any, to: str | None = None, *, budgets: Budgets | None = None) -> Receipt:
        """As ``Organism.send``, as the next turn. Checkpoint. Cancelled means: nothing was accepted."""
        examine = self._payload(payload, to)
        turn = await self._organism._enter(examine, self._conversation.sender, budgets, self._conversation)
        return turn.receipt

    async def inject(self, xml: bytes | str, *, budgets: Budgets | None = None) -> Receipt:
        """As ``Organism.inject``, as the next turn. Checkpoint. Cancelled means: nothing was accepted."""
        sender = self._conversation.sender
        examine = self._organism._document(xml, sender)
        return (await self._organism._enter(examine, sender, budgets, self._conversation)).receipt

    def _payload(self, payload: Any, to: str | None) -> Examine:
        return self._organism._payload(payload, to)


Examine = Callable[[], Awaitable[list[Checked]]]


@final
class Organism:
    """One configuration, running. Made by ``open_organism``."""

    def __init__(self, config: OrganismConfig, listeners: Sequence[Listener], pump: Pump) -> None:
        self.config = config
        self._pump, self._core = pump, pump.core
        self.listeners: Mapping[str, Listener] = MappingProxyType(self._core.listeners)
        self.routing_table: Mapping[str, list[Listener]] = MappingProxyType(self._core.pipeline.routes.table)
        base = config.budgets.over(DEFAULT_BUDGETS)
        self._budgets = base

    # -- sending -------------------------------------------------------------------------------

    async def ask(
        self, payload: Any, to: str | None = None, *, sender: str = "outside", budgets: Budgets | None = None
    ) -> Any:
        """Send a payload and wait for its conversation's end: the first payload answered at its root.

        Checkpoint. Cancelled means: its conversation was killed. Raises MessageRejected,
        ConversationFailed, NoResponse, OrganismClosed, SenderRefused, ContractError; inside a
        dispatch of this organism WouldDeadlock.
        """
        return await self._ask(self._payload(payload, to), sender, budgets, None)

    async def send(
        self, payload: Any, to: str | None = None, *, sender: str = "outside", budgets: Budgets | None = None
    ) -> Receipt:
        """Send a payload; returns as soon as it is accepted. Checkpoint. Cancelled means: nothing was.

        Raises MessageRejected, OrganismClosed, SenderRefused, ContractError; WouldDeadlock inside
        a dispatch of this organism if no seat is free.
        """
        return (await self._enter(self._payload(payload, to), sender, budgets, None)).receipt

    async def inject(
        self, xml: bytes | str, *, sender: str = "outside", budgets: Budgets | None = None
    ) -> Receipt:
        """Send a raw envelope (or a bare payload) of at most 1 MiB. Raises and checkpoints as ``send``.

        What it says of ``from`` and ``thread`` is overwritten by ``sender`` and by us.
        """
        return (await self._enter(self._document(xml, sender), sender, budgets, None)).receipt

    @asynccontextmanager
    async def open_conversation(
        self, sender: str = "outside", *, budgets: Budgets | None = None
    ) -> AsyncIterator[Conversation]:
        """Several turns with one memory, on one seat. Left normally it waits for its turns; by an error it kills them.

        Checkpoint. Cancelled while it waits for its seat means: nothing was opened.
        """
        self._check_sender(sender)
        await self._pump.intake.take_seat(may_wait=current_dispatch(self._pump) is None)
        base = self._budgets if budgets is None else budgets.over(self._budgets)
        conversation = self._core.open_conversation(sender, base, contextvars.copy_context(), lasting=True)
        try:
            yield Conversation(self, conversation)
            if current_dispatch(self._pump) is None:
                for turn in list(conversation.turns.values()):
                    await self._outcome(turn)
        except BaseException:
            self._core.cut_conversation(conversation, ConversationState.CANCELLED, BLOCK_LEFT)
            raise
        finally:
            self._core.leave(conversation)

    # -- waiting -------------------------------------------------------------------------------

    async def wait(self, receipt: Receipt) -> Outcome:
        """The outcome of what ``receipt`` names. Checkpoint. Cancelled means: only the waiting ended.

        Raises OutcomeForgotten for one that is neither live nor among the newest
        ``keep_outcomes``, WouldDeadlock inside a dispatch of this organism.
        """
        self._refuse_inside("wait")
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
        return await self._outcome(turn)

    async def wait_idle(self) -> None:
        """Until nothing is in flight. Checkpoint. WouldDeadlock inside a dispatch of this organism."""
        self._refuse_inside("wait_idle")
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
        if current_dispatch(self._pump) is None:
            for turn in turns:
                await self._outcome(turn)
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
        """The books as they stand; final once the block is left."""
        return self._core.ledger.report()

    @property
    def threads(self) -> tuple[ThreadView, ...]:
        """The live threads, oldest conversation first."""
        return tuple(
            ThreadView(thread.id, conversation.id, thread.listener, thread.chain, _state(thread.occupant))
            for conversation in self._core.conversations.values()
            for thread in conversation.threads
        )

    def statistics(self) -> dict[str, Any]:
        """Counts for an operator: messages, conversations, seats, queue and each listener's."""
        core, slots = self._core, self._pump.slots
        return {
            "messages": {
                "accepted": core.ledger.accepted,
                "in_flight": core.ledger.in_flight,
                **{ending.value: count for ending, count in core.ledger.endings.items()},
                "abandoned_by": dict(core.ledger.abandoned_by),
            },
            "conversations": {
                "live": len(core.conversations),
                **{state.value: count for state, count in core.ended.items()},
            },
            "seats": {"free": self._pump.intake.free_seats, "waiting": self._pump.intake.waiting},
            "queued": len(core.queue),
            "handlers_running": slots.handlers.borrowed_tokens,
            "listeners": {
                key: {
                    "running": slots.listeners[listener].borrowed_tokens,
                    **{e.value: count for e, count in core.ledger.by_listener.get(key, {}).items()},
                }
                for key, listener in self.listeners.items()
            },
        }

    # -- inside --------------------------------------------------------------------------------

    async def _ask(
        self, examine: Examine, sender: str, budgets: Budgets | None, conversation: _Conversation | None
    ) -> Any:
        self._refuse_inside("ask")
        turn = await self._enter(examine, sender, budgets, conversation)
        outcome: Outcome | None = None
        try:
            outcome = await self._outcome(turn)
        finally:
            if outcome is None:
                self._core.cut(turn, ConversationState.CANCELLED, ASK_CANCELLED)
        if outcome.state is not ConversationState.COMPLETED:
            raise ConversationFailed(outcome)
        if not outcome.payloads:
            raise NoResponse(outcome)
        return outcome.payloads[0]

    async def _enter(
        self, examine: Examine, sender: str, budgets: Budgets | None, conversation: _Conversation | None
    ) -> Turn:
        """Into the books, in the sync stretch after the last await; raises MessageRejected if nothing went on."""
        core, intake = self._core, self._pump.intake
        if conversation is None:
            self._check_sender(sender)
            await intake.take_seat(may_wait=current_dispatch(self._pump) is None)
            seated = False
            try:
                checked = await examine()
                self._refuse_closed()
                seated = True
            finally:
                if not seated:
                    intake.give_back()
            base = self._budgets if budgets is None else budgets.over(self._budgets)
            found = core.open_conversation(sender, base, contextvars.copy_context(), lasting=False)
            turn = found.open_turn(None)
        else:
            await trio.lowlevel.checkpoint()
            checked = await examine()
            self._refuse_closed()
            self._refuse_ended(conversation)
            turn = conversation.open_turn(budgets)
        core.begin(turn, checked)
        self._pump.start_timer(turn)
        self._pump.pulse()
        if turn.outcome is not None and turn.outcome.state is ConversationState.REJECTED:
            raise MessageRejected(turn.outcome.rejections[0], turn.outcome)
        return turn

    def _payload(self, payload: Any, to: str | None) -> Examine:
        """Steps 6 and 7 for an object of the caller's. A class that is no payload is the caller's own fault."""
        contract_of(type(payload))

        async def examine() -> list[Checked]:
            try:
                return self._core.pipeline.from_payload(payload, to, None)
            except InvalidMessage as invalid:
                return [Refused(invalid.faults, repr(payload)[:2000], tag=type(payload).__name__, to=to)]

        return examine

    def _document(self, xml: bytes | str, sender: str) -> Examine:
        """Steps 2 to 7 for a stranger's bytes."""

        async def examine() -> list[Checked]:
            pipeline, observer = self._core.pipeline, self._pump.observer
            try:
                root, mends = await self._pump.intake.read(xml)
                if mends:
                    observer.mended(sender, [f"{mend.what} at {mend.path}" for mend in mends])
                claimed, to, payloads = pipeline.open_document(root)
            except InvalidMessage as invalid:
                text = xml if isinstance(xml, str) else xml[:8000].decode("utf-8", "replace")
                return [Refused(invalid.faults, text[:2000], tag="the document")]
            if claimed is not None and claimed != sender:
                observer.claim_ignored(sender, claimed)
            return [checked for element in payloads for checked in pipeline.from_element(element, to, None)]

        return examine

    async def _outcome(self, turn: Turn) -> Outcome:
        if turn.outcome is not None:
            await trio.lowlevel.checkpoint()
            return turn.outcome
        tell, told = trio.open_memory_channel[Outcome](1)
        turn.waiters.append(tell)
        try:
            return await told.receive()
        finally:
            tell.close()
            told.close()
            if turn.outcome is None:
                turn.waiters.remove(tell)

    def _check_sender(self, sender: str) -> None:
        lowered = sender.lower() if isinstance(sender, str) else ""
        wrong = (
            not lowered.strip()
            or len(sender) > MAX_NAME
            or first_bad_char(sender) is not None
            or lowered == SYSTEM
            or lowered.startswith(SYSTEM + ".")
            or lowered in self._core.pipeline.routes
        )
        if wrong:
            raise SenderRefused(
                f"sender: found {quoted(repr(sender))}, expected 1 to {MAX_NAME} characters that are no listener's "
                f"name and not {SYSTEM!r}"
            )

    def _refuse_inside(self, what: str) -> None:
        delivery = current_dispatch(self._pump)
        if delivery is not None:
            raise WouldDeadlock(
                f"{what} inside a dispatch of {delivery.listener.key!r} waits for work that may need its place; "
                "forward with HandlerResponse(payload, to=…) instead, the answer comes back to this thread"
            )

    def _refuse_closed(self) -> None:
        if self._pump.intake.closed:
            raise OrganismClosed("the organism takes no more messages")

    def _refuse_ended(self, conversation: _Conversation) -> None:
        if conversation.cut_state is not None:
            raise ConversationFailed(Outcome(conversation.id, conversation.cut_state, conversation.cut))
        if conversation.over or conversation.left:
            raise OrganismClosed(f"the block of conversation {conversation.id} has been left")


@asynccontextmanager
async def open_organism(
    config: OrganismConfig | str | os.PathLike[str],
    *,
    listeners: Sequence[ListenerConfig] = (),
    clock: Clock | None = None,
    ids: Ids | None = None,
    random: Random | None = None,
    observer: Observer | None = None,
) -> AsyncIterator[Organism]:
    """A running organism, from a configuration or the path of an organism.yaml.

    ``listeners`` come in addition to the configured ones. Left normally it drains for
    ``shutdown_grace`` seconds; left by an error or cancelled it drops what is in flight, and
    ``organism.report`` says what. Raises ConfigurationError with all faults. Checkpoint.
    """
    folder: AbstractContextManager[None] = nullcontext()
    if not isinstance(config, OrganismConfig):
        folder = importable(Path(config).resolve().parent)
    with folder:
        found = config if isinstance(config, OrganismConfig) else load_config(config)
        found = resolve(dataclasses.replace(found, listeners=(*found.listeners, *listeners)))
        running = _listeners(found)
        async with open_pump(
            found,
            running,
            LoggingObserver(found.name) if observer is None else observer,
            TrioClock() if clock is None else clock,
            SeededIds() if ids is None else ids,
            random_module.Random() if random is None else random,
        ) as pump:
            yield Organism(found, running, pump)


def _listeners(config: OrganismConfig) -> list[Listener]:
    """What the pump runs, from a resolved configuration."""
    keys = twin_keys([listener.name for listener in config.listeners])
    return [
        Listener(
            key=key,
            name=own.name,
            contracts=tuple(contract_of(cls) for cls in _classes(own.payload_class)),
            handler=own.handler,  # type: ignore[arg-type] # resolved
            description=own.description,
            is_agent=own.is_agent,
            peers=None if own.peers is None else tuple(own.peers),
            broadcast=own.broadcast,
            prompt=own.prompt,
            responds_with=None if own.responds_with is None else tuple(contract_of(c) for c in _classes(own.responds_with)),
            max_concurrent=own.max_concurrent or (config.max_concurrent_per_agent if own.is_agent else None),
            retries=own.retries,
            retry_base_delay=own.retry_base_delay,
            retry_max_delay=own.retry_max_delay,
            handler_timeout=config.handler_timeout if own.handler_timeout is None else own.handler_timeout,
            budgets=own.budgets or Budgets(),
        )
        for key, own in zip(keys, config.listeners, strict=True)
    ]


def _classes(value: Any) -> tuple[type, ...]:
    return (value,) if isinstance(value, type) else tuple(value)


def _state(occupant: Any) -> str:
    if occupant is None:
        return "idle"
    return "running" if occupant.running else "queued"
