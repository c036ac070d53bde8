"""Claims of memory/history.py."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.memory.history import BufferSlot, Forgotten, History, Record, utf8_size


@dataclass
class Box:
    """A payload that whoever has it can change."""

    items: list[str]


def read_box(kind: type[Box], text: str) -> Box:
    return kind(text.split())


def record(
    order: int,
    text: str = "a b",
    *,
    sender: str = "ann",
    type: str = "Box",
    immutable: Any = None,
    **more: Any,
) -> Record:
    made = Record(
        order,
        f"m-{order}",
        more.pop("thread_id", "t-1"),
        sender,
        more.pop("to", "bob"),
        type,
        text,
        read_box if immutable is None else None,
        Box if immutable is None else immutable,
        float(order),
        more.pop("own_name", None),
        more.pop("usage", ""),
        more.pop("nudge", ""),
    )
    made.index = more.pop("index", order)
    assert not more
    return made


def history(count: int, forgotten: int = 0) -> History:
    return History([record(n, str(n), index=n + forgotten) for n in range(count)], forgotten)


def words(slots: Sequence[BufferSlot] | History) -> list[str]:
    return ["…" if isinstance(slot.payload, Forgotten) else slot.payload.items[0] for slot in slots]


# -- what a slot says --------------------------------------------------------------------------
def test_a_slot_says_everything_the_handler_was_told() -> None:
    (slot,) = History([record(3, own_name="bob", usage="How.", nudge="Now.", index=7)])
    assert slot.payload == Box(["a", "b"])
    assert dataclasses.asdict(slot.metadata) == {
        "thread_id": "t-1",
        "from_id": "ann",
        "to_id": "bob",
        "slot_index": 7,
        "timestamp": "1970-01-01T00:00:03.000000Z",
        "payload_type": "Box",
        "own_name": "bob",
        "is_self_call": False,
        "usage_instructions": "How.",
        "todo_nudge": "Now.",
        "message_id": "m-3",
    }


def test_a_self_call_says_so() -> None:
    (slot,) = History([record(1, sender="bob")])
    assert slot.metadata.is_self_call


def test_slots_their_metadata_and_markers_are_frozen() -> None:
    marker, slot = history(1, forgotten=2)
    for frozen, field in ((slot, "payload"), (slot.metadata, "from_id"), (marker.payload, "count")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, field, None)


# -- what is handed out ------------------------------------------------------------------------
def test_a_payload_is_made_anew_at_each_access_so_mutating_it_changes_nothing() -> None:
    held = History([record(1)])
    first = held[0].payload
    first.items.clear()
    first.items = None
    for slot in (held[0], held[-1], next(iter(held)), held[:][0], held.get_by_type("box")[0]):
        assert slot.payload == Box(["a", "b"])
        assert slot.payload is not first


def test_an_immutable_payload_is_shared() -> None:
    payload = ("a", "b")
    held = History([record(1, immutable=payload)])
    assert held[0].payload is held[0].payload is next(iter(held)).payload is payload


def test_a_record_of_an_immutable_payload_keeps_no_text_that_nobody_reads_again() -> None:
    made = Record(1, "m", "t", "a", "b", "Box", "x" * 9, None, ("x",), 0.0, None, "", "")
    assert (made.text, made.size, made.slot.payload) == ("", 9, ("x",))


def test_a_payload_that_can_no_longer_be_made_spoils_its_own_slot_only() -> None:
    def refuses(_: object, text: str) -> Any:
        raise ValueError("changed its mind")

    bad = Record(1, "m-1", "t", "eve", "b", "Bad", "x", refuses, None, 0.0, None, "", "")
    held = History([record(0), bad, record(2)])
    with pytest.raises(ValueError, match="changed its mind"):
        _ = held[1]
    assert len(held) == 3
    assert [held[0].payload, held[2].payload] == [Box(["a", "b"])] * 2
    assert len(held.get_from("eve")) == 1, "looking for it reads nothing"
    assert len(held.get_by_type("Box")) == 2


def test_the_size_of_a_text_is_its_bytes_in_utf_8() -> None:
    assert [utf8_size(text) for text in ("", "abc", "é", "€", "😀", "a😀")] == [0, 3, 2, 3, 4, 5]


# -- as a sequence -----------------------------------------------------------------------------
@given(
    count=st.integers(0, 6),
    forgotten=st.integers(0, 3),
    start=st.none() | st.integers(-9, 9),
    stop=st.none() | st.integers(-9, 9),
    step=st.sampled_from([None, 1, 2, 3, -1, -2]),
)
def test_it_is_the_list_of_its_slots_to_whoever_indexes_slices_or_iterates(
    count: int, forgotten: int, start: int | None, stop: int | None, step: int | None
) -> None:
    held = history(count, forgotten)
    model = (["…"] if forgotten else []) + [str(n) for n in range(count)]
    assert len(held) == len(model)
    assert words(held) == model
    assert words(list(reversed(held))) == model[::-1]
    assert words(held[start:stop:step]) == model[start:stop:step]
    if start is not None:
        assert words(held.get_slice(start, stop)) == model[start:stop]
    for index in range(-len(model), len(model)):
        assert words([held[index]]) == [model[index]]
        assert words(held[start:stop][index : index + 1]) == model[start:stop][index : index + 1]
    for index in (-len(model) - 1, len(model)):
        with pytest.raises(IndexError):
            _ = held[index]
    assert bool(held) == bool(model)


@pytest.mark.parametrize("index", ["0", 1.0, None, (0,)])
def test_an_index_that_is_none_is_a_type_error(index: Any) -> None:
    with pytest.raises(TypeError):
        _ = history(2)[index]


def test_a_step_of_zero_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="zero"):
        _ = history(2)[::0]


def test_a_slot_is_found_in_its_history_by_what_it_says() -> None:
    held = history(3)
    assert held[1] in held
    assert held.index(held[2]) == 2
    assert held.count(held[0]) == 1
    assert history(3)[1] in held, "the same message, read by somebody else"
    assert history(4)[3] not in held


def test_it_says_how_long_it_is_and_shows_no_payload() -> None:
    assert repr(history(2, forgotten=5)) == "<History of 3 slots>"
    assert repr(history(0)) == "<History of 0 slots>"


# -- what is forgotten -------------------------------------------------------------------------
def test_the_first_slot_says_how_many_are_gone_and_the_next_index_goes_on() -> None:
    marker, first, _ = history(2, forgotten=3)
    assert marker.payload == Forgotten(3)
    assert (marker.metadata.from_id, marker.metadata.payload_type) == ("system", "Forgotten")
    assert (marker.metadata.slot_index, first.metadata.slot_index) == (2, 3)
    assert marker.metadata.thread_id == first.metadata.thread_id


def test_where_everything_is_gone_the_marker_stands_alone() -> None:
    (marker,) = History((), 4)
    assert marker.payload == Forgotten(4)


def test_a_slice_has_the_marker_only_if_it_begins_with_it() -> None:
    held = history(3, forgotten=2)
    assert words(held[:2]) == ["…", "0"]
    assert words(held[1:]) == ["0", "1", "2"]
    assert words(held[1:][0:]) == ["0", "1", "2"]
    assert words(held.get_slice(-2)) == ["1", "2"]


# -- looked through ----------------------------------------------------------------------------
def test_by_type_and_by_sender_are_without_case_exact_and_in_order() -> None:
    rows = [("ann", "Box"), ("Ann", "box"), ("anna", "Boxes"), ("straße", "Box")]
    held = History([record(n, str(n), sender=who, type=what) for n, (who, what) in enumerate(rows)], 9)
    assert words(held.get_by_type("BOX")) == ["0", "1", "3"]
    assert words(held.get_from("ANN")) == ["0", "1"]
    assert words(held.get_from("STRASSE")) == ["3"]
    assert words(held.get_by_type("Box").get_from("ann")) == ["0", "1"]
    for nothing in (held.get_by_type(""), held.get_from("nobody"), held.get_by_type("Bo")):
        assert list(nothing) == []


# -- with what is being handled ----------------------------------------------------------------
def test_messages_being_handled_stand_at_their_places_and_the_kept_ones_stay_as_they_are() -> None:
    kept = History([record(order, str(order)) for order in (1, 4, 6)], 2)
    assert words(kept.joined([record(5, "5"), record(2, "2")])) == ["…", "1", "2", "4", "5", "6"]
    assert words(kept) == ["…", "1", "4", "6"]
    assert kept.joined([]) is kept


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_joining_is_merging_by_order(kept: set[int], running: set[int]) -> None:
    running -= kept
    held = History([record(order, str(order)) for order in sorted(kept)])
    joined = held.joined([record(order, str(order)) for order in running])
    assert words(joined) == [str(order) for order in sorted(kept | running)]
    assert all(a.metadata.slot_index < b.metadata.slot_index for a, b in itertools.pairwise(joined))
