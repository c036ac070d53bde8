"""Claims of pump/conversation.py."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phloem.pump.conversation import CUT_TRAIL_EVERY, KEPT_TRAIL, Trail, cycle_of, further


def trail_of(names: list[str]) -> Trail | None:
    trail: Trail | None = None
    for hops, name in enumerate(names, 1):
        trail = further(trail, hops, name)
    return trail


def length(trail: Trail | None) -> int:
    count = 0
    while trail is not None:
        trail = trail[1]
        count += 1
    return count


def test_the_shortest_repeating_run_is_named() -> None:
    assert cycle_of(trail_of(["start", "a", "b", "a", "b", "a", "b"])) == ("a", "b")
    assert cycle_of(trail_of(["a", "a"])) == ("a",)
    assert cycle_of(trail_of(["a", "b", "c"])) == ()
    assert cycle_of(None) == ()


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5), st.integers(2, 200))
def test_a_loop_of_any_length_is_found_however_long_it_ran(loop: list[str], times: int) -> None:
    names = loop * times
    cycle = cycle_of(trail_of(names))
    assert cycle
    kept = names[-KEPT_TRAIL:]
    assert kept[-len(cycle) :] == kept[-2 * len(cycle) : -len(cycle)]


@given(st.integers(1, 2000))
def test_a_trail_never_grows_with_the_conversation(hops: int) -> None:
    trail = trail_of(["x"] * hops)
    assert length(trail) <= CUT_TRAIL_EVERY + KEPT_TRAIL
    assert length(trail) >= min(hops, KEPT_TRAIL)
