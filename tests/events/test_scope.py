"""What a scope fills in, what it refuses, and what it leaves to be said."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from phloem.errors import AccessRefused, InvalidEvent
from phloem.events.scope import Scope
from phloem.events.types import AgentEvent
from support.emits import PLACE

EVENT = AgentEvent("custom", "s")
OWN = {"stream_id": "s", "node_id": "n", "execution_id": "e"}


class Liar(str):
    """A text that says it equals everything."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


@pytest.mark.parametrize("set_", list(product([True, False], repeat=3)))
@pytest.mark.parametrize("said", list(product([True, False], repeat=2)))
def test_an_event_gets_what_is_set_where_it_says_nothing(set_: Any, said: Any) -> None:
    sets: Any = {field: OWN[field] if is_set else None for field, is_set in zip(PLACE, set_, strict=True)}
    says: Any = {
        field: OWN[field] if is_said else None for field, is_said in zip(PLACE[1:], said, strict=True)
    }
    event = Scope(**sets).stamped(AgentEvent("custom", "s", **says))
    assert event == AgentEvent("custom", "s", **{field: says[field] or sets[field] for field in says})


@pytest.mark.parametrize("field", PLACE)
def test_an_event_of_another_place_is_refused(field: str) -> None:
    event = replace(EVENT, **{field: "other"})  # type: ignore[arg-type]
    with pytest.raises(AccessRefused, match=f"{field}: found 'other', expected '{OWN[field]}'"):
        Scope(**{field: OWN[field]}).stamped(event)


@pytest.mark.parametrize("field", ["correlation_id", "cause_id"])
def test_what_an_event_follows_from_is_the_publishers_to_say(field: str) -> None:
    scope = Scope(**{field: "of the scope"})
    assert getattr(scope.stamped(EVENT), field) == "of the scope"
    said: Any = {field: "said"}
    assert getattr(scope.stamped(replace(EVENT, **said)), field) == "said"
    assert getattr(Scope().stamped(EVENT), field) is None


def test_the_rest_of_an_event_stays() -> None:
    event = AgentEvent(
        "custom", "s", data={"a": [1]}, timestamp=datetime(2031, 1, 1, tzinfo=UTC), id="i", seq=9
    )
    assert Scope("s", "n", "e", "c", "k").stamped(event) == replace(
        event, node_id="n", execution_id="e", correlation_id="c", cause_id="k"
    )
    assert event.node_id is None, "the publisher's own is not touched"


def test_no_field_of_an_event_is_forgotten() -> None:
    event = AgentEvent("t", "s", "n", "e", {"a": 1}, datetime.now(UTC), "c", id="i", seq=9, cause_id="k")
    missing = [each.name for each in fields(AgentEvent) if getattr(event, each.name) == each.default]
    assert missing == [], "of each a value that is not its default"
    assert Scope().stamped(event) == event


def test_a_text_that_lies_about_being_equal_does_not_get_through() -> None:
    scope = Scope("s", "n", "e")
    event = scope.stamped(AgentEvent("custom", Liar("x"), Liar("y"), Liar("z")))
    assert [type(each) for each in (event.stream_id, event.node_id, event.execution_id)] == [str] * 3
    assert (event.stream_id, event.node_id, event.execution_id) == ("s", "n", "e")
    assert "".join(str(each) for each in scope.readable(Liar("x"), Liar("z"))) == "se"


@pytest.mark.parametrize("found", [None, "custom", {"type": "custom", "stream_id": "s"}, 3])
def test_what_is_no_event_is_refused(found: Any) -> None:
    with pytest.raises(InvalidEvent, match="expected an AgentEvent"):
        Scope("s").stamped(found)


@pytest.mark.parametrize("field", [*PLACE, "correlation_id", "cause_id"])
@pytest.mark.parametrize("found", ["", 0, b"s", ["s"]])
def test_a_field_is_a_text_or_none(field: str, found: Any) -> None:
    with pytest.raises(InvalidEvent, match=f"{field} of a scope: found .* expected a text"):
        Scope(**{field: found})


def test_narrowing_sets_more_and_keeps_the_rest() -> None:
    scope = Scope("s", correlation_id="c", cause_id="k")
    assert scope.narrowed(None, "n", None) == Scope("s", "n", None, "c", "k")
    assert scope.narrowed("s", None, "e") == Scope("s", None, "e", "c", "k")
    assert scope.narrowed(None, None, None) == scope
    assert scope == Scope("s", correlation_id="c", cause_id="k")


@pytest.mark.parametrize("field", PLACE)
def test_narrowing_to_another_place_is_refused(field: str) -> None:
    wanted = dict.fromkeys(PLACE) | {field: "other"}
    with pytest.raises(AccessRefused, match=f"{field}: found 'other'"):
        Scope("s", "n", "e").narrowed(**wanted)


def test_a_reader_is_held_to_stream_and_execution() -> None:
    scope = Scope("s", "n", "e")
    assert scope.readable(None, None) == ("s", "e") == scope.readable("s", "e")
    assert Scope().readable("any", None) == ("any", None)
    for asked in (("other", None), (None, "other"), ("", None), (None, "")):
        with pytest.raises(AccessRefused):
            scope.readable(*asked)


def test_who_emits_is_told_what_nobody_said() -> None:
    for field, ask in (
        ("stream_id", lambda: Scope(None, "n", "e").in_stream(None)),
        ("stream_id", lambda: Scope(None, "n", "e").at_node(None, None, None)),
        ("execution_id", lambda: Scope("s", "n").in_execution(None, None)),
        ("node_id", lambda: Scope("s", None, "e").at_node(None, None, None)),
    ):
        with pytest.raises(InvalidEvent, match=f"{field}: found none, expected .*{field}="):
            ask()
    assert Scope("s", "n").at_node(None, None, None) == ("s", "n", None), "an execution is not needed there"


def test_what_is_found_is_shown_short() -> None:
    with pytest.raises(AccessRefused) as caught:
        Scope("s").in_stream("x" * 10_000)
    assert len(str(caught.value)) < 200


def test_a_scope_does_not_change() -> None:
    scope: Any = Scope("s")
    with pytest.raises(FrozenInstanceError):
        scope.stream_id = "other"
