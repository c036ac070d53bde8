"""In a scope, only what it leaves open is said; and no call made for a whole bus is a call here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from inspect import Parameter
from typing import Any

import pytest

from phloem.errors import AccessRefused, InvalidEvent
from phloem.events.emitting import COMMITTED, Emitters
from phloem.events.scope import Scope
from phloem.events.scoped_emitting import ScopedEmitters
from phloem.events.types import EventType
from support.emits import PLACE, TABLE, Emit, Recorder, arguments

each = pytest.mark.parametrize("emit", TABLE, ids=lambda emit: emit.type)
BY_KEYWORD = {*PLACE, "correlation_id", "is_error"}
WHOLE = Scope("the stream_id", "the node_id", "the execution_id")


def split(emit: Emit, given: Mapping[str, object]) -> tuple[list[object], dict[str, object]]:
    """What is given by position in a scope, and what by keyword."""
    by_position = [value for name, value in given.items() if name not in BY_KEYWORD]
    return by_position, {name: value for name, value in given.items() if name in BY_KEYWORD}


def without_place(emit: Emit) -> dict[str, object]:
    return arguments(*(name for name in emit.parameters if name not in PLACE))


def test_they_are_those_of_the_bus() -> None:
    def names(of: type) -> set[str]:
        return {name for name in dir(of) if name.startswith("emit")}

    assert names(ScopedEmitters) == names(Emitters)


@each
def test_it_takes_what_its_namesake_takes_and_no_place_by_position(emit: Emit) -> None:
    found = inspect.signature(emit.of(ScopedEmitters(Recorder(), Scope()))).parameters
    assert set(found) == set(emit.parameters)
    by_position = [name for name, each in found.items() if each.kind is Parameter.POSITIONAL_OR_KEYWORD]
    assert by_position == [name for name in emit.parameters if name not in BY_KEYWORD]
    assert {each.kind for name, each in found.items() if name in BY_KEYWORD} == {Parameter.KEYWORD_ONLY}
    for name, parameter in found.items():
        assert parameter.default == (None if name in PLACE else emit.parameters[name])


@each
def test_its_help_is_that_of_its_namesake(emit: Emit) -> None:
    assert emit.of(ScopedEmitters).__doc__ == emit.of(Emitters).__doc__


@each
def test_the_scope_says_where(emit: Emit) -> None:
    given, bus = without_place(emit), Recorder()
    by_position, by_keyword = split(emit, given)
    assert emit.of(ScopedEmitters(bus, WHOLE))(*by_position, **by_keyword) is COMMITTED
    event = bus.only
    assert event.type is EventType(emit.type)
    assert (event.stream_id, event.node_id, event.execution_id) == tuple(arguments(*PLACE).values())
    assert dict(event.data) == emit.data(given)
    assert list(event.data) == list(emit.keys)
    assert event.correlation_id == given.get("correlation_id")


@each
def test_where_it_is_left_open_it_says_the_same_by_keyword_as_a_bus(emit: Emit) -> None:
    given, scoped, whole = arguments(*emit.parameters), Recorder(), Recorder()
    by_position, by_keyword = split(emit, given)
    emit.of(ScopedEmitters(scoped, Scope()))(*by_position, **by_keyword)
    emit.of(whole)(**given)
    assert scoped.events == whole.events


@each
def test_a_call_by_keyword_that_was_made_for_a_bus_is_good_here(emit: Emit) -> None:
    given, bus = arguments(*emit.parameters), Recorder()
    emit.of(ScopedEmitters(bus, WHOLE))(**given)
    assert dict(bus.only.data) == emit.data(given)


@each
def test_no_call_by_position_that_was_made_for_a_bus_is_good_here(emit: Emit) -> None:
    bus = Recorder()
    values = list(arguments(*emit.parameters).values())
    for count in range(len(emit.required), len(values) + 1):
        with pytest.raises(TypeError):
            emit.of(ScopedEmitters(bus, Scope()))(*values[:count])
        with pytest.raises(TypeError):
            emit.of(ScopedEmitters(bus, WHOLE))(*values[:count])
    assert bus.events == []


@each
def test_defaults_are_those_of_the_bus(emit: Emit) -> None:
    given = arguments(*(name for name in emit.required if name not in PLACE))
    bus = Recorder()
    emit.of(ScopedEmitters(bus, WHOLE))(**given)
    assert dict(bus.only.data) == emit.data(given)


@each
def test_another_place_is_refused_and_nothing_is_published(emit: Emit) -> None:
    bus = Recorder()
    for field in emit.place:
        with pytest.raises(AccessRefused, match=f"{field}: found 'other', expected 'the {field}'"):
            emit.of(ScopedEmitters(bus, WHOLE))(**without_place(emit), **{field: "other"})
    assert bus.events == []


@each
def test_what_nobody_says_is_named_and_nothing_is_published(emit: Emit) -> None:
    needed = [name for name in emit.required if name in PLACE]
    assert "stream_id" in needed
    for field in needed:
        bus = Recorder()
        said = arguments(*emit.place)
        del said[field]
        with pytest.raises(InvalidEvent, match=f"{field}: found none"):
            emit.of(ScopedEmitters(bus, Scope(**said)))(**without_place(emit))  # type: ignore[arg-type]
        with pytest.raises(InvalidEvent, match=f"{field}: found none"):
            emit.of(ScopedEmitters(bus, Scope()))(**without_place(emit), **said)
        assert bus.events == []


@each
def test_it_carries_what_the_scope_says_it_follows_from(emit: Emit) -> None:
    bus = Recorder()
    scope = Scope("s", "n", "e", "of the scope", "the cause")
    given = without_place(emit)
    emit.of(ScopedEmitters(bus, scope))(**given)
    event = bus.only
    assert event.correlation_id == given.get("correlation_id", "of the scope")
    assert event.cause_id == "the cause"


async def test_they_may_be_awaited_and_publish_once() -> None:
    bus = Recorder()
    told: Any = ScopedEmitters(bus, WHOLE).emit_goal_progress(0.5, {})
    assert await told is None
    assert await told is None
    assert len(bus.events) == 1


def test_calls_read_as_they_are_meant() -> None:
    bus = Recorder()
    scoped = ScopedEmitters(bus, Scope("s", "n", "e"))
    scoped.emit_goal_progress(0.5, {"fast": "met"})
    scoped.emit_tool_call_started("t1", "search", {"query": "phloem"})
    scoped.emit_tool_call_completed("t1", "search", "found", is_error=False)
    scoped.emit_state_changed("mood", "calm", "busy", "agent")
    scoped.emit_execution_failed("no budget", correlation_id="m")
    ScopedEmitters(bus, Scope("s")).emit_node_stalled("waits", node_id="n")
    assert [dict(event.data) for event in bus.events] == [
        {"progress": 0.5, "criteria_status": {"fast": "met"}},
        {"tool_use_id": "t1", "tool_name": "search", "tool_input": {"query": "phloem"}},
        {"tool_use_id": "t1", "tool_name": "search", "result": "found", "is_error": False},
        {"key": "mood", "old_value": "calm", "new_value": "busy", "scope": "agent"},
        {"error": "no budget"},
        {"reason": "waits"},
    ]
    assert {(event.stream_id, event.node_id) for event in bus.events} == {("s", "n")}
