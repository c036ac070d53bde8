"""What users' steps of the pipeline see of a message, one shape for each stretch of its way.

Decides nothing: each is a frozen record of what the pump knows at that point. ``notes`` belong
to whoever wants to remember something on the way: they are copied to all that a message
becomes, and are never written to the wire. Made by ``flow``; read by functions of users.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, final

from phloem.messages import Fault
from phloem.wire.repair import Mend

from .steps import Passed

__all__ = ["Addressed", "Document", "Incoming", "Item", "Message", "Opened", "Part", "Returned"]

_UNREAD: Final = object()


def _notes() -> dict[str, Any]:
    return {}


@final
@dataclass(frozen=True, slots=True)
class Incoming:
    """What somebody outside sends: ``data`` as it came, or (``data`` None) a copy of his ``payload``."""

    sender: str
    data: bytes | str | None = None
    payload: Any = None
    to: str | None = None
    notes: dict[str, Any] = field(default_factory=_notes, compare=False)
    expires: float = field(default=math.inf, compare=False)
    # The pump's own: the payload itself, and the source it comes from.
    sent: Any = field(default=None, repr=False, compare=False)
    origin: Any = field(default=None, repr=False, compare=False)


@final
@dataclass(frozen=True, slots=True)
class Document:
    """A document. ``fault``: why it is not strict (before repair); ``mends``: what was mended (after)."""

    sender: str
    xml: str
    fault: Fault | None = None
    mends: tuple[Mend, ...] = ()
    notes: dict[str, Any] = field(default_factory=_notes, compare=False)
    expires: float = field(default=math.inf, compare=False)


@final
@dataclass(frozen=True, slots=True)
class Opened:
    """An envelope that was opened; a bare payload is a document that claims nothing.

    ``claims``: what it said of ``from`` and ``thread``, which counts for nothing. ``payloads``: each as
    canonical XML.
    """

    sender: str
    to: str | None
    claims: tuple[str, ...]
    payloads: tuple[str, ...]
    notes: dict[str, Any] = field(default_factory=_notes, compare=False)
    expires: float = field(default=math.inf, compare=False)


@final
@dataclass(frozen=True, slots=True)
class Part:
    """One payload on its way to whoever takes it. ``to`` None: whoever that is; answers are for who asked."""

    sender: str
    to: str | None
    tag: str
    xml: str
    is_response: bool = False
    notes: dict[str, Any] = field(default_factory=_notes, compare=False)
    expires: float = field(default=math.inf, compare=False)
    branched: bool = field(default=False, compare=False)  # its address is the organism's own word
    # The pump's own: the payload as a tree, its class, and whether it leaves the organism.
    element: Any = field(default=None, repr=False, compare=False)
    kind: Any = field(default=None, repr=False, compare=False)
    outbound: bool = field(default=False, repr=False, compare=False)


@final
@dataclass(frozen=True, slots=True)
class Addressed:
    """One payload for one listener, known to fit its contract from ``validate`` on."""

    sender: str
    listener: str
    tag: str
    xml: str
    notes: dict[str, Any] = field(default_factory=_notes, compare=False)
    expires: float = field(default=math.inf, compare=False)


@final
@dataclass(frozen=True, slots=True)
class Message:
    """One decoded payload for one listener. ``id`` and ``attempt`` are known at its dispatch.

    ``payload`` is decoded afresh when it is first asked for: changing it changes nothing.
    """

    sender: str
    listener: str
    tag: str
    xml: str
    id: str = ""
    conversation: str = ""
    attempt: int = 0
    notes: dict[str, Any] = field(default_factory=_notes, compare=False)
    expires: float = field(default=math.inf, compare=False)
    # The pump's own, given to each: the defaults are there only because fields before them have some.
    passed: Passed = field(default=None, repr=False, compare=False)  # type: ignore[assignment]
    decode: Callable[[Any, str], Any] = field(default=None, repr=False, compare=False)  # type: ignore[assignment]
    _payload: Any = field(default=_UNREAD, init=False, repr=False, compare=False)

    @property
    def payload(self) -> Any:
        """The payload: an object of its own, which nobody else sees."""
        if self._payload is _UNREAD:
            object.__setattr__(self, "_payload", self.decode(self.passed.contract, self.xml))
        return self._payload

    def unread(self) -> Message:
        """The same for who looks next: what the last one did to its payload, he does not see."""
        return self if self._payload is _UNREAD else replace(self)


@final
@dataclass(frozen=True, slots=True)
class Returned:
    """What came back from a dispatch: a copy of what the handler returned, or (``error``) what it raised."""

    message: Message
    value: Any = None
    error: BaseException | None = None
    seconds: float = 0.0
    notes: dict[str, Any] = field(default_factory=_notes, compare=False)


Item = Incoming | Document | Opened | Part | Addressed | Message | Returned
