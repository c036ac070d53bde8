"""The conveniences say what the reference's said, commit when called, and may be awaited."""

from __future__ import annotations

import gc
import inspect
import warnings
from collections.abc import Awaitable, Coroutine
from typing import Any

import pytest
import trio
from trio.testing import assert_checkpoints

from phloem.errors import InvalidEvent
from phloem.events.emitting import COMMITTED, Committed, Emitters
from phloem.events.types import AgentEvent, EventType
from support.emits import TABLE, Emit, Recorder, arguments

each = pytest.mark.parametrize("emit", TABLE, ids=lambda emit: emit.type)


class Steps(trio.abc.Instrument):
    """How often a task was scheduled."""

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.task, self.count = task, 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task is self.task


class Refuses(Emitters):
    def emit(self, event: AgentEvent) -> AgentEvent:
        raise InvalidEvent(f"found {event.type}, expected nothing")


def tell(bus: Recorder) -> Committed:
    return bus.emit_goal_progress("s", 0.5, {})


def test_they_are_the_references_and_no_others() -> None:
    found = {name for name in dir(Emitters) if name.startswith("emit_")}
    assert found == {emit.method for emit in TABLE}
    assert len(found) == 18


@each
def test_it_takes_what_the_reference_takes_in_that_order(emit: Emit) -> None:
    found = inspect.signature(emit.of(Recorder())).parameters
    assert {name: parameter.default for name, parameter in found.items()} == emit.parameters
    assert list(found) == list(emit.parameters)
    assert {parameter.kind for parameter in found.values()} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


@each
def test_it_says_everything_it_was_given(emit: Emit) -> None:
    given, bus = arguments(*emit.parameters), Recorder()
    emit.of(bus)(*given.values())
    event = bus.only
    assert event == AgentEvent(
        EventType(emit.type),
        "the stream_id",
        given.get("node_id"),  # type: ignore[arg-type]
        given.get("execution_id"),  # type: ignore[arg-type]
        emit.data(given),
        correlation_id=given.get("correlation_id"),  # type: ignore[arg-type]
    )
    assert list(event.data) == list(emit.keys)


@each
def test_by_keyword_it_says_the_same(emit: Emit) -> None:
    given, one, other = arguments(*emit.parameters), Recorder(), Recorder()
    emit.of(one)(*given.values())
    emit.of(other)(**dict(reversed(given.items())))
    assert one.events == other.events


@each
def test_a_key_stands_in_the_data_also_when_nothing_was_given_for_it(emit: Emit) -> None:
    given, bus = arguments(*emit.required), Recorder()
    emit.of(bus)(*given.values())
    event = bus.only
    assert dict(event.data) == emit.data(given)
    assert list(event.data) == list(emit.keys)
    assert event.execution_id == given.get("execution_id")
    assert event.correlation_id is None


@each
def test_a_value_that_is_none_stays_in_the_data(emit: Emit) -> None:
    bus = Recorder()
    emit.of(bus)(**dict.fromkeys(emit.parameters) | arguments(*emit.place))
    assert dict(bus.only.data) == dict.fromkeys(emit.keys)


@each
def test_it_gives_what_may_be_awaited_and_is_no_coroutine(emit: Emit) -> None:
    method, bus = emit.of(Recorder()), Recorder()
    assert not inspect.iscoroutinefunction(method)
    told = emit.of(bus)(*arguments(*emit.required).values())
    assert isinstance(told, Awaitable)
    assert not isinstance(told, Coroutine)
    assert len(bus.events) == 1, "committed when called"


@each
def test_its_help_is_one_line(emit: Emit) -> None:
    text = emit.of(Emitters).__doc__
    assert text
    assert "\n" not in text
    assert sum(emit.of(Emitters).__doc__ == text for emit in TABLE) == 1


async def test_awaiting_is_one_checkpoint_and_gives_none() -> None:
    told: Awaitable[object] = tell(Recorder())
    with assert_checkpoints():
        assert await told is None
    steps = Steps(trio.lowlevel.current_task())
    trio.lowlevel.add_instrument(steps)
    await told
    trio.lowlevel.remove_instrument(steps)
    assert steps.count == 1


async def test_awaited_twice_it_has_happened_once() -> None:
    bus = Recorder()
    told = tell(bus)
    for _ in range(2):
        with assert_checkpoints():
            await told
    assert len(bus.events) == 1


async def test_several_tasks_may_await_the_same() -> None:
    told, done = tell(Recorder()), []

    async def wait() -> None:
        await told
        done.append(True)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
    assert len(done) == 3


async def test_cancelled_where_it_is_awaited_the_event_is_published_all_the_same() -> None:
    bus = Recorder()
    told = tell(bus)
    with trio.CancelScope() as scope:
        scope.cancel()
        await told
    assert scope.cancelled_caught
    assert len(bus.events) == 1
    await told
    await tell(bus)
    assert len(bus.events) == 2


def test_leaving_it_alone_is_no_mistake() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tell(Recorder())
        tell(Recorder()).__await__()  # begun by nobody
        gc.collect()


def test_what_is_shared_holds_nothing() -> None:
    shared: Any = COMMITTED
    assert tell(Recorder()) is COMMITTED
    with pytest.raises(AttributeError):
        shared.event = "mine"


@each
def test_what_emit_raises_the_caller_gets(emit: Emit) -> None:
    with pytest.raises(InvalidEvent, match=emit.type):
        emit.of(Refuses())(*arguments(*emit.required).values())


def test_a_bus_must_say_how_it_emits() -> None:
    class Forgetful(Emitters):
        pass

    with pytest.raises(TypeError, match="emit"):
        Forgetful()  # type: ignore[abstract]


def test_two_calls_never_share_data() -> None:
    bus = Recorder()
    bus.emit_node_stalled("s", "n")
    bus.emit_node_stalled("s", "n")
    one, other = bus.events
    assert one.data == other.data
    assert one.data is not other.data
