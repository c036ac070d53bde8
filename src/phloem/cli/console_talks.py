"""The conversations of a console: one for each listener that is talked to, held open by one task.

Decides when a conversation begins (with the first message to its listener, and with the next one after it
was killed or has used up its budgets) and in which order messages enter it: as they were typed. Shows
nothing: ``console_session`` is told how each message ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, final

import trio

from phloem.errors import ConversationFailed, MessageRejected, OrganismClosed
from phloem.framing.requests import Request
from phloem.messages import Cause, ConversationState, Outcome
from phloem.organism import Organism

__all__ = ["Ask", "Ended", "Question", "Talk", "hold"]

MOST_UNANSWERED: Final = 100  # messages to one listener; who has typed so many waits for none of them
KILLED: Final = Cause("killed", "not sent: its conversation was killed")
CLOSED: Final = Cause("not-sent", "not sent: the organism takes no more messages")


@final
@dataclass(slots=True, eq=False)
class Ask:
    """One message on its way: ``over`` is set once the next line need not wait for it any more."""

    listener: str
    request: Request
    since: float  # on Trio's clock
    over: trio.Event = field(default_factory=trio.Event)
    entered: trio.Event = field(default_factory=trio.Event)  # accepted, or ended without
    questions: int = 0  # that listeners put to the person meanwhile


@final
class Talk:
    """One listener's conversation: messages go in at one end, and ``hold`` takes them at the other."""

    def __init__(self, listener: str) -> None:
        self.listener = listener
        self.conversation = ""  # its id, once it has its seat
        self.free = trio.Semaphore(MOST_UNANSWERED)
        self.unanswered: list[Ask] = []
        self.killed = False
        self.scope = trio.CancelScope()
        self._send, self._receive = trio.open_memory_channel[Ask](MOST_UNANSWERED)

    def put(self, ask: Ask) -> None:
        """The next message; its place in ``free`` is taken already. Never waits."""
        self.unanswered.append(ask)
        self._send.send_nowait(ask)

    def close(self, *, kill: bool = False) -> None:
        """No more messages. ``kill``: those that are not sent yet are not sent. Idempotent."""
        self._send.close()
        self.killed = self.killed or kill
        if kill and not self.conversation:
            self.scope.cancel(reason="the talk was killed before it had a seat")

    async def next(self) -> Ask | None:
        """The next message, or None after the last. Checkpoint. Cancelled means: none was taken."""
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            return None

    def left(self) -> Iterator[Ask]:
        """Those that nobody took."""
        while True:
            try:
                yield self._receive.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return


Ended = Callable[[Talk, Ask, Outcome], Awaitable[None]]


@final
@dataclass(frozen=True, slots=True)
class Question:
    """A listener that waits for an answer, and in which conversation."""

    talk: Talk
    listener: str


async def hold(
    talk: Talk, organism: Organism, sender: str, ended: Ended, renewed: Callable[[Talk, Outcome], None]
) -> None:
    """Hold a talk's conversation until it is closed and all is answered; ``ended`` is told of each message.

    ``renewed`` is called where a conversation had ended by itself, and the message begins a new one.
    Checkpoint. Cancelled means: the conversation is killed, and nobody is told.
    """
    ask: Ask | None = None
    with talk.scope:
        ask = await talk.next()
        while ask is not None and not talk.killed:
            try:
                ask = await _converse(talk, organism, sender, ask, ended, renewed)
            except OrganismClosed:
                break
    cause = KILLED if talk.killed else CLOSED
    for each in (*(() if ask is None else (ask,)), *talk.left()):
        await ended(talk, each, Outcome(talk.conversation, ConversationState.CANCELLED, cause))


async def _converse(
    talk: Talk,
    organism: Organism,
    sender: str,
    ask: Ask | None,
    ended: Ended,
    renewed: Callable[[Talk, Outcome], None],
) -> Ask | None:
    """One conversation, until it or the talk ends; gives back the message that found it ended."""
    failed: Outcome | None = None
    async with organism.open_conversation(sender) as conversation:
        talk.conversation = conversation.id
        async with trio.open_nursery() as turns:
            while ask is not None and not talk.killed:
                # Started one after the other: they enter in this order.
                failed = await turns.start(_turn, organism, conversation, talk, ask, ended)
                if failed is not None:
                    break
                ask = await talk.next()
    if failed is not None and not talk.killed:
        renewed(talk, failed)
    return ask


async def _turn(
    organism: Organism,
    conversation: Any,
    talk: Talk,
    ask: Ask,
    ended: Ended,
    *,
    task_status: trio.TaskStatus[Outcome | None],
) -> None:
    """One message to its end. Says that it has begun, or how its conversation had ended already."""
    request = ask.request
    try:
        if request.payload is None:
            receipt = await conversation.inject(request.xml)
        else:
            receipt = await conversation.send(request.payload, request.to)
    except ConversationFailed as error:
        task_status.started(error.outcome)
        return
    except MessageRejected as error:
        outcome = error.outcome or Outcome("", ConversationState.REJECTED, rejections=(error.huh,))
        task_status.started(None)
    except OrganismClosed:
        outcome = Outcome(talk.conversation, ConversationState.CANCELLED, CLOSED)
        task_status.started(None)
    else:
        ask.entered.set()
        task_status.started(None)
        outcome = await organism.wait(receipt)  # nothing has come between: its turn is still live
    await ended(talk, ask, outcome)
