"""``complete``: a handler asks a model as its agent, within its dispatch and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from phloem.config import Budgets, ListenerConfig, OrganismConfig
from phloem.errors import (
    AccessRefused,
    AuthenticationError,
    ConfigurationError,
    NoDispatch,
    TruncatedError,
)
from phloem.llm.completing import complete
from phloem.llm.requests import LLMRequest, LLMResponse, StopReason
from phloem.llm.scripted import Scripted, ScriptedBackend
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.organism import open_organism
from phloem.pump.dispatch import running_delivery
from support.asking import Ask, Held, Reply, open_asker, reserved


def contents(request: LLMRequest) -> str:
    return "\n".join(f"[{each.role}] {each.content}" for each in request.messages)


def roles(request: LLMRequest) -> list[str]:
    return [each.role for each in request.messages]


# -- what is asked ---------------------------------------------------------------------------------


async def test_a_handler_gets_the_models_words() -> None:
    backend = ScriptedBackend(["Hello, Ada."])
    async with open_asker(lambda: complete("Greet Ada."), backend) as organism:
        assert (await organism.ask(Ask("Ada"))).text == "Hello, Ada."
    (request,) = backend.requests
    assert roles(request) == ["system", "system", "system", "user", "user"]
    assert request.messages[0].content == "You are the asker."
    assert request.messages[1].content.startswith("You are asker: Asks.")
    assert '| trust: stranger | from: "outside" ===\n<Ask><Text>Ada</Text></Ask>\n' in contents(request)
    assert request.messages[-1].content == "Greet Ada."
    assert (request.model, request.agent, request.temperature, request.max_tokens) == (
        "m",
        "asker",
        0.7,
        1024,
    )


async def test_the_references_form_is_taken() -> None:
    backend = ScriptedBackend(["Hello."])

    async def greet(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        text = await complete(
            agent_name=metadata.own_name,
            thread_id=metadata.thread_id,
            user_message=f"Greet {payload.text}",
            temperature=0.9,
            max_tokens=12,
            model="grok-9",
        )
        return HandlerResponse.respond(Reply(text))

    config = OrganismConfig(
        listeners=[ListenerConfig("greeter", Ask, greet, "Greets.", is_agent=True, responds_with=Reply)],
        llm_config={"backends": [backend]},
    )
    async with open_organism(config) as organism:
        assert (await organism.ask(Ask("Ada"))).text == "Hello."
    (request,) = backend.requests
    assert (request.model, request.temperature, request.max_tokens) == ("grok-9", 0.9, 12)


async def test_without_history_there_is_the_prompt_and_the_question() -> None:
    backend = ScriptedBackend(["x"])
    async with open_asker(lambda: complete("Well?", include_history=False), backend) as organism:
        await organism.ask(Ask("secret"))
    assert roles(backend.requests[0]) == ["system", "system", "user"]
    assert "secret" not in contents(backend.requests[0])


async def test_history_has_each_message_once_and_own_ones_as_the_assistants() -> None:
    backend = ScriptedBackend(["one", "two", "three"])
    async with (
        open_asker(lambda: complete("Well?"), backend) as organism,
        organism.open_conversation("ada") as conversation,
    ):
        for text in ("first", "second", "third"):
            await conversation.ask(Ask(text))
    last = backend.requests[-1]
    assert roles(last) == ["system"] * 3 + ["user", "assistant"] * 2 + ["user", "user"]
    for text in ("first", "second", "third"):
        assert contents(last).count(f"<Text>{text}</Text>") == 1
    said = [each.content for each in last.messages if each.role == "assistant"]
    assert said == [f"<respond><Reply><Text>{text}</Text></Reply></respond>" for text in ("one", "two")]


async def test_history_is_cut_to_what_the_agent_may_have() -> None:
    backend = ScriptedBackend(["one", "two"])
    async with (
        open_asker(lambda: complete("Well?"), backend, max_history_tokens=100) as organism,
        organism.open_conversation("ada") as conversation,
    ):
        await conversation.ask(Ask("f" * 200))
        await conversation.ask(Ask("second"))
    assert "ffff" not in contents(backend.requests[1])
    assert "the oldest message here, and your answer to it, is left out" in contents(backend.requests[1])
    assert "second" in contents(backend.requests[1])


async def test_another_conversation_is_never_seen() -> None:
    backend = ScriptedBackend(["x", "y"])
    async with open_asker(lambda: complete("Well?"), backend) as organism:
        await organism.ask(Ask("mine"))
        await organism.ask(Ask("yours"))
    assert "mine" not in contents(backend.requests[1])


async def test_a_listener_that_is_no_agent_may_ask_and_has_no_prompt() -> None:
    backend = ScriptedBackend(["x"])
    async with open_asker(
        lambda: complete("Well?", include_history=False), backend, is_agent=False, prompt=""
    ) as organism:
        await organism.ask(Ask("a"))
    assert roles(backend.requests[0]) == ["user"]


# -- what is no answer -----------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [StopReason.LENGTH, StopReason.CONTENT_FILTER])
async def test_an_answer_that_is_cut_off_is_not_called_whole(reason: StopReason) -> None:
    backend = ScriptedBackend([LLMResponse("Hello, A", finish_reason=reason)])

    async def work() -> str:
        with pytest.raises(TruncatedError, match="was cut off") as raised:
            await complete("Greet Ada.")
        return raised.value.partial

    async with open_asker(work, backend) as organism:
        assert (await organism.ask(Ask("x"))).text == "Hello, A"
        assert organism.llm.statistics()["requests"] == 1  # it was paid for


async def test_what_a_backend_raises_reaches_the_handler() -> None:
    backend = ScriptedBackend([Scripted(status=401)])

    async def work() -> None:
        with pytest.raises(AuthenticationError):
            await complete("Well?")

    async with open_asker(work, backend) as organism:
        await organism.ask(Ask("x"))


async def test_an_organism_without_backends_says_what_to_configure() -> None:
    async def work() -> None:
        with pytest.raises(ConfigurationError, match=r"llm\.backends: found no backend"):
            await complete("Well?")

    async with open_asker(work) as organism:
        await organism.ask(Ask("x"))


@pytest.mark.parametrize(
    "arguments",
    [
        {"user_message": ""},
        {"user_message": " \n"},
        {"user_message": b"x"},
        {"user_message": "x", "model": ""},
        {"user_message": "x", "model": 4},
        {"user_message": "x", "temperature": -0.1},
        {"user_message": "x", "temperature": float("nan")},
        {"user_message": "x", "temperature": True},
        {"user_message": "x", "max_tokens": 0},
        {"user_message": "x", "max_tokens": True},
        {"user_message": "x", "max_tokens": 1.5},
    ],
)
async def test_arguments_that_are_none_are_refused(arguments: dict[str, Any]) -> None:
    backend = ScriptedBackend([])

    async def work() -> None:
        with pytest.raises(ValueError, match=r": found .*, expected "):
            await complete(**arguments)

    async with open_asker(work, backend) as organism:
        await organism.ask(Ask("x"))
    assert backend.calls == 0


# -- who may ask -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claim", [{"agent_name": "other"}, {"thread_id": "t"}, {"agent_name": "asker", "thread_id": ""}]
)
async def test_anothers_name_or_thread_is_refused(claim: dict[str, Any]) -> None:
    backend = ScriptedBackend([])

    async def work() -> None:
        with pytest.raises(AccessRefused):
            await complete("x", **claim)

    async with open_asker(work, backend) as organism:
        await organism.ask(Ask("x"))
    assert backend.calls == 0


async def test_ones_own_name_is_taken_in_any_case() -> None:
    async with open_asker(lambda: complete("x", agent_name="ASKER"), ScriptedBackend(["y"])) as organism:
        assert (await organism.ask(Ask("x"))).text == "y"


async def test_outside_of_a_handler_there_is_no_dispatch() -> None:
    with pytest.raises(NoDispatch):
        await complete("x")
    async with open_asker(lambda: complete("x"), ScriptedBackend([])):
        with pytest.raises(NoDispatch):
            await complete("x")


async def test_a_task_that_outlives_its_dispatch_may_not_ask() -> None:
    backend, over, raised = ScriptedBackend([]), trio.Event(), list[NoDispatch]()

    async def late() -> None:
        await over.wait()
        with pytest.raises(NoDispatch) as told:
            await complete("x")
        raised.append(told.value)

    async with trio.open_nursery() as nursery:

        async def work() -> None:
            await trio.lowlevel.checkpoint()
            nursery.start_soon(late)

        async with open_asker(work, backend) as organism:
            await organism.ask(Ask("x"))
            over.set()
            await trio.testing.wait_all_tasks_blocked()
    assert len(raised) == 1


async def test_a_task_that_is_not_the_dispatchs_may_not_ask() -> None:
    """It would go on when its dispatch is cut: a shield, another nursery, a thread that calls back."""
    backend, raised = ScriptedBackend([]), list[str]()

    async def refused() -> None:
        with pytest.raises(NoDispatch) as told:
            await complete("x")
        raised.append(str(told.value))

    async def work() -> None:
        with trio.CancelScope(shield=True):
            await refused()
        outer.start_soon(refused)
        await trio.to_thread.run_sync(trio.from_thread.run, refused, abandon_on_cancel=True)
        await trio.testing.wait_all_tasks_blocked()

    async with trio.open_nursery() as outer, open_asker(work, backend) as organism:
        await organism.ask(Ask("x"))
    assert len(raised) == 3
    assert backend.calls == 0


async def test_a_plain_handler_cannot_ask() -> None:
    raised = list[BaseException]()

    def plain(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        coroutine = complete("x")
        try:
            coroutine.send(None)
        except NoDispatch as error:
            raised.append(error)
        return HandlerResponse.respond(Reply("done"))

    config = OrganismConfig(
        listeners=[ListenerConfig("plain", Ask, plain, "Is plain.", responds_with=Reply)],
        llm_config={"backends": [ScriptedBackend([])]},
    )
    async with open_organism(config) as organism:
        await organism.ask(Ask("x"))
    assert len(raised) == 1


async def test_two_tasks_of_one_handler_may_ask_at_once(autojump_clock: trio.testing.MockClock) -> None:
    held = Held()

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(complete, "Well?")

    async with open_asker(work, held) as organism:
        await organism.ask(Ask("x"))
    assert held.most == 3


# -- ends --------------------------------------------------------------------------------------------


async def test_a_cancelled_question_gives_back_and_the_next_one_is_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    held = Held(5.0)

    async def work() -> str:
        with trio.move_on_after(1):
            await complete("Well?")
        assert (held.running, reserved(organism)) == (0, (0, 0))
        return await complete("Well now?")

    async with open_asker(work, held) as organism:
        assert (await organism.ask(Ask("x"))).text == "hello"
        assert organism.llm.statistics()["requests"] == 1


async def test_a_question_that_the_budget_has_no_room_for_ends_the_conversation() -> None:
    backend = ScriptedBackend([])
    async with open_asker(lambda: complete("Well?"), backend, budgets=Budgets(tokens=1_000)) as organism:
        receipt = await organism.send(Ask("x"))
        outcome = await organism.wait(receipt)
    assert outcome.state is ConversationState.OUT_OF_BUDGET
    assert backend.calls == 0


async def test_a_question_ends_with_its_dispatch(autojump_clock: trio.testing.MockClock) -> None:
    held = Held(100.0)
    async with open_asker(lambda: complete("Well?"), held, handler_timeout=3.0) as organism:
        receipt = await organism.send(Ask("x"))
        assert (await organism.wait(receipt)).state is ConversationState.FAILED
        assert (trio.current_time(), held.running) == (3.0, 0)


async def test_no_public_name_of_a_running_handler_leads_to_a_prompt() -> None:
    found = list[str]()

    async def work() -> None:
        await trio.lowlevel.checkpoint()
        delivery = running_delivery()
        assert delivery is not None
        seen = set[int]()
        todo: list[tuple[Any, str]] = [(delivery, "delivery")]
        while todo and len(seen) < 20_000:
            value, path = todo.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, str):
                if "blue door" in value:
                    found.append(path)
                continue
            todo.extend(named(value, path))

    async with open_asker(work, Held(), prompt="Only the blue door.") as organism:
        await organism.ask(Ask("x"))
    assert [path for path in found if not path.endswith(".prompt")] == []  # a listener's, as configured


def named(value: Any, path: str) -> list[tuple[Any, str]]:
    """What its public attributes and items hold, with the way there."""
    if isinstance(value, dict):
        return [(each, f"{path}[…]") for each in value.values()]
    if isinstance(value, list | tuple):
        return [(each, f"{path}[…]") for each in value]
    if not type(value).__module__.startswith("phloem"):
        return []
    slots = {name for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())}
    names = sorted(slots | set(getattr(value, "__dict__", {})))
    return [(getattr(value, name, None), f"{path}.{name}") for name in names if not name.startswith("_")]
