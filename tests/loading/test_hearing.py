"""Claims of loading/running.py and loading/hearing.py on agents that phloem's own handler drives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import trio

from phloem.config import ListenerConfig, OrganismConfig, Wait
from phloem.contract import Contract
from phloem.errors import ConfigurationError
from phloem.loading import Driver, resolve, running_listeners
from phloem.messages import TODO, HandlerMetadata, Huh, SystemError
from phloem.primitives import BOOT_LISTENER, SERVICE_LISTENERS, TodoClosed, TodoRegistered
from phloem.pump.calling import Calling
from phloem.pump.routing import Listener, Routes
from support.listeners import BACK, Ask, Note, Ping, Reply, drop, listener

SECTION: dict[str, Any] = {"default_model": "m", "backends": [{"provider": "ollama"}]}
WORDS = (Huh, SystemError, TodoRegistered, TodoClosed)


class Other:
    @dataclass
    class Reply:
        """The same name, and so the same tag, as the Reply of others."""

        text: str


async def drive(payload: Any, metadata: HandlerMetadata) -> None:
    return None


DRIVER = Driver(drive, WORDS)


def agent(peers: list[str] | None = None, takes: Any = Ask, **more: Any) -> ListenerConfig:
    return ListenerConfig("agent", takes, None, "Is driven.", is_agent=True, peers=peers, **more)


def run(*listeners: ListenerConfig, driver: Driver | None = DRIVER, **more: Any) -> list[Listener]:
    config = resolve(OrganismConfig("org", listeners, llm_config=SECTION, **more))
    return running_listeners(config, (BOOT_LISTENER,), SERVICE_LISTENERS, Calling(1), driver)


def faults(*listeners: ListenerConfig, driver: Driver = DRIVER) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        run(*listeners, driver=driver)
    return [(fault.where, fault.found, fault.expected) for fault in caught.value.faults]


def classes(contracts: tuple[Contract, ...]) -> list[type]:
    return [contract.payload_class for contract in contracts]


def answering(name: str, *answers: type, **more: Any) -> ListenerConfig:
    return listener(name, more.pop("takes", Note), drop, responds_with=answers or None, **more)


# -- who is driven -----------------------------------------------------------------------------
def test_the_driver_handles_for_agents_without_handler_and_for_nobody_else() -> None:
    own = listener("own", Note, drop, is_agent=True, wait=Wait.EACH)
    driven, handled, *_ = run(agent(), own)
    assert (driven.driven, driven.handler) == (True, drive)
    assert (handled.driven, handled.handler, handled.heard, handled.told) == (False, drop, (), ())


async def test_without_a_driver_it_has_a_handler_that_says_it_is_to_be_read() -> None:
    driven = run(agent(), driver=None)[0]
    assert (driven.driven, driven.told) == (True, ())
    metadata = HandlerMetadata(thread_id="t", from_id="x", own_name="agent")
    with pytest.raises(RuntimeError, match="agent has no handler here: its organism was read, not opened"):
        await driven.handler(Ask("x"), metadata)
    await trio.lowlevel.checkpoint()


def test_what_it_is_configured_with_is_what_runs() -> None:
    plain = run(agent())[0]
    sizes: dict[str, Any] = {"temperature": 0.0, "max_tokens": 9, "max_history_tokens": 8, "max_attempts": 2}
    own = run(agent(model="fast/x", wait="all", stream=True, idempotent=True, **sizes))[0]
    assert (plain.model, plain.temperature, plain.max_tokens, plain.max_history_tokens) == (
        "",
        None,
        None,
        None,
    )
    assert (plain.gathers, plain.streams, plain.early) == (False, False, False)
    assert (plain.idempotent, plain.max_attempts) == (False, None)
    assert (own.model, own.temperature, own.max_tokens, own.max_history_tokens) == ("fast/x", 0.0, 9, 8)
    assert (own.gathers, own.streams, own.early) == (True, True, False)
    assert (own.idempotent, own.max_attempts) == (True, 2)


def test_accepting_early_means_streaming() -> None:
    driven = run(agent(accept_early=True))[0]
    assert (driven.streams, driven.early) == (True, True)


def test_a_listener_with_a_handler_keeps_what_complete_and_the_pump_read() -> None:
    own = run(listener("own", Note, drop, model="x", max_tokens=3, max_attempts=1, idempotent=True))[0]
    assert (own.model, own.max_tokens, own.max_attempts, own.idempotent) == ("x", 3, 1, True)
    assert (own.gathers, own.streams, own.early) == (False, False, False)


def test_it_is_told_of_its_peers_as_any_agent_is() -> None:
    assert "# back: Is back." in run(agent(["back"]), BACK)[0].usage_instructions


# -- models ------------------------------------------------------------------------------------
def test_a_model_that_nobody_takes_is_a_fault_of_whoever_names_it() -> None:
    driver = Driver(drive, WORDS, lambda model: model == "known")
    good = run(agent(model="known"), listener("own", Note, drop), driver=driver)
    assert [each.model for each in good[:2]] == ["known", ""]
    found = faults(agent(model="lost"), listener("own", Note, drop, model="gone"), driver=driver)
    assert [(where, said) for where, said, _ in found] == [
        ("listener 'agent'", "the model 'lost', which no backend takes"),
        ("listener 'own'", "the model 'gone', which no backend takes"),
    ]


# -- what it hears -----------------------------------------------------------------------------
def test_it_hears_what_its_peers_answer_with_each_class_once() -> None:
    driven = run(
        agent(["ONE", "two"]),
        answering("one", Reply, Note),
        answering("two", Note, Ping, takes=Reply),
        answering("three", Huh, takes=Ping),
    )[0]
    assert classes(driven.heard) == [Reply, Note, Ping]
    assert classes(driven.contracts) == [Ask]


def test_broadcast_twins_answer_as_one() -> None:
    twins = [answering("twin", cls, broadcast=True) for cls in (Reply, Ping, Reply)]
    assert classes(run(agent(["twin"]), *twins, answering("quiet"))[0].heard) == [Reply, Ping]


def test_what_it_takes_anyway_is_not_heard_twice() -> None:
    driven = run(agent(["one"], takes=(Ask, Reply)), answering("one", Reply, Ask))[0]
    assert (classes(driven.contracts), driven.heard) == ([Ask, Reply], ())


def test_phloems_words_are_told_and_never_come_by_address() -> None:
    driven = run(agent([TODO]))[0]
    assert classes(driven.told) == list(WORDS)
    assert driven.heard == (), "TodoRegistered is an answer of phloem's own"
    takes_one = run(agent(takes=(Ask, Huh)))[0]
    assert classes(takes_one.told) == [SystemError, TodoRegistered, TodoClosed]


def test_a_service_that_is_no_peer_is_within_reach_and_so_is_heard() -> None:
    service = answering("service", Ping, Other.Reply, service=True)
    assert classes(run(agent(["one"]), answering("one", Reply, takes=Ping), service)[0].heard) == [
        Reply,
        Ping,
    ]
    assert classes(run(agent(), service)[0].heard) == [Ping, Other.Reply]


def test_it_may_be_its_own_peer() -> None:
    assert classes(run(agent(["agent"], responds_with=Reply))[0].heard) == [Reply]


def test_who_is_not_registered_answers_nothing() -> None:
    assert run(agent(["nobody"]), allow_unknown_peers=True)[0].heard == ()


def test_what_is_heard_can_be_addressed_and_has_no_taker_without_an_address() -> None:
    listeners = run(agent(["one"]), answering("one", Reply, peers=["agent"]))
    routes = Routes(listeners)
    sender = listeners[1]
    assert routes.find("Reply", "agent", sender) == (listeners[0],)
    assert not isinstance(routes.find("Reply", None, sender), tuple)


# -- one class for a tag -----------------------------------------------------------------------
def test_two_classes_of_one_tag_among_the_answers_are_a_fault_that_names_both_peers() -> None:
    one, two = answering("one", Reply), answering("two", Other.Reply, takes=Ping)
    ((where, found, expected),) = faults(agent(["one", "two"]), one, two)
    assert where == "listener 'agent'"
    assert found == (
        f"{__name__}.Other.Reply that 'two' answers with, which is <Reply>, "
        "as support.listeners.Reply that 'one' answers with is"
    )
    assert expected == "one class for each tag that an agent hears"


def test_so_are_they_between_what_it_takes_and_what_it_hears() -> None:
    ((_, found, _),) = faults(agent(["one"], takes=Other.Reply), answering("one", Reply))
    assert "support.listeners.Reply that 'one' answers with" in found
    assert found.endswith(f"as {__name__}.Other.Reply that it takes is")


def test_and_between_a_class_of_ones_own_and_phloems_words() -> None:
    @dataclass
    class HUH:
        text: str

    ((_, found, _),) = faults(agent(["one"]), answering("one", HUH))
    assert found.endswith("as phloem.messages.Huh of phloem's own is")


def test_every_such_agent_is_told_at_once() -> None:
    one, two = answering("one", Reply), answering("two", Other.Reply, takes=Ping)
    second = ListenerConfig("second", Ask, is_agent=True, peers=["two", "one"])
    found = faults(agent(["one", "two"]), second, one, two)
    assert [where for where, _, _ in found] == ["listener 'agent'", "listener 'second'"]
