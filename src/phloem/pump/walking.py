"""The stretch of a message's way that all share, with users' steps between phloem's own.

Decides, from a document's tree on, what is opened, routed, read and decoded, and runs what users
have put between. Like ``steps`` it never books and never answers. ``flow`` leads messages in here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, cast, final

import trio

from phloem.errors import InvalidMessage, WouldDeadlock
from phloem.guarding import Raised, guarded, said
from phloem.messages import Cause, Ending, Random
from phloem.wire.parsing import Element, canonical, printable

from .carried import Carried
from .fair_line import FairGate
from .intake import closed
from .items import Addressed, Document, Item, Message, Opened, Part
from .origin import Origin
from .pipeline import STEPS, Pipeline
from .ready_made import Deadline, DropIf, Expand, Limit, Pace, Rate, RejectIf, Transform, function_name
from .routing import Listener, Miss
from .stages import Outcome, Stage, Tell, called, ended
from .steps import ORIGINAL, Checked, Ended, Passed, Refused, Steps, missed

__all__ = ["Claimed", "Walk"]

Claimed = Callable[[str], None]

_GATED: Final = (Limit, Pace, Rate)  # before dispatch these are gates
_DECIDING: Final = (RejectIf, DropIf, Transform, Expand, Deadline)  # before dispatch: before the books


@final
class Walk:
    """One organism's users' steps in their places."""

    def __init__(
        self, pipeline: Pipeline, steps: Steps, random: Random, tell: Tell, count: Iterator[int]
    ) -> None:
        """``count`` counts the turns of sources."""
        self._steps, self._pipeline, self._tell = steps, pipeline, tell
        every = {each.name: Stage(each, steps, random, tell, count) for each in pipeline.placed}
        self.stages = tuple(every.values())
        self._places = {
            (row.name, before): [every[each.name] for each in pipeline.at(row.name, before=before)]
            for row in STEPS
            for before in (True, False)
        }
        decoded, dispatched = self.at("decode", before=False), self.at("dispatch", before=True)
        self._deciding = [each for each in decoded if not isinstance(each.step, _GATED)]
        self._deciding += [each for each in dispatched if isinstance(each.step, _DECIDING)]
        self._on_thread = self.at("thread", before=True) + self.at("thread", before=False)
        self._routed_ones = self.at("route", before=False) + self.at("validate", before=True)
        self._valid_ones = self.at("validate", before=False) + self.at("decode", before=True)

    def at(self, name: str, *, before: bool) -> list[Stage]:
        """The users' steps on one side of one of phloem's own, in running order."""
        return self._places[name, before]

    async def document(
        self,
        document: Document,
        roots: Sequence[Element],
        sender: Listener | None,
        claimed: Claimed | None,
    ) -> list[Checked]:
        """From behind ``repair``: one or several trees of one document."""
        watched = self.at("repair", before=False) + self.at("envelope", before=True)
        if watched:
            document = replace(document, xml="".join(_text(root) for root in roots))
            (passed,) = await self.through(watched, document)
            if not isinstance(passed, Document):
                return [cast("Refused | Ended", passed)]
            document = passed
        checked: list[Checked] = []
        notes = dict(document.notes) if len(roots) > 1 else document.notes  # before any of them adds to it
        for root in roots:
            try:
                claims, to, elements = self._steps.open_document(root)
            except InvalidMessage as invalid:
                tag = "the document" if sender is None else "message"
                checked.append(Refused(invalid.faults, printable(_text(root), ORIGINAL), tag=tag))
                continue
            for claim in claims:
                if claimed is not None and claim != document.sender:
                    claimed(claim)
            own = document if root is roots[0] else replace(document, notes=dict(notes))
            checked += await self._opened(own, claims, to, elements, sender)
        return checked

    async def _opened(
        self,
        document: Document,
        claims: tuple[str, ...],
        to: str | None,
        elements: Sequence[Element],
        sender: Listener | None,
    ) -> list[Checked]:
        watched = self.at("envelope", before=False) + self.at("extract", before=True)
        by = self._pipeline.replacement("extract")
        expires, notes = document.expires, document.notes
        if watched or by is not None:
            texts = tuple(_text(element) for element in elements)
            opened = Opened(document.sender, to, claims, texts, notes=notes, expires=expires)
            (passed,) = await self.through(watched, opened)
            if not isinstance(passed, Opened):
                return [cast("Refused | Ended", passed)]
            expires = passed.expires
            if by is not None:
                given = await self.replaced("extract", by, passed, (list, tuple))
                if isinstance(given, Ended):
                    return [given]
                if not given:
                    return [
                        _not_from("extract", by, passed, ValueError("gave none, expected a payload's XML"))
                    ]
                try:
                    elements = [self._steps.read_strictly(text) for text in cast("Sequence[Any]", given)]
                except (InvalidMessage, TypeError) as error:
                    return [_not_from("extract", by, passed, error)]
        parts: list[Outcome] = []
        for element in elements:
            tag = str(element.tag)
            try:
                text = canonical(element)
            except InvalidMessage as invalid:
                parts.append(Refused(invalid.faults, f"<{tag}>", tag=tag, to=to))
                continue
            own = dict(notes)
            part = Part(document.sender, to, tag, text, notes=own, expires=expires, element=element)
            parts += await self.through(self.at("extract", before=False), part)
        return await self.parts(parts, sender)

    async def parts(
        self, parts: Sequence[Outcome], sender: Listener | None, caller: Listener | None = None
    ) -> list[Checked]:
        """From ``thread`` on: each payload to those who take it, decoded for each."""
        found = await self.on(self._on_thread, parts)
        checked: list[Checked] = []
        for part in found:
            if not isinstance(part, Part):
                checked.append(cast("Refused | Ended", part))
            elif part.is_response:
                checked += await self._answer(part, sender, caller)
            else:
                for routed in await self.through(self.at("route", before=True), part):
                    if isinstance(routed, Part):
                        checked += await self._routed(routed, sender)
                    else:
                        checked.append(cast("Refused | Ended", routed))
        return checked

    async def _routed(self, part: Part, sender: Listener | None) -> list[Checked]:
        takers = self._steps.routes.find(part.tag, part.to, None if part.branched else sender)
        if isinstance(takers, Miss):
            return [missed(part.tag, part.to, part.xml, takers)]
        checked: list[Checked] = []
        for listener in takers:
            notes = part.notes if len(takers) == 1 else dict(part.notes)
            checked += await self._addressed(part, listener, notes)
        return checked

    async def _answer(self, part: Part, responder: Listener | None, caller: Listener | None) -> list[Checked]:
        """A respond goes to who asked: a listener, by its contract, or out of the organism."""
        assert responder is not None
        if caller is None:
            kind = part.kind
            return [self._steps.to_root_as(kind, part.tag, part.xml, part.element, responder)]
        if not caller.hears(part.tag, responder):
            return [self._steps.to_caller_as(part.tag, part.xml, part.element, caller, responder)]
        return await self._addressed(part, caller, part.notes)

    async def _addressed(self, part: Part, listener: Listener, notes: dict[str, Any]) -> list[Checked]:
        if not self._routed_ones and not self._valid_ones:  # it is shown to nobody
            read = self._steps.read(listener, part.tag, part.xml, part.element)
            return [read] if isinstance(read, Refused) else await self._decoded(part, notes, listener, read)
        item = Addressed(part.sender, listener.key, part.tag, part.xml, notes=notes, expires=part.expires)
        found = await self.through(self._routed_ones, item, listener)
        checked: list[Checked] = []
        for each in found:
            if not isinstance(each, Addressed):
                checked.append(cast("Refused | Ended", each))
                continue
            passed = self._steps.read(listener, part.tag, part.xml, part.element)
            if isinstance(passed, Refused):
                checked.append(passed)
                continue
            for valid in await self.through(self._valid_ones, each, listener):
                if isinstance(valid, Addressed):
                    checked += await self._decoded(valid, valid.notes, listener, passed)
                else:
                    checked.append(cast("Refused | Ended", valid))
        return checked

    async def _decoded(
        self, item: Part | Addressed, notes: dict[str, Any], listener: Listener, passed: Passed
    ) -> list[Checked]:
        if not self._deciding:
            passed.carried = Carried(notes, item.expires)
            return [passed]
        message = Message(
            item.sender,
            listener.key,
            item.tag,
            item.xml,
            notes=notes,
            expires=item.expires,
            passed=passed,
            decode=self._steps.again,
        )
        checked: list[Checked] = []
        for each in await self.through(self._deciding, message, listener):
            if isinstance(each, Message):
                each.passed.carried = Carried(each.notes, each.expires)
                checked.append(each.passed)
            else:
                checked.append(cast("Refused | Ended", each))
        return checked

    # -- walking --------------------------------------------------------------------------------

    async def through(
        self, stages: Sequence[Stage], item: Item, listener: Listener | None = None
    ) -> list[Outcome]:
        return await self.on(stages, [item], listener)

    async def on(
        self, stages: Sequence[Stage], found: Sequence[Outcome], listener: Listener | None = None
    ) -> list[Outcome]:
        """Each of these through each of those, in order; what has ended goes along as it is."""
        items = list(found)
        for stage in stages:
            following: list[Outcome] = []
            for each in items:
                if isinstance(each, Refused | Ended):
                    following.append(each)
                else:
                    following += await stage.run(each, listener)
            items = following
        return items

    async def replaced(
        self, name: str, by: Callable[..., Any], item: Item, kinds: tuple[type, ...]
    ) -> object:
        """What a user's function gives in the place of a step; an end if it raised or gave something else."""
        given = await guarded(called, by, item)
        if isinstance(given, Raised):
            self._tell(f"{function_name(by)} in the place of {name}", given.error)
            return _not_from(name, by, item, given.error)
        if not isinstance(given, kinds):
            names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
            return _not_from(name, by, item, TypeError(f"gave {type(given).__name__}, expected {names}"))
        return given

    @asynccontextmanager
    async def limited(self, name: str, origin: Origin | None, *, may_wait: bool) -> AsyncIterator[None]:
        """Hold a place of whoever limits that step. A checkpoint only if it waits.

        Raises OrganismClosed, and WouldDeadlock if it may not wait.
        """
        gates = [stage.limiter for stage in self._places[name, True] if stage.limiter is not None]
        if name == "parse":
            gates += [each.limiter for each in self.at("admit", before=False) if each.limiter is not None]
        held = list[FairGate]()
        try:
            for gate in gates:
                try:
                    if may_wait:
                        await gate.enter(origin)
                    else:
                        _enter_now(gate, origin, name)
                except trio.ClosedResourceError:
                    await closed(origin)
                held.append(gate)
            yield
        finally:
            for gate in held:
                gate.leave()


def _enter_now(gate: FairGate, origin: Origin | None, name: str) -> None:
    try:
        gate.enter_nowait(origin)
    except trio.WouldBlock:
        raise WouldDeadlock(
            f"{name} is limited and full, and a handler that waits may hold up who could make room; forward "
            "instead"
        ) from None


def _not_from(name: str, by: Callable[..., Any], item: Item, error: BaseException) -> Ended:
    """The end of a message whose replaced step raised, or gave what it may not."""
    text = " ".join(said(error).split())[:500]
    told = f"{function_name(by)} in the place of {name} raised {type(error).__name__}: {text}"
    cause = Cause("step", printable(told, ORIGINAL), None, type(error).__name__)
    return ended(Ending.FAILED, cause, item, None, error)


def _text(element: Element) -> str:
    try:
        return canonical(element)
    except InvalidMessage:  # forbidden characters in it: the same fault meets it where it counts
        return f"<{element.tag!s}>"
