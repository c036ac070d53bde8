"""A message on its way from step to step, where users have put something between.

Decides what becomes of bytes and objects as ``steps`` does, with the users' steps in their places:
the same readings by the same parser, routes and contracts. An organism with the default pipeline
has no flow at all. Everything here happens before a message is in the books, so it may wait: a
stranger waits with his seat, a handler's messages within its dispatch. Called by the door, by
``planning`` and by ``dispatch``.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any, cast, final

import trio

from phloem.errors import InvalidMessage
from phloem.guarding import Raised, guarded
from phloem.messages import HandlerResponse, Random
from phloem.wire.parsing import Element, printable
from phloem.wire.repair import Mend

from .conversation import Delivery
from .items import Document, Incoming, Message, Part, Returned
from .origin import Origin
from .pipeline import Pipeline
from .ready_made import (
    Branch,
    Limit,
    Pace,
    Rate,
    Sample,
    Tap,
)
from .routing import Listener
from .spoken import Uttered
from .stages import Outcome, Tell
from .steps import (
    ORIGINAL,
    Checked,
    Ended,
    Passed,
    Refused,
    Steps,
    refused_document,
    refused_object,
)
from .walking import Claimed, Walk

__all__ = ["Flow", "Read"]

Read = Callable[[bytes | str], Awaitable[tuple[Element, Sequence[Mend]]]]
Mended = Callable[[Sequence[Mend]], None]
Parsed = tuple[Document, Element, Sequence[Mend]] | Refused | Ended


@final
class Flow:
    """One organism's steps with its users' between them."""

    def __init__(
        self, pipeline: Pipeline, steps: Steps, random: Random, tell: Tell, count: Iterator[int]
    ) -> None:
        """``count`` counts the turns of sources."""
        self._steps, self._pipeline, self._tell = steps, pipeline, tell
        self._walk = walk = Walk(pipeline, steps, random, tell, count)
        self.lines = tuple(stage.gate for stage in walk.stages)  # where strangers may have to wait
        last = walk.at("decode", before=False) + walk.at("dispatch", before=True)
        seeing = [each for each in last if isinstance(each.step, Tap | Sample)]
        self._watching = [each for each in seeing if each.placed.before]
        after = walk.at("dispatch", before=False) + walk.at("replies", before=True)
        self._watching_after = [each for each in after if isinstance(each.step, Tap | Sample)]
        self._gated = [each for each in last if isinstance(each.step, Limit | Pace | Rate)]
        self.gates = [each.step for each in self._gated if isinstance(each.step, Limit | Pace | Rate)]
        self.branches = [each for each in after if isinstance(each.step, Branch)]
        self._around = pipeline.replacement("dispatch")

    # -- from outside -----------------------------------------------------------------------

    async def arrive(self, incoming: Incoming) -> Outcome:
        """Before ``admit``: it has no seat yet. Waits where a step does."""
        (found,) = await self._walk.through(self._walk.at("admit", before=True), incoming)
        return found

    def limited(
        self, name: str, origin: Origin | None, *, may_wait: bool
    ) -> AbstractAsyncContextManager[None]:
        """Around one of phloem's steps: a place of whoever limits that. A checkpoint only if it waits."""
        return self._walk.limited(name, origin, may_wait=may_wait)

    async def examine(
        self, arrived: Outcome, read: Read, mended: Mended, claimed: Claimed, *, may_wait: bool
    ) -> list[Checked]:
        """From behind ``admit`` to the books, for what a stranger sends."""
        found: list[Outcome] = await self._walk.on(self._walk.at("admit", before=False), [arrived])
        found = await self._walk.on(self._walk.at("parse", before=True), found)
        checked: list[Checked] = []
        for each in found:
            if not isinstance(each, Incoming):
                checked.append(cast("Refused | Ended", each))
            elif each.data is None:
                checked += await self._object(each)
            else:
                async with self._walk.limited("parse", each.origin, may_wait=may_wait):
                    parsed = await self._parsed(each, read)
                checked += await self._after_parsing(parsed, mended, claimed)
        return checked

    async def _object(self, incoming: Incoming) -> list[Checked]:
        try:
            text, element = self._steps.written(incoming.sent)
        except InvalidMessage as invalid:
            return [refused_object(invalid, incoming.sent, incoming.to)]
        part = Part(
            incoming.sender,
            incoming.to,
            str(element.tag),
            text,
            notes=dict(incoming.notes),
            expires=incoming.expires,
            element=element,
            kind=type(incoming.sent),
        )
        return await self._walk.parts([part], None)

    async def _parsed(self, incoming: Incoming, read: Read) -> Parsed:
        """Step 2, and what stands in its place."""
        data = incoming.data
        assert data is not None
        by = self._pipeline.replacement("parse")
        if by is not None:
            given = await self._walk.replaced("parse", by, incoming, (bytes, str))
            if isinstance(given, Ended):
                return given
            data = cast("bytes | str", given)
        text = data if isinstance(data, str) else data.decode("utf-8", "replace")
        document = Document(incoming.sender, text, notes=incoming.notes, expires=incoming.expires)
        return await self._repair(document, data, read)

    async def _after_parsing(self, parsed: Parsed, mended: Mended, claimed: Claimed) -> list[Checked]:
        if not isinstance(parsed, tuple):
            return [parsed]
        document, root, mends = parsed
        if mends:
            mended(mends)
        return await self._walk.document(document, [root], None, claimed)

    async def _repair(self, document: Document, data: bytes | str, read: Read) -> Parsed:
        """The document as a tree, or why not."""
        between = self._walk.at("parse", before=False) + self._walk.at("repair", before=True)
        by = self._pipeline.replacement("repair")
        if between or by is not None:
            try:
                self._steps.read_strictly(data)
            except InvalidMessage as invalid:
                document = replace(document, fault=invalid.faults[0])
            (passed,) = await self._walk.through(between, document)
            if not isinstance(passed, Document):
                return cast("Refused | Ended", passed)
            document = passed
        try:
            if by is None:
                root, mends = await read(data)
            else:
                given = await self._walk.replaced("repair", by, document, (bytes, str, type(None)))
                if isinstance(given, Ended):
                    return given
                root = self._steps.read_strictly(data if given is None else cast("bytes | str", given))
                mends = ()
        except InvalidMessage as invalid:
            return refused_document(invalid, data)
        return replace(document, fault=None, mends=tuple(mends)), root, mends

    # -- from a handler ---------------------------------------------------------------------

    async def from_raw(self, data: bytes, delivery: Delivery, mended: Mended) -> list[Checked]:
        """From behind ``parse`` to the books, for the bytes that a handler returned."""
        sender, steps = delivery.listener, self._steps
        document = Document(sender.name, data.decode("utf-8", "replace"), notes=_notes_of(delivery))
        between = self._walk.at("parse", before=False) + self._walk.at("repair", before=True)
        by = self._pipeline.replacement("repair")
        mends: list[Mend] = []
        try:
            if between or by is not None:
                try:
                    steps.roots(data, sender, mends.extend, strictly=True)
                except InvalidMessage as invalid:
                    document = replace(document, fault=invalid.faults[0])
                (passed,) = await self._walk.through(between, document)
                if not isinstance(passed, Document):
                    return [cast("Refused | Ended", passed)]
                document = passed
            if by is not None:
                given = await self._walk.replaced("repair", by, document, (bytes, str, type(None)))
                if isinstance(given, Ended):
                    return [given]
                if given is not None:
                    text = cast("bytes | str", given)
                    data = text.encode() if isinstance(text, str) else text
            roots = steps.roots(data, sender, mends.extend, strictly=by is not None)
        except InvalidMessage as invalid:
            return [Refused(invalid.faults, printable(data, ORIGINAL), tag="(unread)")]
        if mends:
            mended(mends)
        document = replace(document, fault=None, mends=tuple(mends))
        return await self._walk.document(document, roots, sender, None)

    async def from_responses(
        self, responses: Sequence[HandlerResponse], delivery: Delivery, caller: Listener | None
    ) -> list[Checked]:
        """From ``replies`` to the books, for the objects that a handler returned."""
        parts: list[Outcome] = []
        for response in responses:
            text, element = self._steps.written(response.payload)
            to = response.to
            if response.is_response:
                to = "" if caller is None else caller.name
            part = Part(
                delivery.listener.name,
                to,
                str(element.tag),
                text,
                response.is_response,
                notes=_notes_of(delivery),
                element=element,
                kind=type(response.payload),
                outbound=response.is_response and caller is None,
            )
            parts += await self._walk.through(self._walk.at("replies", before=False), part)
        return await self._walk.parts(parts, delivery.listener, caller)

    async def from_uttered(
        self, said: Sequence[Uttered], delivery: Delivery, caller: Listener | None
    ) -> list[Checked]:
        """The same for the elements that a model wrote."""
        parts: list[Outcome] = []
        for each in said:
            to = each.to
            if each.is_response:
                to = "" if caller is None else caller.name
            part = Part(
                delivery.listener.name,
                to,
                each.tag,
                each.text,
                each.is_response,
                notes=_notes_of(delivery),
                element=each.element,
                kind=each.kind or object,
                outbound=each.is_response and caller is None,
            )
            parts += await self._walk.through(self._walk.at("replies", before=False), part)
        return await self._walk.parts(parts, delivery.listener, caller)

    # -- a dispatch -----------------------------------------------------------------------------

    async def dispatch(self, delivery: Delivery, call: Callable[[], Awaitable[Any]]) -> Any:
        """The handler's result, or ``Raised``, with what stands around ``dispatch``."""
        for stage in self._gated:
            stage.seen += 1  # they have let it out of the queue
        around = self._around
        if not self._watching and not self._watching_after and around is None:
            return await guarded(call)
        carried = delivery.carried
        passed = Passed(delivery.listener, delivery.contract, delivery.payload, delivery.text)
        message = Message(
            delivery.sender,
            delivery.listener.key,
            delivery.contract.tag,
            delivery.text,
            delivery.id,
            delivery.conversation.id,
            delivery.attempt,
            {} if carried is None else carried.notes,
            math.inf if carried is None else carried.expires,
            passed,
            self._steps.again,
        )
        for stage in self._watching:
            if (raised := await stage.watch(message)) is not None:
                return raised
        started = trio.current_time()
        returned = await guarded(call if around is None else partial(around, message, call))
        if not self._watching_after:
            return returned
        error = returned.error if isinstance(returned, Raised) else None
        value = None if isinstance(returned, Raised) else self._seen(returned)
        item = Returned(message, value, error, trio.current_time() - started, message.notes)
        for stage in self._watching_after:
            if (raised := await stage.watch(item)) is None:
                continue
            if error is None:
                return raised
            self._tell(f"{stage.name} {stage.placed.place}", raised.error)  # the handler's own counts
        return returned

    def _seen(self, returned: Any) -> Any:
        """What a handler returned, for those who may look and not change."""
        if isinstance(returned, HandlerResponse):
            return replace(returned, payload=self._steps.shown(returned.payload))
        if type(returned) is list:
            return [self._seen(each) for each in cast("Sequence[Any]", returned)]
        return returned

    # -- reading --------------------------------------------------------------------------------

    def counts(self) -> dict[str, dict[str, int]]:
        """What each of the users' steps has seen and ended, by its name."""
        return {stage.name: stage.counts() for stage in self._walk.stages}


def _notes_of(delivery: Delivery) -> dict[str, Any]:
    """What a message carries goes on with what its handler sends."""
    return {} if delivery.carried is None else dict(delivery.carried.notes)
