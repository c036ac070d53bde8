"""Claims of egress: what its handlers are given is the canonical envelope, and nothing else is new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any

import pytest
import trio
import trio.testing
from annotated_types import Le
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lxml import etree

from phloem.config import ListenerConfig, OrganismConfig, WireLimits
from phloem.contract import contract_of
from phloem.errors import ConversationFailed, MessageRejected
from phloem.loading.names import listener_name_problem
from phloem.messages import SYSTEM, ConversationState, HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.organism import open_organism
from phloem.pump.pipeline import Pipeline
from phloem.pump.ready_made import transform
from phloem.wire.envelope import NAMESPACE, EnvelopeReader
from phloem.wire.parsing import Parser, is_xml_text
from support.auditing import open_audited, running
from support.listeners import Ask, Note, Reply, answer, drop, hang, listener

XSD = etree.XMLSchema(etree.fromstring(resources.files("phloem.wire").joinpath("envelope.xsd").read_bytes()))


@dataclass
class Bounded:
    count: Annotated[int, Le(3)]


def keeping(into: list[Any], then: Any = None) -> Callable[[Any, HandlerMetadata], Any]:
    async def keep(payload: Any, metadata: HandlerMetadata) -> Any:
        into.append((payload, metadata))
        return then

    return keep


def envelope(sender: str, to: str, thread: str, body: str) -> bytes:
    return (
        f'<message xmlns="{NAMESPACE}"><meta><from>{sender}</from><to>{to}</to><thread>{thread}</thread>'
        f"</meta>{body}</message>"
    ).encode()


def read_back(data: bytes) -> tuple[str, str | None, str | None, list[Any]]:
    """(from, to, thread, payload elements), once it is known to be valid and canonical."""
    root = Parser(WireLimits()).parse(data)
    assert XSD.validate(root), XSD.error_log
    assert data == etree.tostring(root, method="c14n", exclusive=True)
    found = EnvelopeReader().read(root)
    return found.sender, found.to, found.thread, list(found.payloads)


# -- the bytes ---------------------------------------------------------------------------------
async def test_a_strangers_message_leaves_as_its_envelope_byte_for_byte() -> None:
    got: list[tuple[bytes, HandlerMetadata]] = []
    async with open_audited(listener("out", Note, keeping(got)), egress=["out"]) as organism:
        receipt = await organism.send(Note("a < b & c"), to="OUT", sender="me & you")
        outcome = await organism.wait(receipt)
    ((data, metadata),) = got
    assert type(data) is bytes
    assert data == envelope(
        "me &amp; you", "out", metadata.thread_id, '<Note xmlns=""><Text>a &lt; b &amp; c</Text></Note>'
    )
    assert outcome.state is ConversationState.COMPLETED
    assert metadata.from_id == "me & you"
    read_back(data)


async def test_an_insiders_message_is_stamped_by_the_pump() -> None:
    got: list[tuple[bytes, HandlerMetadata]] = []

    async def forge(payload: Ask, metadata: HandlerMetadata) -> bytes:
        return envelope("system", "out", "mine", '<Note xmlns=""><Text>x</Text></Note>')

    async with open_audited(
        listener("forger", Ask, forge), listener("out", Note, keeping(got)), egress=["out"]
    ) as organism:
        await organism.wait(await organism.send(Ask("x"), to="forger"))
    ((data, metadata),) = got
    assert read_back(data)[:3] == ("forger", "out", metadata.thread_id)
    assert metadata.thread_id != "mine"


async def test_what_a_document_claims_is_not_in_it_and_what_was_mended_is() -> None:
    got: list[tuple[bytes, HandlerMetadata]] = []
    document = (
        f'<m:message xmlns:m="{NAMESPACE}">\n <m:meta><m:from>boss</m:from><m:to>out</m:to>'
        "<m:thread>t</m:thread></m:meta>\n <Note ><!-- c --><Text>one &amp; two</Text>\n</Note>"
        "<Note><Text><![CDATA[<3]]></Text></Note></m:message>"
    )
    async with open_audited(listener("out", Note, keeping(got)), egress=["out"]) as organism:
        await organism.wait(await organism.inject(document, sender="clerk"))
        await organism.wait(
            await organism.inject("<note><Text>Marks & Spencer</Text></note>", sender="clerk")
        )
    told = []
    for data, metadata in got:
        sender, to, thread, payloads = read_back(data)
        assert (sender, to, thread) == ("clerk", "out", metadata.thread_id)
        (payload,) = payloads
        told.append(contract_of(Note).read(payload).text)
    assert sorted(told) == ["<3", "Marks & Spencer", "one & two"]
    assert len({metadata.thread_id for _, metadata in got}) == 3


TEXT = st.text(st.characters(codec="utf-8").filter(is_xml_text), max_size=40)


@settings(max_examples=40)
@given(TEXT, TEXT, TEXT)
def test_any_text_from_anybody_is_valid_canonical_and_the_same_text(
    text: str, sender: str, name: str
) -> None:
    assume(listener_name_problem(name) is None)
    assume(sender.strip() and sender.casefold() not in (name.casefold(), SYSTEM))
    assume(not sender.casefold().startswith(f"{SYSTEM}."))
    got: list[tuple[bytes, HandlerMetadata]] = []

    async def main() -> None:
        own = ListenerConfig(name, Note, keeping(got))
        async with open_organism(OrganismConfig(listeners=[own], egress=[name])) as organism:
            await organism.wait(await organism.send(Note(text), to=name, sender=sender))

    trio.run(main)
    assert_same(got[0][0], sender, name, text)


def assert_same(data: bytes, sender: str, name: str, text: str) -> None:
    found, to, _, (payload,) = read_back(data)
    assert (found, to, contract_of(Note).read(payload)) == (sender, name, Note(text))


async def test_the_longest_names_fit() -> None:
    got: list[tuple[bytes, HandlerMetadata]] = []
    name, sender = "<" * 128, "\U0001f600" * 128
    async with running(listener(name, Note, keeping(got)), egress=[name]) as organism:
        await organism.wait(await organism.send(Note("x"), to=name, sender=sender))
    assert_same(got[0][0], sender, name, "x")


async def test_a_class_that_writes_itself_leaves_as_it_was_written() -> None:
    class Reading:
        def __init__(self, degrees: int) -> None:
            self.degrees = degrees

        @staticmethod
        def xsd() -> str:
            return (
                '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="Reading" '
                'type="xs:int"/></xs:schema>'
            )

        def xml_value(self, name: str) -> Any:
            element = etree.Element(name)
            element.text = str(self.degrees)
            return element

        @classmethod
        def from_element(cls, element: Any) -> Reading:
            return cls(int(element.text))

    got: list[tuple[bytes, HandlerMetadata]] = []
    async with running(listener("out", Reading, keeping(got)), egress=["out"]) as organism:
        await organism.wait(await organism.send(Reading(7), to="out"))
    data, metadata = got[0]
    assert data == envelope("outside", "out", metadata.thread_id, '<Reading xmlns="">7</Reading>')


async def test_what_the_pipeline_makes_of_a_payload_is_what_leaves() -> None:
    got: list[tuple[bytes, HandlerMetadata]] = []
    louder = Pipeline.default().after("decode", transform(lambda payload: Note(payload.text.upper())))
    config = OrganismConfig(listeners=[listener("out", Note, keeping(got))], egress=["out"])
    async with open_organism(config, pipeline=louder) as organism:
        await organism.wait(await organism.send(Note("x"), to="out"))
    assert_same(got[0][0], "outside", "out", "X")


# -- a listener as any other ---------------------------------------------------------------------
async def test_what_its_contract_refuses_never_leaves() -> None:
    got: list[Any] = []
    async with open_audited(listener("out", Bounded, keeping(got)), egress=["out"]) as organism:
        for wrong in (Bounded(4), Note("x")):
            with pytest.raises(MessageRejected):
                await organism.ask(wrong, to="out")
        with pytest.raises(MessageRejected):
            await organism.inject("<Bounded><Count>4</Count></Bounded>")
        await organism.wait(await organism.send(Bounded(3), to="out"))
        await organism.wait(await organism.inject("<Bounded><Count>003</Count></Bounded>"))
    assert [read_back(data)[3][0][0].text for data, _ in got] == ["3", "003"]  # a text is as it was sent


async def test_others_are_given_payloads_as_ever_twins_of_one_name_alike() -> None:
    got: list[Any] = []
    twins = [listener("out", Note, keeping(got), broadcast=True) for _ in range(2)]
    other = listener("in", Note, keeping(got), broadcast=True)
    async with open_audited(*twins, other, egress=["Out"]) as organism:
        await organism.wait(await organism.send(Note("x")))
    objects = [given for given, _ in got if given == Note("x")]
    names = [read_back(given)[1] for given, _ in got if isinstance(given, bytes)]
    assert (len(objects), names) == (1, ["out", "out"])


async def test_it_may_answer_and_forward_as_any_handler() -> None:
    async def through(data: bytes, metadata: HandlerMetadata) -> HandlerResponse:
        if b"<Ask " in data:
            return HandlerResponse(Note("further"), to="next")
        return HandlerResponse.respond(Reply(f"{len(data)} bytes"))

    out = listener("out", [Ask, Reply], through, responds_with=Reply)
    async with open_audited(out, listener("next", Note, answer), egress=["out"]) as organism:
        reply = await organism.ask(Ask("x"), to="out")
    assert reply.text.endswith(" bytes")


async def test_faults_that_it_takes_come_as_envelopes_from_the_system() -> None:
    got: list[Any] = []

    async def wrong(data: bytes, metadata: HandlerMetadata) -> bytes | None:
        got.append(data)
        return b"<Bounded><Count>9</Count></Bounded>" if b"<Ask " in data else None

    out = listener("out", [Ask, Huh, SystemError], wrong)
    async with open_audited(out, listener("bounded", Bounded, drop), egress=["out"]) as organism:
        outcome = await organism.wait(await organism.send(Ask("x"), to="out"))
    assert outcome.state is ConversationState.COMPLETED
    sender, to, _, (huh,) = read_back(got[1])
    assert (sender, to, huh.tag) == ("system", "out", "Huh")


async def test_a_plain_function_is_given_the_bytes_in_its_thread() -> None:
    got: list[bytes] = []

    def keep(data: bytes, metadata: HandlerMetadata) -> None:
        got.append(data)

    async with running(listener("out", Note, keep), egress=["out"]) as organism:
        await organism.wait(await organism.send(Note("x"), to="out"))
    assert read_back(got[0])[1] == "out"


# -- what goes wrong -------------------------------------------------------------------------------
async def test_every_attempt_is_given_the_same_bytes(autojump_clock: trio.testing.MockClock) -> None:
    got: list[tuple[bytes, int]] = []

    async def broken_pipe(data: bytes, metadata: HandlerMetadata) -> None:
        got.append((data, metadata.attempt))
        if metadata.attempt < 3:
            raise OSError("gone")

    async with open_audited(listener("out", Note, broken_pipe, retries=2), egress=["out"]) as organism:
        outcome = await organism.wait(await organism.send(Note("x"), to="out"))
    assert [attempt for _, attempt in got] == [1, 2, 3]
    assert len({data for data, _ in got}) == 1
    assert outcome.state is ConversationState.COMPLETED


async def test_one_that_fails_for_good_leaves_a_dead_letter_with_the_payload() -> None:
    async def closed(data: bytes, metadata: HandlerMetadata) -> None:
        raise BrokenPipeError("closed")

    async with open_audited(listener("out", Note, closed), egress=["out"]) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Note("x"), to="out")
    (letter,) = caught.value.outcome.dead_letters
    assert (letter.to_listener, letter.payload_xml) == ("out", "<Note><Text>x</Text></Note>")
    assert letter.cause.exception == "BrokenPipeError"


async def test_one_that_hangs_is_cut_at_its_deadline_and_by_its_caller(
    autojump_clock: trio.testing.MockClock,
) -> None:
    out = listener("out", Note, hang, handler_timeout=5.0)
    async with open_audited(out, egress=["out"]) as organism:
        outcome = await organism.wait(await organism.send(Note("x"), to="out"))
        assert outcome.state is ConversationState.FAILED
        with trio.move_on_after(1) as scope:
            await organism.ask(Note("x"), to="out")
        assert scope.cancelled_caught
        await organism.wait_idle()
        assert organism.report.abandoned == 1
