"""What a user's step sees at each place, of whom, and who passes it: a tap before and after every step."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio

from phloem.errors import MessageRejected
from phloem.messages import HandlerMetadata, HandlerResponse, Huh, SystemError
from phloem.pump.items import Addressed, Document, Incoming, Message, Opened, Part, Returned
from support.listeners import BACK, Ask, Note, Reply, answer, drop, listener
from support.pipelines import ASK, DEFAULT, Seen, everywhere, open_piped
from support.wire import message

A: Final = listener("a", Ask, drop)
BENCH: Final = message('<Note xmlns=""><Text>b</Text></Note>', meta="<from>a</from><to>bench</to>")
IN: Final = ["before admit", "after admit", "before parse"]
READ: Final = ["after parse", "before repair", "after repair", "before envelope"]
OPENED: Final = ["after envelope", "before extract", "after extract"]
THREAD: Final = ["before thread", "after thread"]
CHECK: Final = ["after route", "before validate", "after validate", "before decode", "after decode"]
ROUTED: Final = ["before route", *CHECK]
DISPATCH: Final = ["before dispatch", "after dispatch", "before replies"]
OBJECT: Final = [*IN, *THREAD, *ROUTED, *DISPATCH]

TYPES: Final = {
    Incoming: IN,
    Document: READ,
    Opened: ["after envelope", "before extract"],
    Part: ["after extract", *THREAD, "before route", "after replies"],
    Addressed: ["after route", "before validate", "after validate", "before decode"],
    Message: ["after decode", "before dispatch"],
    Returned: ["after dispatch", "before replies"],
}


async def test_a_strangers_bytes_pass_every_place_once_and_as_the_tables_types() -> None:
    seen = Seen()
    async with open_piped(everywhere(seen), A) as organism:
        await organism.inject(ASK)
        await organism.wait_idle()
    assert seen.places == [*IN, *READ, *OPENED, *THREAD, *ROUTED, *DISPATCH]
    kinds = {place: kind for kind, places in TYPES.items() for place in places}
    assert [type(item) for _, item in seen.items] == [kinds[place] for place in seen.places]


async def test_each_place_shows_what_is_known_of_a_strangers_message_there() -> None:
    seen = Seen()
    meta = "<from>liar</from><to>a</to><thread>t-7</thread>"
    broken = message('<Ask xmlns=""><text>a & b</text></Ask>', meta=meta)
    async with open_piped(everywhere(seen), A) as organism:
        receipt = await organism.inject(broken, sender="console")
        await organism.wait_idle()
    first: dict[str, Any] = dict(reversed(seen.items))
    assert first["before admit"] == Incoming("console", broken)
    before, after = first["before repair"], first["after repair"]
    assert before.xml == broken
    assert (before.fault.code, before.mends) == ("bad-char", ())
    assert after.fault is None
    assert {mend.what for mend in after.mends}
    assert "a &amp; b" in after.xml
    canonical = "<Ask><Text>a &amp; b</Text></Ask>"
    assert first["after envelope"] == Opened("console", "a", ("liar", "t-7"), (canonical,))
    assert first["before thread"] == Part("console", "a", "Ask", canonical)
    assert first["after route"] == Addressed("console", "a", "Ask", canonical)
    decoded, dispatched = first["after decode"], first["before dispatch"]
    assert decoded.payload == dispatched.payload == Ask("a & b")
    assert (decoded.id, decoded.conversation, decoded.attempt) == ("", "", 0)
    assert (dispatched.conversation, dispatched.attempt) == (receipt.conversation, 1)
    assert dispatched.id.startswith(receipt.conversation)
    returned = first["after dispatch"]
    assert (returned.value, returned.error, returned.message.payload) == (None, None, Ask("a & b"))


async def test_a_strangers_object_enters_at_thread() -> None:
    seen = Seen()
    async with open_piped(everywhere(seen), A) as organism:
        await organism.send(Ask("x"), to="a", sender="console")
        await organism.wait_idle()
    assert seen.places == OBJECT
    (incoming, *_) = seen.of("before admit")
    assert (incoming.sender, incoming.data, incoming.payload, incoming.to) == ("console", None, Ask("x"), "a")


async def test_a_turn_of_a_conversation_passes_what_a_strangers_message_does() -> None:
    seen = Seen()
    async with open_piped(everywhere(seen), A) as organism:
        async with organism.open_conversation(sender="console") as conversation:
            assert seen.places == []  # its seat is no message
            await conversation.send(Ask("x"))
        assert seen.places == OBJECT
        assert {item.sender for _, item in seen.items if not isinstance(item, Returned)} == {"console"}


async def forward(payload: Any, metadata: HandlerMetadata) -> Any:
    return HandlerResponse(Note(payload.text), to="bench") if isinstance(payload, Ask) else None


async def test_a_handlers_object_enters_behind_replies_and_its_respond_does_not_pass_route() -> None:
    seen = Seen()
    listeners = listener("front", [Ask, Reply], forward), listener("bench", Note, answer)
    async with open_piped(everywhere(seen), *listeners) as organism:
        await organism.send(Ask("x"))
        await organism.wait_idle()
    forwarded = ["after replies", *THREAD, *ROUTED, *DISPATCH]
    assert seen.places == [*OBJECT, *forwarded, "after replies", *THREAD, *CHECK, *DISPATCH]
    there, back = seen.of("after replies")
    assert there == Part("front", "bench", "Note", "<Note><Text>x</Text></Note>")
    assert back == Part("bench", "front", "Reply", "<Reply><Text>x</Text></Reply>", is_response=True)


async def test_an_answer_at_the_root_ends_behind_thread() -> None:
    seen = Seen()
    async with open_piped(everywhere(seen), BACK) as organism:
        assert await organism.ask(Ask("x")) == Reply("x")
    assert seen.places == [*OBJECT, "after replies", *THREAD]
    (part,) = seen.of("after replies")
    assert (part.to, part.is_response) == ("", True)
    (returned,) = seen.of("after dispatch")
    assert returned.value == HandlerResponse.respond(Reply("x"))


async def test_a_handlers_bytes_enter_behind_parse() -> None:
    async def write(payload: Any, metadata: HandlerMetadata) -> bytes:
        return b"<Note><Text>a</Text></Note>" + BENCH.encode()

    seen = Seen()
    async with open_piped(
        everywhere(seen), listener("writer", Ask, write), listener("bench", Note, drop)
    ) as o:
        await o.send(Ask("x"))
        await o.wait_idle()
    one = [*OPENED, *THREAD, *ROUTED]
    assert seen.places == [*OBJECT, *READ, *one, *one, *DISPATCH, *DISPATCH]
    assert [part.to for part in seen.of("before thread")[1:]] == [None, "bench"]


async def test_why_a_handlers_bytes_are_not_strict_is_seen_before_repair_and_what_was_mended_after() -> None:
    async def write(payload: Any, metadata: HandlerMetadata) -> bytes:
        return b"Sure! ```xml\n<Note><Text>a & b</Text></Note>\n```"

    seen = Seen()
    async with open_piped(
        everywhere(seen), listener("writer", Ask, write), listener("bench", Note, drop)
    ) as o:
        await o.send(Ask("x"))
        await o.wait_idle()
    (before,), (after,) = seen.of("before repair"), seen.of("after repair")
    assert before.fault is not None
    assert before.mends == ()
    assert after.fault is None
    assert after.mends
    assert after.xml == "<Note><Text>a &amp; b</Text></Note>"


async def test_phloems_own_notices_pass_no_step_but_their_dispatch() -> None:
    async def wrong(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return HandlerResponse(Note("x"), to="nobody")
        return b"<Note><Txt>x</Txt></Note>" if isinstance(payload, SystemError) else None

    seen = Seen()
    listeners = listener("wrong", [Ask, SystemError, Huh], wrong), listener("bench", Note, drop)
    async with open_piped(everywhere(seen), *listeners) as organism:
        await organism.send(Ask("x"))
        await organism.wait_idle()
    misrouted = ["after replies", *THREAD, "before route"]
    unread = [*READ, *OPENED, *THREAD, "before route", "after route", "before validate"]
    assert seen.places == [*OBJECT, *misrouted, *DISPATCH, *unread, *DISPATCH]
    tags = [(item.sender, item.tag) for item in seen.of("before dispatch")]
    assert tags == [("outside", "Ask"), ("system", "SystemError"), ("system", "Huh")]


async def test_boot_passes_none() -> None:
    seen = Seen()
    async with open_piped(everywhere(seen), A) as organism:
        assert organism.report.handled == 1
    assert seen.items == []


async def test_a_broadcast_is_one_at_route_and_as_many_as_take_it_behind() -> None:
    seen = Seen()
    twins = [listener("twin", Ask, drop, broadcast=True) for _ in range(3)]
    async with open_piped(everywhere(seen), *twins) as organism:
        await organism.send(Ask("x"))
        await organism.wait_idle()
    for place in seen.places:
        assert len(seen.of(place)) == (3 if place in [*CHECK, *DISPATCH] else 1)
    assert [item.listener for item in seen.of("after route")] == ["twin", "twin#2", "twin#3"]


@pytest.mark.parametrize(
    ("xml", "last"),
    [
        ("<Ask><Text>", "before repair"),
        (message(meta=""), "before envelope"),
        ("<Ask><Nope/></Ask>", "before validate"),
        ("<Nobody/>", "before route"),
    ],
)
async def test_what_is_refused_is_seen_up_to_where_it_was(xml: str, last: str) -> None:
    seen = Seen()
    async with open_piped(everywhere(seen), A) as organism:
        with pytest.raises(MessageRejected):
            await organism.inject(xml)
    assert seen.places[-1] == last


async def test_an_attempt_is_seen_at_its_dispatch_and_a_retry_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def third_time(payload: Any, metadata: HandlerMetadata) -> Any:
        if metadata.attempt < 3:
            raise ValueError(f"attempt {metadata.attempt}")

    seen = Seen()
    async with open_piped(everywhere(seen), listener("a", Ask, third_time, retries=2)) as organism:
        await organism.send(Ask("x"))
        await organism.wait_idle()
    assert seen.places == [*OBJECT, *DISPATCH, *DISPATCH]
    assert [item.attempt for item in seen.of("before dispatch")] == [1, 2, 3]
    assert [str(item.error) for item in seen.of("after dispatch")] == ["attempt 1", "attempt 2", "None"]
    assert len({item.id for item in seen.of("before dispatch")}) == 1


async def test_what_a_handler_took_is_seen_with_what_came_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def sleep(payload: Any, metadata: HandlerMetadata) -> None:
        await trio.sleep(2.5)

    seen = Seen()
    async with open_piped(everywhere(seen), listener("a", Ask, sleep)) as organism:
        await organism.send(Ask("x"))
        await organism.wait_idle()
    (returned,) = seen.of("after dispatch")
    assert returned.seconds == 2.5


async def test_the_default_pipeline_has_nothing_to_show() -> None:
    async with open_piped(DEFAULT, A) as organism:
        assert "pipeline" not in organism.statistics()
