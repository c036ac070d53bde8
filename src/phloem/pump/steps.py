"""The steps that a message passes before its dispatch, in running order.

Decides what becomes of bytes and objects: a payload checked and decoded for each listener
that takes it, or a refusal that says why. Every step is a plain function without a
checkpoint, so what it decides can be booked in the same breath. Never books, queues or
answers anything; the intake and the pump do.

    2 parse, repair   bytes -> one tree, and what was mended
    3 envelope        tree -> Envelope
    4 extract         Envelope -> payload elements
    6 route           (tag, to, sender) -> listeners
    7 read            element + contract -> a payload of that listener's own
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, final

from phloem.config import WireLimits
from phloem.contract import Contract, contract_of, encode
from phloem.errors import InvalidMessage
from phloem.guarding import Raised, attempted
from phloem.messages import Cause, Ending, Fault, HuhCode, folded
from phloem.wire.answers import Answer, read_answer
from phloem.wire.early import EarlyReader
from phloem.wire.envelope import NAMESPACE, EnvelopeReader, is_envelope
from phloem.wire.parsing import Element, Parser, canonical, printable
from phloem.wire.repair import Mend, Shape, Shapes, read_document
from phloem.wire.text import QUOTE_MOST

from .carried import Carried
from .repeats import Talk
from .routing import Listener, Miss, Routes

__all__ = [
    "Checked",
    "Ended",
    "Passed",
    "Refused",
    "Steps",
    "missed",
    "refused_document",
    "refused_object",
]

ORIGINAL: Final = 2_000  # characters of a refused message that its sender is shown


@final
class Passed:
    """A payload that one listener may have: decoded afresh for it."""

    __slots__ = ("carried", "contract", "listener", "mends", "payload", "talk", "text")

    def __init__(self, listener: Listener, contract: Contract, payload: Any, text: str) -> None:
        self.listener, self.contract, self.payload, self.text = listener, contract, payload, text
        self.carried: Carried | None = None
        self.mends: tuple[Mend, ...] = ()  # of the model's answer that it stands in
        self.talk: Talk | None = None  # from one agent to another: noted as its budgets are asked


@final
class Refused:
    """A payload that did not get through. ``miss``: nobody takes it; ``detail``, for the log, says why."""

    __slots__ = ("detail", "faults", "listener", "miss", "outbound", "tag", "text", "to")

    def __init__(
        self,
        faults: Sequence[Fault],
        text: str,
        *,
        tag: str = "",
        to: str | None = None,
        listener: Listener | None = None,
        detail: str | None = None,
        outbound: bool = False,
    ) -> None:
        self.faults, self.text, self.listener, self.outbound = tuple(faults), text, listener, outbound
        self.tag, self.to = cut(tag), None if to is None else cut(to)
        self.miss, self.detail = detail is not None, detail or str(folded(faults))


@final
class Ended:
    """A message that a user's step has ended: dropped (``ABANDONED``), or the step raised (``FAILED``)."""

    __slots__ = ("cause", "ending", "error", "listener", "outbound", "text", "to")

    def __init__(
        self,
        ending: Ending,
        cause: Cause,
        text: str,
        *,
        to: str = "",
        listener: Listener | None = None,
        error: BaseException | None = None,
        outbound: bool = False,
    ) -> None:
        self.ending, self.cause, self.text, self.to = ending, cause, text, cut(to)
        self.listener, self.error, self.outbound = listener, error, outbound


Checked = Passed | Refused | Ended


@final
class Steps:
    """One organism's steps 2 to 7, with the parser, the routes and the contracts they need."""

    def __init__(self, listeners: Sequence[Listener], limits: WireLimits, *, repairs: bool = True) -> None:
        self.routes = Routes(listeners)
        self.repairs = repairs
        self._parser = Parser(limits)
        self._envelopes = EnvelopeReader()
        self._shapes = _Shapes(listeners)
        self._shapes_of: dict[Listener, Shapes] = {}
        self._contracts = {
            contract.payload_class: contract
            for listener in listeners
            for contract in (*listener.contracts, *(listener.responds_with or ()))
        }

    def read_bytes(self, data: bytes | str) -> tuple[Element, tuple[Mend, ...]]:
        """Step 2. Raises InvalidMessage. The one step that may run in a worker thread."""
        if not self.repairs:
            return self.read_strictly(data), ()
        mended = read_document(self._parser, data, self._shapes)
        return mended.root, mended.mends

    def read_strictly(self, data: bytes | str) -> Element:
        """Step 2 without its repair. Raises InvalidMessage."""
        return self._parser.parse(data)

    def open_document(self, root: Element) -> tuple[tuple[str, ...], str | None, tuple[Element, ...]]:
        """Steps 3 and 4: (what it claims of ``from`` and ``thread``, to, payloads). Raises InvalidMessage.

        A bare payload is its own document, and claims nothing.
        """
        if not is_envelope(root):
            if root.tag == "message" and isinstance(self.routes.find("message", None, None), Miss):
                found = "<message> in no namespace"
                raise InvalidMessage(
                    [Fault(HuhCode.ENVELOPE, "/message", found, f'<message xmlns="{NAMESPACE}">')]
                )
            return (), None, (root,)
        envelope = self._envelopes.read(root)
        claims = (envelope.sender,) if envelope.thread is None else (envelope.sender, envelope.thread)
        return claims, envelope.to, envelope.payloads

    def from_payload(self, payload: object, to: str | None, sender: Listener | None) -> list[Checked]:
        """Steps 6 and 7 for an object. Raises ContractError, and InvalidMessage if it does not encode."""
        text, element = self.written(payload)
        tag = str(element.tag)
        found = self.routes.find(tag, to, sender)
        if isinstance(found, Miss):
            return [missed(tag, to, text, found)]
        return [self.read(listener, tag, text, element) for listener in found]

    def from_element(self, element: Element, to: str | None, sender: Listener | None) -> list[Checked]:
        """Steps 6 and 7 for an element that somebody wrote."""
        tag = str(element.tag)
        try:
            text = canonical(element)
        except InvalidMessage as invalid:
            return [Refused(invalid.faults, f"<{tag}>", tag=tag, to=to)]
        found = self.routes.find(tag, to, sender)
        if isinstance(found, Miss):
            return [missed(tag, to, text, found)]
        return [self.read(listener, tag, text, element) for listener in found]

    def from_raw(
        self, data: bytes, sender: Listener, mended: Callable[[Sequence[Mend]], None]
    ) -> Iterator[Checked]:
        """Steps 2 to 7 for a handler's bytes: payloads and envelopes side by side, or one to mend."""
        try:
            roots = self.roots(data, sender, mended)
        except InvalidMessage as invalid:
            yield Refused(invalid.faults, printable(data, ORIGINAL), tag="(unread)")
            return
        for root in roots:
            try:
                _, to, payloads = self.open_document(root)
            except InvalidMessage as invalid:
                yield Refused(invalid.faults, printable(data, ORIGINAL), tag="message")
                continue
            for element in payloads:
                yield from self.from_element(element, to, sender)

    def to_caller(self, payload: object, caller: Listener, responder: Listener | None) -> Checked:
        """A respond: encoded, and read by its caller's contract. Raises as from_payload.

        ``responder`` None: it is a notice of phloem's.
        """
        text, element = self.written(payload)
        return self.to_caller_as(str(element.tag), text, element, caller, responder)

    def to_caller_as(
        self, tag: str, text: str, element: Element, caller: Listener, responder: Listener | None
    ) -> Checked:
        """The same for one that is encoded."""
        if not caller.hears(tag, responder):
            return missed(tag, None, text, Miss(f"the caller {caller.key!r} does not take {tag}"))
        return self.read(caller, tag, text, element)

    def to_root(self, payload: object, responder: Listener) -> Checked:
        """A respond at the root: read by what its listener declares, or its own. Raises as from_payload."""
        text, element = self.written(payload)
        return self.to_root_as(type(payload), str(element.tag), text, element, responder)

    def to_root_as(self, kind: type, tag: str, text: str, element: Element, responder: Listener) -> Checked:
        """The same for one that is encoded; ``kind`` is its class."""
        if responder.responds_with is None:
            contract = self._contracts.get(kind) or contract_of(kind)
        else:
            agreed = {own.tag.casefold(): own for own in responder.responds_with}.get(tag.casefold())
            if agreed is None:
                names = " or ".join(own.tag for own in responder.responds_with)
                fault = Fault(HuhCode.UNEXPECTED_ELEMENT, f"/{tag}", tag, names)
                return Refused([fault], text, tag=tag, outbound=True)
            contract = agreed
        answer = attempted(contract.read, element)
        if isinstance(answer, Raised):
            return Refused(_faults(answer.error, tag), text, tag=tag, outbound=True)
        return Passed(responder, contract, answer, text)

    def class_of(self, tag: str) -> type | None:
        """The one class of this organism with that tag; None if there are several, or none."""
        wanted = tag.casefold()
        found = [cls for cls, contract in self._contracts.items() if contract.tag.casefold() == wanted]
        return found[0] if len(found) == 1 else None

    def read_answer(self, text: str, sender: Listener, start: int = 0) -> Answer:
        """What an agent's model wrote, by the shapes of what it may send. Raises InvalidMessage."""
        return read_answer(self._parser, text, self.shapes_for(sender), start=start)

    def early_reader(self, sender: Listener) -> EarlyReader:
        """The same for an answer that is still being written."""
        return EarlyReader(self._parser, self.shapes_for(sender))

    def shapes_for(self, sender: Listener) -> Shapes:
        """The shapes of what a listener may send or respond with."""
        shapes = self._shapes_of.get(sender)
        if shapes is None:
            shapes = self._shapes_of[sender] = _OwnShapes(self.routes.addressed_by(sender), sender)
        return shapes

    def all_idempotent(self, answer: Answer | None, sender: Listener) -> bool:
        """True if whoever would get these may get them though the rest of the answer may be refused."""
        takers = [
            self.routes.find(str(part.element.tag), part.to, sender)
            for part in (() if answer is None else answer.parts)
        ]
        return all(not isinstance(found, Miss) and all(each.idempotent for each in found) for found in takers)

    def again(self, contract: Contract, text: str) -> Any:
        """A fresh payload from a text that has passed before, for a retry."""
        return contract.read(self._parser.parse_own(text))

    def element_of(self, text: str) -> Element:
        """A text of our own as a tree."""
        return self._parser.parse_own(text)

    def written(self, payload: object) -> tuple[str, Element]:
        """A payload as the text it writes (its class may have ``to_xml`` only), and that as a tree."""
        contract = self._contracts.get(type(payload))
        text = encode(payload) if contract is None else contract.encode(payload)
        return text, self._parser.parse_own(text)

    def shown(self, payload: object) -> Any:
        """A copy for somebody to look at: whatever he does to it, the payload stays. Itself if it is none."""
        copy = attempted(self._copied, payload)
        return payload if isinstance(copy, Raised) else copy

    def _copied(self, payload: object) -> Any:
        contract = self._contracts.get(type(payload)) or contract_of(type(payload))
        return payload if contract.immutable else contract.read(self.written(payload)[1])

    def read(self, listener: Listener, tag: str, text: str, element: Element) -> Passed | Refused:
        """Step 7: the payload as that listener's contract has it."""
        contract = listener.by_tag[tag.casefold()]
        payload = attempted(contract.read, element)
        if isinstance(payload, Raised):
            return Refused(_faults(payload.error, tag), text, tag=tag, listener=listener)
        return Passed(listener, contract, payload, text)

    def roots(
        self,
        data: bytes,
        sender: Listener,
        mended: Callable[[Sequence[Mend]], None],
        *,
        strictly: bool = False,
    ) -> list[Element]:
        """Step 2 for a handler's bytes; ``strictly``: without its repair. Raises InvalidMessage."""
        limits = self._parser.limits
        try:
            limit = limits.max_model_bytes if sender.is_agent else limits.max_bytes
            return self._parser.parse_fragments(data, limit=limit)
        except InvalidMessage as invalid:
            if strictly or not self.repairs:
                raise
            try:
                document = read_document(self._parser, data, self._shapes, from_model=True)
            except InvalidMessage:
                raise invalid from None
            mended(document.mends)
            return [document.root]


def refused_object(invalid: InvalidMessage, payload: object, to: str | None) -> Refused:
    """An object that does not encode."""
    tag, shown = type(payload).__name__, attempted(repr, payload)  # its class's own code
    text = tag if isinstance(shown, Raised) else printable(shown, ORIGINAL)
    return Refused(invalid.faults, text, tag=tag, to=to)


def refused_document(invalid: InvalidMessage, data: bytes | str) -> Refused:
    """A document that is none."""
    text = data if isinstance(data, str) else data[: 4 * ORIGINAL].decode("utf-8", "replace")
    return Refused(invalid.faults, text[:ORIGINAL], tag="the document")


def _faults(error: BaseException, tag: str) -> Sequence[Fault]:
    """What reading found; a class that raised while it was built is the message's fault, not ours."""
    if isinstance(error, InvalidMessage):
        return error.faults
    found = f"values at which its class raised {type(error).__name__}"
    return [Fault(HuhCode.TYPE, f"/{tag}", found, "values that its class takes")]


def cut(name: str) -> str:
    """A name that a sender wrote, as error texts show it."""
    return name if len(name) <= QUOTE_MOST else f"{name[:QUOTE_MOST]}…"


def missed(tag: str, to: str | None, text: str, miss: Miss) -> Refused:
    """Nobody takes it."""
    found = f"no way to deliver {cut(tag)}"
    fault = Fault(HuhCode.ROUTING, f"/{cut(tag)}", found, "a listener that takes it, as an address")
    return Refused([fault], text, tag=tag, to=to, detail=miss.detail)


@final
class _Shapes:
    """The shapes of all payloads that this organism takes, for the repairer."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        own = [listener for listener in listeners if not listener.private]
        own.sort(key=lambda listener: not listener.service)  # a user's class wins over phloem's of that name
        self._shapes = {contract.tag: contract for listener in own for contract in listener.contracts}

    def shape_of(self, tag: str) -> Shape | None:
        contract = self._shapes.get(tag)
        return None if contract is None else contract.shape

    def tags(self) -> Sequence[str]:
        return tuple(self._shapes)


@final
class _OwnShapes:
    """The shapes of what one agent may write. A tag that two classes share has none: nothing says which."""

    def __init__(self, addressed: Sequence[Listener], sender: Listener) -> None:
        taken = [contract for each in addressed for contract in (*each.contracts, *each.heard)]
        self._shapes: dict[str, Contract | None] = {}
        for contract in (*taken, *(sender.responds_with or ())):
            known = self._shapes.setdefault(contract.tag, contract)
            if known is not contract:
                self._shapes[contract.tag] = None

    def shape_of(self, tag: str) -> Shape | None:
        contract = self._shapes.get(tag)
        return None if contract is None else contract.shape

    def tags(self) -> Sequence[str]:
        return tuple(self._shapes)
