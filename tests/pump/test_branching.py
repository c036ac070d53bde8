"""``branch`` where messages are routed: past peers, not past contracts; answers go to who asked."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from phloem.errors import ConfigurationError, ConversationFailed, MessageRejected
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.pump.ready_made import branch
from support.listeners import BACK, Ask, Note, Reply, answer, drop, listener
from support.pipelines import ASK, DEFAULT, counts, open_piped

Log = list[tuple[str, str]]


def noting(log: Log, name: str, *takes: Any) -> Any:
    async def note(payload: Any, metadata: HandlerMetadata) -> None:
        log.append((name, payload.text))

    return listener(name, list(takes), note)


@pytest.mark.parametrize("at", ["thread", "route"])
async def test_what_the_predicate_is_true_of_goes_to_another_listener(at: str) -> None:
    log: Log = []
    rude = branch(lambda part: "rude" in part.xml, to="guard")
    listeners = noting(log, "guard", Ask), noting(log, "a", Ask)
    async with open_piped(DEFAULT.before(at, rude, name="mine"), *listeners) as organism:
        await organism.send(Ask("rude"), to="a")
        await organism.send(Ask("kind"), to="a")
        await organism.inject("<Ask><Text>rude too</Text></Ask>")
        await organism.wait_idle()
        assert counts(organism, "mine") == {"seen": 3}
    assert sorted(log) == [("a", "kind"), ("guard", "rude"), ("guard", "rude too")]


async def test_it_goes_past_an_agents_peers_and_the_agent_gets_the_answer() -> None:
    answers: list[Any] = []

    async def agent(payload: Any, metadata: HandlerMetadata) -> Any:
        if isinstance(payload, Ask):
            return HandlerResponse(Note("x"), to="friend")
        answers.append(payload)
        return HandlerResponse.respond(payload)

    listeners = (
        listener("agent", [Ask, Reply], agent, is_agent=True, peers=["friend"]),
        listener("friend", Note, drop),
        listener("guard", Note, answer),
    )
    async with open_piped(DEFAULT.before("route", branch(lambda part: True, to="guard")), *listeners) as o:
        with pytest.raises(MessageRejected):  # the stranger's too, and guard takes no Ask
            await o.ask(Ask("x"), to="agent")
    notes = branch(lambda part: part.tag == "Note", to="guard")
    async with open_piped(DEFAULT.before("route", notes), *listeners) as organism:
        assert await organism.ask(Ask("x"), to="agent") == Reply("x")
    assert answers == [Reply("x")]


async def test_a_respond_is_never_asked_about() -> None:
    asked: list[Any] = []

    def every(part: Any) -> bool:
        asked.append(part)
        return bool(part.tag == "Reply")

    async with open_piped(
        DEFAULT.before("thread", branch(every, to="guard")), BACK, noting([], "guard", Note)
    ) as o:
        assert await o.ask(Ask("x"), to="back") == Reply("x")
    assert [part.tag for part in asked] == ["Ask"]


async def test_of_two_the_last_one_that_is_true_decides_the_address() -> None:
    log: Log = []
    listeners = [noting(log, name, Ask) for name in ("a", "b", "c")]
    pipeline = DEFAULT.before("route", branch(lambda part: True, to="b"))
    pipeline = pipeline.before("route", branch(lambda part: part.to == "b", to="C"))
    async with open_piped(pipeline, *listeners) as organism:
        await organism.send(Ask("x"), to="a")
        await organism.wait_idle()
    assert log == [("c", "x")]


async def test_a_predicate_may_be_async_and_one_that_raises_ends_that_message() -> None:
    async def waits(part: Any) -> bool:
        await trio.lowlevel.checkpoint()
        if "bad" in part.xml:
            raise ValueError("x")
        return False

    async with open_piped(DEFAULT.before("route", branch(waits, to="back"), name="mine"), BACK) as organism:
        with pytest.raises(ConversationFailed) as failed:
            await organism.ask(Ask("bad"))
        assert str(failed.value.outcome.cause) == "mine before route raised ValueError: x"
        assert failed.value.outcome.state is ConversationState.FAILED
        assert await organism.ask(Ask("good")) == Reply("good")


async def test_it_is_validated_by_the_contract_of_whom_it_goes_to() -> None:
    async with open_piped(
        DEFAULT.before("route", branch(lambda part: True, to="guard")), BACK, listener("guard", Note, drop)
    ) as organism:
        with pytest.raises(MessageRejected) as rejected:
            await organism.inject(ASK)
        assert rejected.value.huh.code == "routing"


async def test_a_branch_to_nobody_is_refused_as_the_organism_opens() -> None:
    pipeline = DEFAULT.before("route", branch(bool, to="gaurd"), name="mine")
    pipeline = pipeline.after("dispatch", branch(bool, to="graev"), name="too")
    with pytest.raises(ConfigurationError) as refused:
        async with open_piped(pipeline, BACK):
            pass
    assert [(fault.where, fault.found, fault.expected) for fault in refused.value.faults] == [
        ("pipeline: mine before route", "'gaurd'", "the name of a listener"),
        ("pipeline: too after dispatch", "'graev'", "the name of a listener"),
    ]
