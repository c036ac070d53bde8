"""Claims of pump/run_queues.py: fair by source first, then by conversation; one source costs nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.memory.threads import Thread
from phloem.pump.origin import Origin
from phloem.pump.run_queue import RunQueue
from phloem.pump.run_queues import RunQueues


class Talk:
    """A conversation."""

    def __init__(self, name: str, source: Origin | None) -> None:
        self.name, self.source = name, source


class Item:
    """A delivery; ``line`` None: its listener has no limit."""

    def __init__(
        self, talk: Talk, line: str | None = None, name: str = "", thread: Thread | None = None
    ) -> None:
        self.conversation: Any = talk
        self.line: Any = line
        self.name = name
        self.thread = thread or Thread(name, str(line), None, 1, lasting=False)
        self.order = 0

    def __repr__(self) -> str:
        return self.name


def everyone(line: str | None) -> bool:
    return True


def take(queue: RunQueues[Item], has_room: Callable[[Any], bool] = everyone) -> str | None:
    item = queue.take(has_room)
    if item is None:
        return None
    queue.release(item.thread)
    return item.name


def drained(queue: RunQueues[Item]) -> list[str]:
    names = []
    while (name := take(queue)) is not None:
        names.append(name)
    assert len(queue) == 0
    return names


def flood(queue: RunQueues[Item], source: Origin | None, name: str, count: int, *lines: str | None) -> None:
    """Many conversations of one message each, over these lines in turn."""
    for number in range(count):
        line = lines[number % len(lines)] if lines else None
        queue.put([Item(Talk(f"{name}{number}", source), line, f"{name}{number}")])


@pytest.mark.parametrize("depth_first", [False, True])
def test_a_flooding_source_delays_another_by_at_most_one_message_however_many_conversations_it_has(
    depth_first: bool,
) -> None:
    queue = RunQueues[Item](depth_first=depth_first)
    flood(queue, Origin("flood"), "f", 500)
    assert take(queue) == "f0"
    queue.put([Item(Talk("calm", Origin("calm")), None, "calm")])
    assert take(queue) == "calm", "the flood has had its turn"


def test_a_source_that_came_later_stands_behind_whoever_has_waited_for_longer() -> None:
    queue = RunQueues[Item](depth_first=False)
    flood(queue, None, "s", 2)
    assert take(queue) == "s0"
    flood(queue, Origin("new", born=99), "n", 2)
    assert [take(queue), take(queue)] == ["s1", "n0"]


def test_new_sources_without_end_hold_up_nobody_without_end() -> None:
    count = itertools.count(1)
    queue = RunQueues[Item](depth_first=False, count=count)
    flood(queue, None, "s", 3)
    taken = []
    for number in range(6):
        flood(queue, Origin("new", born=next(count)), f"n{number}", 1)
        taken.append(str(take(queue))[0])
    assert taken.count("s") == 3


def test_each_of_several_flooding_sources_goes_before_another_once_at_most() -> None:
    queue = RunQueues[Item](depth_first=False)
    for name in "abc":
        flood(queue, Origin(name), name, 50, "x", "y", None)
    for _ in range(10):
        take(queue)
    queue.put([Item(Talk("calm", Origin("calm")), "x", "calm")])
    before = [take(queue) for _ in range(4)]
    assert "calm" in before
    others = [str(name)[0] for name in before[: before.index("calm")]]
    assert len(others) == len(set(others))


def test_strangers_without_a_source_are_one_source_together() -> None:
    queue = RunQueues[Item](depth_first=False)
    flood(queue, None, "s", 4)
    flood(queue, Origin("a"), "a", 2)
    assert drained(queue) == ["s0", "a0", "s1", "a1", "s2", "s3"]


def test_within_a_source_conversations_take_turns() -> None:
    queue = RunQueues[Item](depth_first=False)
    source, other = Origin("a"), Origin("b")
    loud, quiet = Talk("loud", source), Talk("quiet", source)
    queue.put([Item(loud, None, f"l{n}") for n in range(3)])
    queue.put([Item(quiet, None, "q0")])
    flood(queue, other, "b", 4)
    assert drained(queue) == ["l0", "b0", "q0", "b1", "l1", "b2", "l2", "b3"]


def test_urgent_sources_go_first_and_take_turns_among_themselves() -> None:
    queue = RunQueues[Item](depth_first=False)
    flood(queue, None, "s", 3)
    flood(queue, Origin("u", urgent=True), "u", 2)
    flood(queue, Origin("v", urgent=True), "v", 2)
    assert drained(queue) == ["u0", "v0", "u1", "v1", "s0", "s1", "s2"]


def test_an_urgent_one_without_room_holds_up_nobody() -> None:
    queue = RunQueues[Item](depth_first=False)
    flood(queue, None, "s", 2, "free")
    flood(queue, Origin("u", urgent=True), "u", 1, "busy")
    assert take(queue, lambda line: line == "free") == "s0"
    assert take(queue) == "u0"


def test_who_waits_for_a_busy_listener_keeps_its_place_there_whatever_turns_it_has_elsewhere() -> None:
    queue = RunQueues[Item](depth_first=False)
    calm = Origin("calm")
    for name in ("f", "g", "h"):
        flood(queue, Origin(name), name, 50, "busy")
    queue.put([Item(Talk("calm", calm), "busy", "calm")])
    served = []
    for number in range(4):
        queue.put([Item(Talk(f"quick{number}", calm), "quick", "quick")])
        assert take(queue, lambda line: line == "quick") == "quick"
        served.append(take(queue, lambda line: line == "busy"))
    assert served == ["f0", "g0", "h0", "calm"]


def test_a_source_with_more_lines_has_no_more_turns() -> None:
    queue = RunQueues[Item](depth_first=False)
    flood(queue, Origin("wide"), "w", 30, "x", "y", "z", None)
    flood(queue, Origin("narrow"), "n", 10, "x")
    first = [str(take(queue))[0] for _ in range(20)]
    assert first.count("n") == 10


def test_depth_first_holds_within_a_source_beside_another() -> None:
    queue = RunQueues[Item](depth_first=True)
    talk = Talk("deep", Origin("deep"))
    queue.put([Item(talk, "x", "1"), Item(talk, "y", "2")])
    queue.put([Item(talk, "y", "1.1"), Item(talk, "x", "1.2")])
    flood(queue, None, "s", 4)
    assert drained(queue) == ["1.1", "s0", "1.2", "s1", "1", "s2", "2", "s3"]


def test_what_stands_behind_a_thread_comes_forward_in_its_own_source() -> None:
    queue = RunQueues[Item](depth_first=False)
    a, b = Origin("a"), Origin("b")
    thread, talk = Thread("t", "l", None, 1, lasting=False), Talk("a", a)
    first, second = Item(talk, "l", "a0", thread), Item(talk, "l", "a1", thread)
    queue.put([first])
    queue.put([second])
    assert queue.take(everyone) is first
    flood(queue, b, "b", 2)
    assert len(queue) == 2
    queue.release(thread)
    assert thread.occupant is second
    assert drained(queue) == ["b0", "a1", "b1"]


def test_one_that_is_discarded_stands_nowhere_any_more_and_its_source_has_no_turn() -> None:
    queue = RunQueues[Item](depth_first=False)
    gone = Item(Talk("a", Origin("a")), "x", "gone")
    queue.put([gone])
    flood(queue, Origin("b"), "b", 1, "y")
    flood(queue, Origin("c"), "c", 1, "y")
    queue.discard(gone)
    assert len(queue) == 2
    assert drained(queue) == ["b0", "c0"]


def test_one_that_runs_again_stands_in_its_source_again() -> None:
    queue = RunQueues[Item](depth_first=False)
    retried = Item(Talk("a", Origin("a")), None, "again")
    queue.put([retried])
    assert queue.take(everyone) is retried
    flood(queue, Origin("b"), "b", 2)
    queue.again(retried)
    assert drained(queue) == ["b0", "again", "b1"]


def test_nothing_is_kept_of_a_source_that_has_nothing_waiting() -> None:
    queue = RunQueues[Item](depth_first=False)
    for number in range(20):
        flood(queue, Origin(str(number)), "x", 2, "l", None)
    assert len(drained(queue)) == 40
    assert (queue._several, queue._entered, queue._urgent, queue._others) == ({}, {}, {}, {})


def test_nothing_is_kept_of_sources_that_come_and_go_while_others_always_wait() -> None:
    queue = RunQueues[Item](depth_first=False)
    for number in range(100):
        flood(queue, Origin("one"), "1", 1)
        flood(queue, Origin("two"), "2", 1)
        flood(queue, Origin(f"guest {number}"), "g", 1)
        for _ in range(3 if number else 1):
            assert take(queue)
    assert len(queue) == 2
    assert len(queue._entered) <= 4
    assert len(queue._others[None]) <= 4


def test_messages_that_come_and_are_cut_while_a_line_has_no_room_leave_nothing_behind() -> None:
    queue = RunQueues[Item](depth_first=False)
    flood(queue, Origin("stays"), "s", 1, "busy")
    flood(queue, Origin("stays too"), "t", 1, "busy as well")
    source = Origin("goes")
    for _ in range(100):
        cut = Item(Talk("cut", source), "busy", "cut")
        queue.put([cut])
        queue.discard(cut)
        queue.release(cut.thread)
        assert take(queue, lambda line: False) is None
    assert len(queue._others["busy"]) <= 2
    assert drained(queue) == ["s0", "t0"]


SOURCES = [None, Origin("a"), Origin("b"), Origin("u", urgent=True)]
step = st.tuples(
    st.sampled_from(["put", "put", "take", "discard", "again", "release"]),
    st.integers(0, 3),  # source
    st.integers(0, 1),  # conversation of it
    st.sampled_from(["x", "y", None]),
    st.integers(0, 1),  # thread of it
    st.sets(st.sampled_from(["x", "y", None])),  # lines with room
)


@pytest.mark.parametrize("depth_first", [False, True])
@given(steps=st.lists(step, max_size=60))
def test_whatever_happens_what_enters_leaves_once_and_never_a_line_without_room(
    depth_first: bool, steps: list[Any]
) -> None:
    queue = RunQueues[Item](depth_first=depth_first)
    talks = [[Talk(f"{n}.{m}", source) for m in range(2)] for n, source in enumerate(SOURCES)]
    threads: dict[Any, Thread] = {}
    waiting: list[Item] = []
    running: list[Item] = []
    for what, n, m, line, t, room in steps:
        if what == "put":
            key = (n, m, line, t)
            thread = threads.setdefault(key, Thread(str(key), str(line), None, 1, lasting=False))
            item = Item(talks[n][m], line, str(len(waiting)), thread)
            queue.put([item])
            waiting.append(item)
        elif what == "take":
            heads = [item for item in waiting if item.thread.occupant is item and item.line in room]
            taken = queue.take(room.__contains__)
            assert (taken is None) == (not heads)
            if taken is not None:
                assert taken in heads
                urgent = any(item.conversation.source is SOURCES[3] for item in heads)
                assert (taken.conversation.source is SOURCES[3]) == urgent
                waiting.remove(taken)
                running.append(taken)
        elif what == "discard" and waiting:
            item = waiting.pop(n % len(waiting))
            queue.discard(item)
            if item.thread.occupant is item:
                queue.release(item.thread)
        elif what == "again" and running:
            item = running.pop()
            queue.again(item)
            waiting.append(item)
        elif what == "release" and running:
            queue.release(running.pop(0).thread)
        assert len(queue) == sum(item.thread.occupant is item for item in waiting)
    for item in running:
        queue.release(item.thread)
    left = []
    while (taken := queue.take(everyone)) is not None:
        left.append(taken)
        queue.release(taken.thread)
    assert sorted(map(id, left)) == sorted(map(id, waiting))
    assert len(queue) == 0


@pytest.mark.parametrize("depth_first", [False, True])
@given(steps=st.lists(step, max_size=40))
def test_with_one_source_it_does_what_its_run_queue_does(depth_first: bool, steps: list[Any]) -> None:
    both: tuple[Any, Any] = (
        RunQueues[Item](depth_first=depth_first),
        RunQueue[Item](depth_first=depth_first),
    )
    source = Origin("only")
    talks = [Talk(str(n), source) for n in range(4)]
    told: tuple[list[Any], list[Any]] = ([], [])
    for queue, names in zip(both, told, strict=True):
        for number, (what, n, _, line, _, room) in enumerate(steps):
            if what == "put":
                queue.put([Item(talks[n], line, str(number))])
            else:
                item = queue.take(room.__contains__)
                names.append(item and item.name)
    assert told[0] == told[1]
