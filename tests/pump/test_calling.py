"""Where a handler runs: on Trio as it is, in a worker thread, or awaited by the host."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import trio

from phloem.config import ListenerConfig
from phloem.errors import ConversationFailed, NoDispatch, WouldDeadlock
from phloem.messages import ConversationState, HandlerMetadata, HandlerResponse
from phloem.organism import open_organism
from phloem.pump.calling import is_async, wants_host
from phloem.pump.listening import get_event_bus
from phloem.pump.within import get_context_buffer, get_todo_registry
from support.callables import ASYNC, PLAIN, here_async
from support.held import LONGEST, Held, config_of, one, until
from support.listeners import Ask, Reply

whose: ContextVar[str] = ContextVar("whose", default="nobody's")


@pytest.fixture
def held() -> Iterator[Held]:
    handler = Held()
    yield handler
    handler.released.release(20)


# -- which is which -------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", ASYNC)
async def test_an_async_callable_is_the_listeners_handler_itself(handler: Any) -> None:
    assert is_async(handler)
    async with open_organism(one(handler)) as organism:
        assert organism.listeners["one"].handler is handler
        assert await organism.ask(Ask("x")) == Reply(str(threading.get_ident()))


@pytest.mark.parametrize("handler", PLAIN)
async def test_a_plain_callable_runs_in_another_thread(handler: Any) -> None:
    assert not is_async(handler)
    async with open_organism(one(handler)) as organism:
        assert await organism.ask(Ask("x")) != Reply(str(threading.get_ident()))


def test_a_circle_of_wrappers_and_an_object_of_every_name_are_seen_through() -> None:
    def round_and_round(payload: Any, metadata: Any) -> None: ...

    round_and_round.__wrapped__ = round_and_round  # type: ignore[attr-defined]

    class Everything:
        def __getattr__(self, name: str) -> Any:
            return Everything()

        def __call__(self, payload: Any, metadata: Any) -> None: ...

    for handler in (round_and_round, Everything()):
        assert not is_async(handler)
        assert not wants_host(handler, "trio")


# -- in a thread ----------------------------------------------------------------------------------


async def test_a_plain_handler_sees_its_callers_context_and_its_own_metadata() -> None:
    seen: list[Any] = []

    def look(payload: Ask, metadata: HandlerMetadata) -> None:
        seen.append((whose.get(), payload, metadata.conversation, metadata.attempt))
        whose.set("the handler's")

    async with open_organism(one(look)) as organism:
        whose.set("the caller's")
        receipt = await organism.send(Ask("x"))
        await organism.wait(receipt)
    assert seen == [("the caller's", Ask("x"), receipt.conversation, 1)]
    assert whose.get() == "the caller's"


async def test_two_plain_handlers_run_side_by_side() -> None:
    both = threading.Barrier(2)

    def meet(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        both.wait(LONGEST)
        return HandlerResponse.respond(Reply("met"))

    async with open_organism(one(meet)) as organism, trio.open_nursery() as nursery:
        nursery.start_soon(organism.ask, Ask("a"))
        nursery.start_soon(organism.ask, Ask("b"))


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), StopIteration(), GeneratorExit("x")])
async def test_whatever_a_plain_handler_raises_is_a_failed_dispatch(error: BaseException, held: Held) -> None:
    held.raises = error
    held.released.release()
    async with open_organism(one(held)) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Ask("x"))
        assert caught.value.outcome.state is ConversationState.FAILED
        held.raises = None
        held.released.release()
        assert await organism.ask(Ask("y")) == Reply("y")


@pytest.mark.parametrize(
    ("slip", "kind"),
    [(lambda payload, metadata: here_async(payload, metadata), "coroutine"), (lambda p, m: Later(), "Later")],
)
async def test_a_plain_handler_that_returns_an_awaitable_fails_and_is_told_so(slip: Any, kind: str) -> None:
    async with open_organism(one(slip)) as organism:
        with pytest.raises(ConversationFailed) as caught:
            await organism.ask(Ask("x"))
    assert caught.value.outcome.cause is not None
    assert caught.value.outcome.cause.exception == "TypeError"
    assert caught.value.outcome.cause.text == (
        f"one raised TypeError: the handler of one is a plain function and returned an awaitable ({kind}); "
        "expected its answer: make the function async and await it there"
    )


class Later:
    def __await__(self) -> Iterator[None]:
        yield


async def test_more_than_max_sync_handlers_wait_and_hold_their_slots(held: Held) -> None:
    config = config_of(
        ListenerConfig("one", Ask, held, responds_with=Reply), max_sync_handlers=2, max_concurrent_handlers=3
    )
    async with open_organism(config) as organism, trio.open_nursery() as nursery:
        for name in "abcd":
            nursery.start_soon(organism.ask, Ask(name))
        await held.wait_entered()
        await held.wait_entered()
        await until(lambda: organism.statistics()["threads"]["waiting"])
        statistics = organism.statistics()
        assert statistics["threads"] == {"busy": 2, "abandoned": 0, "waiting": 1}
        assert statistics["handlers_running"] == 3
        assert len(held.calls) == 2
        for _ in range(4):
            held.released.release()
    assert sorted(held.calls) == ["a", "b", "c", "d"]
    assert organism.statistics()["threads"] == {"busy": 0, "abandoned": 0, "waiting": 0}


async def test_two_organisms_have_threads_of_their_own(held: Held) -> None:
    async with open_organism(one(held)) as first, open_organism(one(held)) as second:
        await first.send(Ask("x"))
        await held.wait_entered()
        assert first.statistics()["threads"]["busy"] == 1
        assert second.statistics()["threads"]["busy"] == 0
        held.released.release()


async def test_what_waits_for_messages_cannot_be_called_from_a_plain_handler() -> None:
    raised: list[type[BaseException]] = []

    def asks(payload: Ask, metadata: HandlerMetadata) -> None:
        waiting: list[tuple[Callable[..., Awaitable[Any]], *tuple[Any, ...]]] = [
            (organism.ask, payload),
            (organism.wait, payload),
            (organism.wait_idle,),
        ]
        for waits, *args in waiting:
            with pytest.raises(WouldDeadlock):
                trio.from_thread.run(waits, *args)
        for get in (get_todo_registry, get_context_buffer, get_event_bus):
            with pytest.raises(NoDispatch):
                get()
        trio.from_thread.run_sync(raised.append, WouldDeadlock)

    async with open_organism(one(asks)) as organism:
        outcome = await organism.wait(await organism.send(Ask("x")))
    assert outcome.state is ConversationState.COMPLETED
    assert raised == [WouldDeadlock]


async def test_a_plain_handler_may_await_on_trio_through_its_thread() -> None:
    def naps(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        trio.from_thread.run(trio.sleep, 0.001)
        return HandlerResponse.respond(Reply("slept"))

    async with open_organism(one(naps)) as organism:
        assert await organism.ask(Ask("x")) == Reply("slept")
