"""What a stranger brings, and what becomes of it before it is booked.

Decides the order of reading for an object and for bytes, with or without users' steps between. Never
books: ``door`` does, in the sync stretch after the last await in here. One for each message.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, final

import trio

from phloem.errors import InvalidMessage, MessageRejected
from phloem.messages import Huh
from phloem.wire.parsing import Element, printable
from phloem.wire.repair import Mend

from .items import Incoming
from .origin import Origin
from .pump import Pump
from .stages import Outcome
from .steps import ORIGINAL, Checked, refused_document, refused_object

__all__ = ["Examine"]

LATE: Final = "deadline"  # the code for who was not let in by the time that a user's step had set


@final
class Examine:
    """One message on its way in: ``data``, or an object in ``payload``."""

    def __init__(
        self,
        pump: Pump,
        sender: str,
        data: bytes | str | None,
        payload: Any,
        to: str | None,
        inside: bool,
        origin: Origin | None = None,
    ) -> None:
        self._pump, self._sender = pump, sender
        self._data, self._payload, self._to, self._inside = data, payload, to, inside
        self.origin = origin  # the source it comes from, if it has one of its own
        self.arrived: Outcome | None = None  # what users' steps before ``admit`` made of it

    def incoming(self, sender: str) -> Incoming:
        """As users' steps see it first."""
        self._sender = sender
        return Incoming(sender, self._data, to=self._to, sent=self._payload, origin=self.origin)

    async def __call__(self) -> list[Checked]:
        """What came of it. A checkpoint only where something waits. Raises ContractError."""
        flow, observer = self._pump.flow, self._pump.observer
        if flow is not None:
            assert self.arrived is not None
            mended = partial(observer.mended, self._sender)
            claimed = partial(observer.claim_ignored, self._sender)
            return await flow.examine(self.arrived, self._read, mended, claimed, may_wait=not self._inside)
        if self._data is None:
            try:
                return self._pump.core.steps.from_payload(self._payload, self._to, None)
            except InvalidMessage as invalid:
                return [refused_object(invalid, self._payload, self._to)]
        return await self._document(self._data)

    @contextmanager
    def in_time(self) -> Generator[None]:
        """Until the deadline that a user's step has set; later it is not let in. Raises MessageRejected."""
        if not isinstance(self.arrived, Incoming):
            yield
            return
        with trio.CancelScope(deadline=self.arrived.expires) as scope:
            yield
        if scope.cancelled_caught:
            shown = "" if self._data is None else printable(self._data, ORIGINAL)
            raise MessageRejected(
                Huh(LATE, "document", "no way in before its deadline", "a way in before that", 0, shown)
            )

    async def _read(self, data: bytes | str) -> tuple[Element, Sequence[Mend]]:
        return await self._pump.intake.read(data, may_wait=not self._inside, origin=self.origin)

    async def _document(self, xml: bytes | str) -> list[Checked]:
        steps, observer = self._pump.core.steps, self._pump.observer
        try:
            root, mends = await self._read(xml)
            if mends:
                observer.mended(self._sender, mends)
            claims, to, payloads = steps.open_document(root)
        except InvalidMessage as invalid:
            return [refused_document(invalid, xml)]
        for claim in claims:
            if claim != self._sender:
                observer.claim_ignored(self._sender, claim)
        return [checked for element in payloads for checked in steps.from_element(element, to, None)]
