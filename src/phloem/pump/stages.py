"""A user's step at work in one organism: what it does to an item, and what it has counted.

Decides what each kind of step makes of an item: the same, others, or an end. Never books and never
answers anybody; what a user's function raises ends that item as failed. ``flow`` runs these.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, cast, final

import trio

from phloem.errors import ContractError, InvalidMessage, PhloemError
from phloem.guarding import Raised, guarded, said
from phloem.messages import Cause, Ending, Fault, Random
from phloem.wire.parsing import printable

from .fair_line import FairGate
from .gates import Spacing
from .items import Addressed, Document, Incoming, Item, Message, Opened, Part, Returned
from .origin import Origin
from .pipeline import Placed
from .ready_made import (
    Branch,
    Deadline,
    DropIf,
    Expand,
    Limit,
    Pace,
    Rate,
    RejectIf,
    Sample,
    Tap,
    Transform,
)
from .routing import Listener
from .steps import ORIGINAL, Ended, Refused, Steps

__all__ = ["Outcome", "Stage", "StepRaised", "Tell", "called", "ended"]

Outcome = Item | Refused | Ended
Tell = Callable[[str, BaseException], None]  # a step's name and what it raised, for the traceback


@final
class StepRaised(PhloemError):
    """A user's step raised at a dispatch; its cause is what it raised."""


@final
class Stage:
    """One placed step. Bound to one organism, and as long-lived."""

    def __init__(
        self, placed: Placed, steps: Steps, random: Random, tell: Tell, count: Iterator[int]
    ) -> None:
        self.placed, self.name, self.step = placed, placed.name, placed.step
        self._steps, self._random, self._tell = steps, random, tell
        self.seen = self.rejected = self.dropped = self.failed = 0
        self._in_turn = FairGate(count)  # who is cancelled leaves no gap
        self._spacing = Spacing(placed.step) if isinstance(placed.step, Pace | Rate) else None
        self.limiter = FairGate(count, placed.step.n) if isinstance(placed.step, Limit) else None

    @property
    def gate(self) -> FairGate:
        """Where strangers wait for it, if they ever do."""
        return self._in_turn if self.limiter is None else self.limiter

    def counts(self) -> dict[str, int]:
        """What it has seen, and how it ended some of that."""
        return {
            "seen": self.seen,
            "rejected": self.rejected,
            "dropped": self.dropped,
            "failed": self.failed,
        }

    async def run(self, item: Item, listener: Listener | None) -> list[Outcome]:
        """What it makes of one item. A checkpoint where the user's function is one, or it waits."""
        self.seen += 1
        found = await guarded(self._apply, item, self._shown(item), listener)
        if isinstance(found, Raised):
            return [self.broken(item, listener, found.error)]
        for each in cast("list[Outcome]", found):
            if isinstance(each, Refused):
                self.rejected += 1
            elif isinstance(each, Ended):
                self.dropped += 1
        return cast("list[Outcome]", found)

    async def watch(self, item: Message | Returned) -> Raised | None:
        """A tap or a sample at a dispatch: what it raised, as a handler's error."""
        self.seen += 1
        found = await guarded(self._apply, item, self._shown(item), None)
        if not isinstance(found, Raised):
            return None
        self.failed += 1
        error = StepRaised(self._told(found.error))
        error.__cause__ = found.error
        return Raised(error)

    def broken(self, item: Item, listener: Listener | None, error: BaseException) -> Ended:
        """The end of a message whose step raised."""
        self.failed += 1
        self._tell(f"{self.name} {self.placed.place}", error)
        cause = Cause("step", self._told(error), _key(listener), type(error).__name__)
        return ended(Ending.FAILED, cause, item, listener, error)

    def _told(self, error: BaseException) -> str:
        text = " ".join(said(error).split())[:500]
        where = f"{self.name} {self.placed.place}"
        name = type(error).__name__
        return printable(f"{where} raised {name}: {text}" if text else f"{where} raised {name}", ORIGINAL)

    def _shown(self, item: Item) -> Any:
        """The item as the user's function gets it: with a payload that is for this function alone."""
        if isinstance(item, Message):
            return item.unread()
        if isinstance(item, Incoming) and item.data is None:
            return replace(item, payload=self._steps.shown(item.sent))
        return item

    async def _apply(self, item: Any, shown: Any, listener: Listener | None) -> list[Outcome]:
        step = self.step
        if isinstance(step, Tap):
            await called(step.fn, shown)
        elif isinstance(step, Sample):
            if self._random.random() < step.fraction:
                await called(step.fn, shown)
        elif isinstance(step, RejectIf):
            verdict = await called(step.fn, shown)
            if verdict:
                return [self._refused(step.code, item, listener, verdict)]
        elif isinstance(step, DropIf):
            verdict = await called(step.fn, shown)
            if verdict:
                return [self._dropped(item, listener, verdict)]
        elif isinstance(step, Transform):
            payload = await called(step.fn, shown.payload)
            return [self._again(item, listener, payload)]
        elif isinstance(step, Expand):
            given = await called(step.fn, shown.payload if isinstance(item, Message) else shown)
            return self._expanded(given, item, listener)
        elif isinstance(step, Branch):
            if not item.is_response and await called(step.predicate, shown):
                return [replace(item, to=step.to, branched=True)]
        elif isinstance(step, Deadline):
            return [replace(item, expires=min(item.expires, trio.current_time() + step.seconds))]
        elif self._spacing is not None:
            await self._space(self._spacing, item.origin)
        return [item]

    async def _space(self, spacing: Spacing, origin: Origin | None) -> None:
        """Until one more may go; or, once nothing is taken in any more, no longer: then it is refused."""
        try:
            await self._in_turn.enter(origin)
        except trio.ClosedResourceError:
            return
        try:
            if await self._in_turn.stand_until(spacing.due, origin):
                spacing.take(trio.current_time())
        finally:
            self._in_turn.leave()

    def _expanded(self, given: object, item: Any, listener: Listener | None) -> list[Outcome]:
        if given is None or isinstance(given, str | bytes) or not isinstance(given, Iterable):
            raise TypeError(f"found {type(given).__name__}, expected a list of payloads")
        payloads = list(cast("Iterable[object]", given))
        if not payloads:
            return [self._dropped(item, listener, "expanded to nothing")]
        if isinstance(item, Message):
            return [self._again(item, listener, payload) for payload in payloads]
        return [self._part(item, payload) for payload in payloads]

    def _again(self, item: Message, listener: Listener | None, payload: object) -> Outcome:
        """A payload in another's place, validated by the same listener's contract."""
        assert listener is not None
        text, element = self._written(payload)
        tag = str(element.tag)
        if tag.casefold() not in listener.by_tag:
            takes = " or ".join(own.tag for own in listener.contracts)
            raise TypeError(f"found a {tag}, expected what {listener.key} takes: {takes}")
        passed = self._steps.read(listener, tag, text, element)
        if isinstance(passed, Refused):
            raise ValueError(f"gave what its contract refuses: {passed.detail}")
        return replace(item, tag=tag, xml=text, passed=passed, notes=dict(item.notes))

    def _part(self, item: Part, payload: object) -> Part:
        text, element = self._written(payload)
        kind = type(payload)
        notes = dict(item.notes)
        return replace(item, tag=str(element.tag), xml=text, element=element, kind=kind, notes=notes)

    def _written(self, payload: object) -> tuple[str, Any]:
        try:
            return self._steps.written(payload)
        except (InvalidMessage, ContractError) as error:
            raise ValueError(f"gave what cannot be sent: {error}") from error

    def _refused(self, code: str, item: Item, listener: Listener | None, verdict: object) -> Refused:
        found = printable(verdict, 500) if isinstance(verdict, str) else f"what {self.name} refuses"
        tag = _tag(item)
        path = "document" if tag == "the document" else f"/{tag}"
        fault = Fault(code, path, found, "a message that is let through")
        to = item.to if isinstance(item, Part) else None
        outbound = _outbound(item)
        return Refused([fault], _text(item), tag=tag, to=to, listener=listener, outbound=outbound)

    def _dropped(self, item: Item, listener: Listener | None, verdict: object) -> Ended:
        why = f": {printable(verdict, 500)}" if isinstance(verdict, str) else ""
        cause = Cause("dropped", f"{self.name} {self.placed.place} dropped it{why}", _key(listener))
        return ended(Ending.ABANDONED, cause, item, listener)


def ended(
    ending: Ending, cause: Cause, item: Item, listener: Listener | None, error: BaseException | None = None
) -> Ended:
    """An end for whatever an item stands for."""
    to = item.to if isinstance(item, Part | Opened | Incoming) else None
    return Ended(
        ending,
        cause,
        printable(_text(item), 1_000_000) if isinstance(item, Incoming | Document) else _text(item),
        to=(to or "") if listener is None else listener.key,
        listener=listener,
        error=error,
        outbound=_outbound(item),
    )


async def called(fn: Callable[..., Any], *args: object) -> Any:
    """A user's function, plain or async."""
    result = fn(*args)
    return await result if inspect.isawaitable(result) else result


def _key(listener: Listener | None) -> str | None:
    return None if listener is None else listener.key


def _outbound(item: Item) -> bool:
    return isinstance(item, Part) and item.outbound


def _tag(item: Item) -> str:
    if isinstance(item, Part | Addressed | Message):
        return item.tag
    if isinstance(item, Incoming) and item.data is None:
        return type(item.sent).__name__
    return "the document"


def _text(item: Item) -> str:
    """As errors and dead letters show it."""
    if isinstance(item, Returned):
        return item.message.xml
    if isinstance(item, Opened):
        return "".join(item.payloads)
    if isinstance(item, Incoming):
        if item.data is None:
            return f"<{type(item.sent).__name__}>"
        return item.data if isinstance(item.data, str) else item.data.decode("utf-8", "replace")
    return item.xml
