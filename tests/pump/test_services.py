"""Claims of a user's own service: everyone may address it, and in all else it is a listener like others."""

from __future__ import annotations

import pytest

from phloem.config import ListenerConfig
from phloem.errors import ConversationFailed
from phloem.messages import Ending, HandlerMetadata, HandlerResponse
from phloem.pump.within import get_todo_registry
from support.auditing import open_audited
from support.listeners import Ask, Note, Ping, Reply, answer, drop, echo, listener


def caller(name: str, to: str | None, **more: object) -> ListenerConfig:
    async def call(payload: Ping | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Reply):
            return HandlerResponse.respond(payload)
        return HandlerResponse(Ask(payload.text), to=to)

    return listener(name, [Ping, Reply], call, responds_with=Reply, **more)


@pytest.mark.parametrize("to", ["clock", "CLOCK", None])
@pytest.mark.parametrize(
    "more", [{"is_agent": True}, {"is_agent": True, "peers": ["other"]}, {"peers": ["other"]}, {}]
)
async def test_everyone_may_address_it_whatever_its_peers(to: str | None, more: dict[str, object]) -> None:
    clock = listener("clock", Ask, answer, service=True)
    async with open_audited(clock, listener("other", Note, drop), caller("a", to, **more)) as organism:
        assert await organism.ask(Ping("x"), to="a") == Reply("x")


async def test_without_service_an_agent_needs_it_among_its_peers() -> None:
    agent = caller("a", "clock", is_agent=True)
    async with open_audited(listener("clock", Ask, answer), agent) as organism:
        with pytest.raises(ConversationFailed):
            await organism.ask(Ping("x"), to="a")
        assert organism.report.undeliverable > 0


async def test_it_is_explained_only_where_it_stands_among_peers() -> None:
    clock = listener("clock", Ask, answer, service=True)
    listeners = [
        clock,
        listener("without", Note, drop, is_agent=True),
        listener("with", Note, drop, is_agent=True, peers=["clock"]),
    ]
    async with open_audited(*listeners) as organism:
        told = {name: each.usage_instructions for name, each in organism.listeners.items()}
    assert "clock" not in told["without"]
    assert "# clock: Is clock." in told["with"]


async def test_two_that_take_the_same_need_an_address() -> None:
    """A service is no lesser taker: what is meant for a peer is not sent to it unseen, nor the other way."""
    agent = caller("a", None, is_agent=True, peers=["other"])
    takers = [listener("clock", Ask, answer, service=True), listener("other", Ask, answer)]
    async with open_audited(*takers, agent) as organism:
        with pytest.raises(ConversationFailed):
            await organism.ask(Ping("x"), to="a")


async def test_its_answer_must_be_taken_as_any_listeners() -> None:
    async def ask_only(payload: Ping, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse(Ask("x"), to="clock")

    clock = listener("clock", Ask, answer, service=True)
    async with open_audited(clock, listener("a", Ping, ask_only, is_agent=True)) as organism:
        with pytest.raises(ConversationFailed):
            await organism.ask(Ping("x"), to="a")


async def test_todos_within_it_are_its_own() -> None:
    owners: list[str] = []

    async def waits(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        get_todo_registry().register(wait_for="Reply")
        owners.extend(each.issuer for each in get_todo_registry().get_pending_for())
        return HandlerResponse.respond(Reply("x"))

    clock = listener("clock", Ask, waits, service=True)
    async with open_audited(clock, caller("a", "clock", is_agent=True)) as organism:
        assert await organism.ask(Ping("x"), to="a") == Reply("x")
    assert owners == ["clock"]


async def test_strangers_and_the_books_know_it_as_any_listener() -> None:
    async with open_audited(listener("clock", Ask, answer, service=True)) as organism:
        assert await organism.ask(Ask("x"), to="clock") == Reply("x")
        assert await organism.ask(Ask("x")) == Reply("x")
        assert organism.statistics()["listeners"]["clock"][Ending.HANDLED] == 2
    assert organism.report.handled == 3  # and Boot


async def test_a_service_may_be_an_agent_of_its_own_peers() -> None:
    service = listener("helper", Ask, echo, service=True, is_agent=True)
    async with open_audited(service, caller("a", "helper", is_agent=True)) as organism:
        with pytest.raises(ConversationFailed):  # it answers with an Ask, which "a" does not take
            await organism.ask(Ping("x"), to="a")
