"""phloem's own handler, for agents that bring none: one message, one call of a model, its answer read.

Decides what a model's answer means for the dispatch: messages on their way, a correction, a wait, or a
failure. What goes to the model is ``assembly``'s, what it may cost ``calls``', how its text is read
``wire.answers``'. Never sends anything itself: the pump checks, books and delivers what it returns. The
organism gives it to every agent without a handler.
"""

from __future__ import annotations

from typing import Any, Final, final

from phloem.errors import BackendError, InvalidMessage
from phloem.events import EventType
from phloem.messages import Fault, HandlerMetadata, HuhCode
from phloem.pump.conversation import Delivery
from phloem.pump.core import Core
from phloem.pump.dispatch import running_delivery
from phloem.pump.gathering import is_last
from phloem.pump.hearing import joined, unanswered
from phloem.pump.spoken import Spoken
from phloem.wire.answers import Answer
from phloem.wire.early import EarlyReader

from .assembly import request_for
from .calls import call
from .facade import LLM
from .requests import LLMDelta, LLMResponse, StopReason

__all__ = ["drive"]

WAITING: Final = "<wait/>"


async def drive(payload: Any, metadata: HandlerMetadata) -> Spoken | None:
    """One dispatch of an agent without a handler: what its model wrote, or None if it has to wait.

    Checkpoint, save for one of several answers that are heard at once. Cancelled means: the call was
    cancelled; what had come of a stream is booked, and the rest of what was reserved given back. Raises
    BackendError, ConfigurationError.
    """
    delivery = running_delivery()
    assert delivery is not None  # the pump alone calls it
    if not is_last(delivery):
        return None
    return await _Driving(delivery).drive()


@final
class _Driving:
    """One dispatch."""

    def __init__(self, delivery: Delivery) -> None:
        core: Core = delivery.conversation.core  # type: ignore[assignment] # kept as an object: no circle
        self._delivery, self._core = delivery, core
        self._early = core.steps.early_reader(delivery.listener) if delivery.listener.early else None
        self._written = ""
        self._start = 0  # up to here it has been sent

    async def drive(self) -> Spoken | None:
        llm: LLM = self._core.llm
        listener = self._delivery.listener
        request = request_for(llm, self._delivery)
        try:
            response = await call(
                llm, self._delivery, request, on_delta=self._hear if listener.streams else None
            )
        except BackendError as error:
            if not self._delivery.part_sent:
                raise
            # What went early is on its way, so nothing may be asked again as if it were not. Which backend
            # it was and what that said is for the log: a Huh goes to the agent, and out with the outcome.
            self._core.observer.raised(self._delivery, error)
            return self._refused(HuhCode.TRUNCATED, "an answer that broke off", "the rest of it")
        if response.reasoning and not listener.streams:
            self._tell(EventType.LLM_REASONING_DELTA, {"content": response.reasoning}, response.reasoning)
        self._written = response.content
        return self._read(response)

    def _read(self, response: LLMResponse) -> Spoken | None:
        """What the answer says, or what is wrong with it."""
        if response.finish_reason is StopReason.LENGTH:
            used = response.usage.completion_tokens
            found = f"an answer cut off at its limit of length{f', after {used} tokens' if used else ''}"
            return self._refused(HuhCode.TRUNCATED, found, "a whole answer, so a shorter one")
        if (
            response.finish_reason is StopReason.OTHER
        ):  # two whole payloads of three would look like an answer
            found = "an answer that its provider ended for a reason that phloem does not know"
            return self._refused(HuhCode.TRUNCATED, found, "a whole answer")
        if response.finish_reason is StopReason.CONTENT_FILTER:
            raise BackendError(
                f"{response.backend} withheld an answer of {response.model} (content filter)",
                backend=response.backend,
                model=response.model,
            )
        try:
            answer = self._core.steps.read_answer(response.content, self._delivery.listener, self._start)
        except InvalidMessage as invalid:
            return Spoken(self._rest, None, invalid.faults)
        if answer.prose:
            self._tell(EventType.NODE_INTERNAL_OUTPUT, {"content": answer.prose}, answer.prose)
        if answer.waits or not answer.parts:
            return self._wait(answer)
        return Spoken(self._rest, answer)

    def _wait(self, answer: Answer) -> Spoken | None:
        """It sends nothing now, or nothing more: good if it is called again."""
        if not answer.waits and self._delivery.part_sent:
            return None
        if not unanswered(self._delivery):
            found = f"{WAITING} with no answer to come"
            return self._refused(HuhCode.NO_PAYLOAD, found, "a payload, since nobody would call you again")
        self._delivery.said = joined(self._delivery.said, WAITING)
        return None

    async def _hear(self, delta: LLMDelta) -> None:
        """A piece has come: told on the bus; what is whole and harmless to repeat goes at once."""
        if delta.reasoning:
            self._tell(EventType.LLM_REASONING_DELTA, {"content": delta.reasoning}, delta.reasoning)
        if not delta.text:
            return
        self._written += delta.text
        data = {"content": delta.text, "snapshot": self._written}
        self._tell(EventType.LLM_TEXT_DELTA, data, self._written)
        if self._early is not None:
            await self._send_what_is_whole(self._early, delta.text)

    async def _send_what_is_whole(self, early: EarlyReader, piece: str) -> None:
        """As long as everything from the beginning on may go; what comes behind one that may not waits."""
        parts = early.feed(piece)
        if not parts:
            return
        spoken = Spoken(self._written, Answer(tuple(parts), (), "", waits=False))
        assert self._core.send_early is not None  # the carriers have set it before they carried this
        if await self._core.send_early(self._delivery, spoken):
            self._start = early.consumed
        else:
            self._early = None

    @property
    def _rest(self) -> str:
        """What is written and not sent: a refusal quotes it as delivered to nobody."""
        return self._written[self._start :]

    def _refused(self, code: HuhCode, found: str, expected: str) -> Spoken:
        return Spoken(self._rest, None, [Fault(code, "/", found, expected)])

    def _tell(self, type: EventType, data: dict[str, str], weighty: str) -> None:
        delivery = self._delivery
        node, execution = delivery.listener.key, delivery.conversation.id
        self._core.events.record(
            type.value, self._core.organism, node, execution, data, delivery.id, None, len(weighty)
        )
