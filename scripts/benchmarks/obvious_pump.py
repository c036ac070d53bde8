"""An asyncio + aiostream pump of the obvious kind: what phloem's figures are set beside.

One queue, one ``pipe.map`` of an async function per step, a ``flatmap`` that dispatches with
a task limit, and answers put back into the queue as bytes; per hop a parse, a canonical form,
two XSD validations and a dataclass built from the tree. No budgets, no accounting, no
deadlines, no shutdown worth the name: it does less than phloem, in the way one writes first.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final

from aiostream import pipe, stream
from lxml import etree

NAMESPACE: Final = "urn:obvious:envelope"
HANDLERS: Final = 20  # task_limit of the dispatch
PER_AGENT: Final = 5
XSD_TYPES: Final = {"int": "xs:integer", "str": "xs:string", "bool": "xs:boolean", "float": "xs:double"}

ENVELOPE_XSD: Final = f"""
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="{NAMESPACE}"
           elementFormDefault="qualified">
  <xs:element name="message"><xs:complexType><xs:sequence>
    <xs:element name="from" type="xs:string"/>
    <xs:element name="to" type="xs:string"/>
    <xs:element name="thread" type="xs:string"/>
    <xs:any namespace="##any" processContents="skip" maxOccurs="unbounded"/>
  </xs:sequence></xs:complexType></xs:element>
</xs:schema>
"""

Handler = Callable[[Any, str], Awaitable["list[tuple[str, Any]]"]]


@dataclass
class Target:
    """A listener: its payload class, its handler, its schema and its own limit."""

    name: str
    payload_class: type
    handler: Handler
    limit: int = PER_AGENT
    schema: etree.XMLSchema = field(init=False)
    semaphore: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        assert is_dataclass(self.payload_class)
        parts = "".join(
            f'<xs:element name="{f.name}" type="{XSD_TYPES[str(f.type)]}"/>'
            for f in fields(self.payload_class)
        )
        text = (
            '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">'
            f'<xs:element name="{self.payload_class.__name__}"><xs:complexType>'
            f"<xs:sequence>{parts}</xs:sequence></xs:complexType></xs:element></xs:schema>"
        )
        self.schema = etree.XMLSchema(etree.fromstring(text.encode()))
        self.semaphore = asyncio.Semaphore(self.limit)


@dataclass
class State:
    """A message on its way through the steps."""

    data: bytes
    tree: etree._Element | None = None
    sender: str = ""
    to: str = ""
    thread: str = ""
    body: etree._Element | None = None
    payload: Any = None
    targets: list[Target] = field(default_factory=list["Target"])
    error: str = ""


def encode(payload: Any) -> etree._Element:
    root = etree.Element(type(payload).__name__)
    for f in fields(payload):
        value = getattr(payload, f.name)
        etree.SubElement(root, f.name).text = str(value).lower() if isinstance(value, bool) else str(value)
    return root


def decode(element: etree._Element, cls: type) -> Any:
    convert: dict[str, Callable[[str], Any]] = {
        "int": int,
        "float": float,
        "bool": lambda text: text == "true",
        "str": str,
    }
    return cls(**{f.name: convert[str(f.type)](element.findtext(f.name) or "") for f in fields(cls)})


def envelope(sender: str, to: str, thread: str, payload: Any) -> bytes:
    root = etree.Element(f"{{{NAMESPACE}}}message", nsmap={"e": NAMESPACE})
    for name, text in (("from", sender), ("to", to), ("thread", thread)):
        etree.SubElement(root, f"{{{NAMESPACE}}}{name}").text = text
    root.append(encode(payload))
    return etree.tostring(root)


class ObviousPump:
    """Listeners by name and payload; ``run`` until cancelled."""

    def __init__(self, targets: list[Target]) -> None:
        self.queue: asyncio.Queue[State] = asyncio.Queue()
        self.routes: dict[str, list[Target]] = {}
        for target in targets:
            key = f"{target.name}.{target.payload_class.__name__}".lower()
            self.routes.setdefault(key, []).append(target)
        self.envelope_schema = etree.XMLSchema(etree.fromstring(ENVELOPE_XSD.encode()))
        self.threads: dict[str, str] = {}  # theirs -> ours; nobody ever takes one out

    async def inject(self, sender: str, to: str, payload: Any, thread: str = "") -> None:
        await self.queue.put(State(envelope(sender, to, thread or str(uuid.uuid4()), payload)))

    async def run(self) -> None:
        step: Any = pipe.map  # its types cannot follow a bound method through |
        steps: Any = (
            stream.iterate(self.source())
            | step(self.parse)
            | step(self.canonical)
            | step(self.validate_envelope)
            | step(self.extract)
            | step(self.assign_thread)
            | pipe.flatmap(self.fan_out)
            | step(self.validate_payload)
            | step(self.deserialize)
            | pipe.filter(self.is_sound)
            | pipe.flatmap(self.dispatch, task_limit=HANDLERS)
            | pipe.action(self.reinject)
        )
        async with steps.stream() as streamer:
            async for _ in streamer:
                pass

    @staticmethod
    def is_sound(state: State) -> bool:
        return not state.error

    async def source(self) -> AsyncIterator[State]:
        while True:
            yield await self.queue.get()

    async def parse(self, state: State, *_: Any) -> State:
        state.tree = etree.fromstring(state.data)
        return state

    async def canonical(self, state: State, *_: Any) -> State:
        assert state.tree is not None
        state.tree = etree.fromstring(etree.tostring(state.tree, method="c14n", exclusive=True))
        return state

    async def validate_envelope(self, state: State, *_: Any) -> State:
        assert state.tree is not None
        if not self.envelope_schema.validate(state.tree):
            state.error = "envelope"
        return state

    async def extract(self, state: State, *_: Any) -> State:
        assert state.tree is not None
        state.sender, state.to, state.thread = (state.tree[index].text or "" for index in range(3))
        return state

    async def assign_thread(self, state: State, *_: Any) -> State:
        if state.thread not in self.threads:
            self.threads[state.thread] = str(uuid.uuid4())
        state.thread = self.threads[state.thread]
        self.threads[state.thread] = state.thread
        return state

    async def fan_out(self, state: State, *_: Any) -> AsyncIterator[State]:
        assert state.tree is not None
        for body in state.tree[3:]:
            yield State(state.data, state.tree, state.sender, state.to, state.thread, body)

    async def validate_payload(self, state: State, *_: Any) -> State:
        assert state.body is not None
        tag = etree.QName(state.body).localname
        state.targets = self.routes.get(f"{state.to}.{tag}".lower(), [])
        if not state.targets:
            state.error = "routing"
        elif not state.targets[0].schema.validate(state.body):
            state.error = "payload"
        return state

    async def deserialize(self, state: State, *_: Any) -> State:
        if not state.error:
            assert state.body is not None
            state.payload = decode(state.body, state.targets[0].payload_class)
        return state

    async def dispatch(self, state: State, *_: Any) -> AsyncIterator[State]:
        for target in state.targets:
            async with target.semaphore:
                answers = await target.handler(state.payload, state.sender)
            for to, payload in answers:
                yield State(envelope(target.name, to, state.thread, payload))

    async def reinject(self, state: State, *_: Any) -> None:
        await self.queue.put(state)
