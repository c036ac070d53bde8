"""Envelope <-> ``<message>``: who sends what to whom, on which thread.

Decides what an envelope is (``envelope.xsd``) and how one is written: in exclusive
canonical form, byte for byte. Never believes ``from`` or ``thread`` (the pump stamps
them), never looks into a payload, never pastes: what a name holds is text. Called by the
pump, and by whatever writes messages out of the organism.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Final, final

from lxml import etree

from phloem.config import MAX_NAME, MAX_THREAD_ID
from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode

from .gate import refuse
from .parsing import Element, detached, local_name
from .text import WHITE, escaped, first_bad_char, path_of, quoted

__all__ = ["NAMESPACE", "Envelope", "EnvelopeReader", "is_envelope", "write_envelope"]

NAMESPACE: Final = "https://xml-pipeline.org/ns/envelope/v1"

_MESSAGE: Final = f"{{{NAMESPACE}}}message"
_META: Final = f"{{{NAMESPACE}}}meta"
_TO: Final = f"{{{NAMESPACE}}}to"
_FIELDS: Final = {"from": MAX_NAME, "to": MAX_NAME, "thread": MAX_THREAD_ID}  # in this order
_TAG_NAME: Final = re.compile(r"<[^\s/>]+")


@final
@dataclass(frozen=True, slots=True)
class Envelope:
    """One message as it was sent: the sender's claims, and its payloads as roots of their own."""

    sender: str
    to: str | None
    thread: str | None
    payloads: tuple[Element, ...]


def is_envelope(root: Element) -> bool:
    """Whether a document is a message rather than a bare payload."""
    return root.tag == _MESSAGE


@final
class _PerThread(threading.local):
    schema: etree.XMLSchema | None = None


@final
class EnvelopeReader:
    """Reads envelopes by ``envelope.xsd``, compiled once per thread. Never a checkpoint."""

    __slots__ = ("_here", "_xsd")

    def __init__(self) -> None:
        self._xsd = resources.files("phloem.wire").joinpath("envelope.xsd").read_bytes()
        self._here = _PerThread()

    def read(self, root: Element) -> Envelope:
        """The envelope; takes its payloads out of ``root``.

        Raises ``InvalidMessage`` with one fault, of code ``envelope`` or ``no-payload``.
        """
        schema = self._here.schema
        if schema is None:
            schema = self._here.schema = etree.XMLSchema(etree.fromstring(self._xsd))
        try:
            valid = schema.validate(root)
        except etree.LxmlError:  # fail closed; also what no XSD error describes
            valid = False
        if not valid:
            entry = schema.error_log.last_error
            told = Fault(HuhCode.ENVELOPE, "/message", quoted(entry.message if entry else ""), "an envelope")
            raise InvalidMessage([next(_faults(root), told)])
        meta, *payloads = root
        sender, *rest = meta
        to = thread = None
        odd = root.attrib or meta.attrib or sender.attrib
        for field in rest:
            odd = odd or field.attrib
            if field.tag == _TO:
                to = field.text
            else:
                thread = field.text
        if odd:  # XSD lets xsi:schemaLocation through anywhere
            refuse(
                HuhCode.ENVELOPE, "/message", f"the attribute {quoted(str(next(iter(odd))))}", "no attributes"
            )
        return Envelope(sender.text or "", to, thread, tuple(detached(root, payloads)))


def _faults(root: Element) -> Iterator[Fault]:
    if root.tag != _MESSAGE:
        yield _fault([local_name(root)], quoted(str(root.tag)), f"<message> in the namespace {NAMESPACE}")
        return
    if root.attrib:
        yield _fault(["message"], f"the attribute {quoted(str(next(iter(root.attrib))))}", "no attributes")
    children = iter(root)
    meta = next(children, None)
    if meta is None or meta.tag != _META:
        found = "nothing" if meta is None else _tag(meta)
        yield _fault(["message"], found, "<meta> first")
        return
    yield from _meta_faults(meta)
    if root.text and root.text.strip(WHITE):
        yield _fault(["message"], quoted(root.text.strip(WHITE)), "nothing but elements")
    payload = meta
    for payload in children:
        tag = str(payload.tag)
        if tag.startswith("{"):
            yield _payload_fault(payload)
        if payload.tail and payload.tail.strip(WHITE):
            yield _fault(["message"], quoted(payload.tail.strip(WHITE)), "nothing but elements")
    if payload is meta:
        yield Fault(HuhCode.NO_PAYLOAD, "/message", "no element after <meta>", "at least one payload element")


def _meta_faults(meta: Element) -> Iterator[Fault]:
    if meta.attrib:
        yield _fault(
            ["message", "meta"], f"the attribute {quoted(str(next(iter(meta.attrib))))}", "no attributes"
        )
    for text in (meta.text, meta.tail, *(field.tail for field in meta)):
        if text and text.strip(WHITE):
            yield _fault(["message", "meta"], quoted(text.strip(WHITE)), "nothing but elements")
    left = list(_FIELDS)
    for field in meta:
        name = local_name(field)
        path = ["message", "meta", name]
        if name not in left or field.tag != f"{{{NAMESPACE}}}{name}":
            expected = " then ".join(f"<{one}>" for one in left) or "nothing more"
            yield _fault(
                ["message", "meta"], _tag(field), f"{expected}, each once, in the envelope's namespace"
            )
            return
        if left.index(name) != 0 and left[0] == "from":
            yield _fault(["message", "meta"], _tag(field), "<from> first")
            return
        left = left[left.index(name) + 1 :]
        if field.attrib or len(field):
            yield _fault(path, "attributes or elements", "text only")
        length, most = len(field.text or ""), _FIELDS[name]
        if not 1 <= length <= most:
            yield _fault(path, f"{length} characters", f"1 to {most} characters")
    if "from" in left:
        yield _fault(["message", "meta"], "nothing", "<from>")


def _payload_fault(payload: Element) -> Fault:
    if payload.tag == _MESSAGE:
        return _fault(["message"], "a <message> within a <message>", "payload elements, each in no namespace")
    name = local_name(payload)
    if payload.tag == f"{{{NAMESPACE}}}{name}":
        found = f"{_tag(payload)} in the envelope's namespace"
        return _fault(
            ["message", name], found, f'a payload in no namespace: write <{quoted(name)[1:-1]} xmlns="">'
        )
    return _fault(["message", name], f"the tag {quoted(str(payload.tag))}", "a payload in no namespace")


def _fault(names: list[str], found: str, expected: str) -> Fault:
    return Fault(HuhCode.ENVELOPE, path_of(names), found, expected)


def _tag(element: Element) -> str:
    return f"<{quoted(local_name(element))[1:-1]}>"


def write_envelope(*, sender: str, to: str | None, thread: str | None, payloads: Iterable[str]) -> bytes:
    """A message in exclusive canonical form, around payloads that are in it, each in no namespace.

    Raises ``InvalidMessage`` if there is no payload, or a name is not 1 to 128 (a thread 1 to
    64) characters of XML.
    """
    pieces = [f'<message xmlns="{NAMESPACE}"><meta>']
    for name, text in (("from", sender), ("to", to), ("thread", thread)):
        if text is not None:
            _check_field(name, text)
            pieces.append(f"<{name}>{escaped(text)}</{name}>")
    pieces.append("</meta>")
    bare = len(pieces)
    for payload in payloads:
        tag = _TAG_NAME.match(payload)
        if tag is None:
            refuse(HuhCode.ENVELOPE, "/message", quoted(payload), "a payload element in canonical form")
        pieces += (tag[0], ' xmlns=""', payload[tag.end() :])
    if len(pieces) == bare:
        refuse(HuhCode.NO_PAYLOAD, "/message", "no payload", "at least one payload element")
    pieces.append("</message>")
    try:
        return "".join(pieces).encode()
    except UnicodeEncodeError:
        refuse(HuhCode.BAD_CHAR, "/message", "a lone surrogate", "characters of XML")


def _check_field(name: str, text: str) -> None:
    path, most = path_of(["message", "meta", name]), _FIELDS[name]
    if not 1 <= len(text) <= most:
        refuse(HuhCode.ENVELOPE, path, f"{len(text)} characters", f"1 to {most} characters")
    bad = first_bad_char(text)
    if bad is not None:
        refuse(HuhCode.BAD_CHAR, path, f"the character U+{ord(text[bad]):04X}", "characters of XML")
