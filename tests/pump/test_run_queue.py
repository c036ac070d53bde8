"""Claims of pump/run_queue.py."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.memory.threads import Thread
from phloem.pump.run_queue import RunQueue


class Item:
    """A delivery; ``line`` None: its listener has no limit."""

    def __init__(
        self, conversation: str, line: str | None = None, name: str = "", thread: Thread | None = None
    ) -> None:
        self.conversation: Any = conversation
        self.line: Any = line
        self.name = name
        self.thread = thread or Thread(name, str(line), None, 1, lasting=False)
        self.order = 0

    def __repr__(self) -> str:
        return self.name


def everyone(line: str | None) -> bool:
    return True


def drained(queue: RunQueue[Item]) -> list[str]:
    names = []
    while (item := queue.take(everyone)) is not None:
        names.append(item.name)
        queue.release(item.thread)
    return names


def test_breadth_first_is_the_order_of_arrival() -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=False)
    queue.put([Item("c", "x", "1"), Item("c", "y", "2")])
    queue.put([Item("c", "x", "3")])
    assert drained(queue) == ["1", "2", "3"]


def test_depth_first_takes_the_newest_batch_first_and_each_batch_in_order() -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=True)
    queue.put([Item("c", "x", "1"), Item("c", "y", "2")])
    queue.put([Item("c", "x", "1.1"), Item("c", "y", "1.2")])
    assert drained(queue) == ["1.1", "1.2", "1", "2"]


@pytest.mark.parametrize("depth_first", [False, True])
def test_a_flooding_conversation_delays_another_by_at_most_one_message(depth_first: bool) -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=depth_first)
    queue.put([Item("flood", f"l{n % 7}", f"f{n}") for n in range(100)])
    assert queue.take(everyone) is not None
    queue.put([Item("calm", "l3", "calm")])
    taken = [queue.take(everyone), queue.take(everyone)]
    assert "calm" in [item.name for item in taken if item is not None]


def test_who_waits_for_a_busy_listener_keeps_its_place_there_whatever_turns_it_has_elsewhere() -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=False)
    for flood in ("f1", "f2", "f3"):
        queue.put([Item(flood, "busy", f"{flood} {n}") for n in range(50)])
    queue.put([Item("calm", "busy", "calm")])
    served = []
    for _ in range(4):
        queue.put([Item("calm", "quick", "elsewhere")])  # its own quick traffic, while `busy` is busy
        quick = queue.take(lambda line: line == "quick")
        assert quick is not None
        assert quick.name == "elsewhere"
        item = queue.take(lambda line: line == "busy")  # and now it has room for one
        assert item is not None
        served.append(item.conversation)
    assert served == ["f1", "f2", "f3", "calm"]


def test_a_listener_without_room_is_passed_over_and_blocks_nobody() -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=False)
    queue.put([Item("c", "busy", "1"), Item("c", "free", "2")])
    taken = queue.take(lambda listener: listener == "free")
    assert taken is not None
    assert taken.name == "2"
    assert queue.take(lambda listener: listener == "free") is None
    assert len(queue) == 1


def test_a_thread_has_one_delivery_at_a_time_and_its_line_keeps_its_order() -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=False)
    thread = Thread("t", "l", None, 1, lasting=False)
    items = [Item("c", "l", str(n), thread) for n in range(3)]
    queue.put(items)
    assert queue.take(everyone) is items[0]
    assert queue.take(everyone) is None
    queue.release(thread)
    assert queue.take(everyone) is items[1]
    assert thread.occupant is items[1]


@pytest.mark.parametrize("depth_first", [False, True])
def test_one_that_is_discarded_stands_in_no_line_any_more(depth_first: bool) -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=depth_first)
    thread = Thread("t", "l", None, 1, lasting=False)
    first, second, third = (Item("c", "l", str(n), thread) for n in range(3))
    beside = Item("c", "l", "beside")
    queue.put([first])
    queue.put([second, beside])
    queue.put([third])
    queue.discard(second)
    queue.discard(first)
    queue.release(thread)
    queue.discard(beside)
    assert len(queue) == 1
    assert queue.take(everyone) is third
    assert len(queue) == 0
    assert queue.take(everyone) is None


def test_the_only_one_can_be_discarded() -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=False)
    item = Item("c", "l", "1")
    queue.put([item])
    queue.discard(item)
    assert not queue
    assert queue.take(everyone) is None


def test_one_taken_back_runs_again_on_the_thread_it_kept() -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=False)
    item = Item("c", "l", "1")
    queue.put([item])
    assert queue.take(everyone) is item
    queue.again(item)
    assert queue.take(everyone) is item


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=80),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_everything_put_is_taken_exactly_once_and_turns_are_fair(
    pairs: list[tuple[int, int]], depth_first: bool, chance: Any
) -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=depth_first)
    waiting: dict[str, int] = {}
    since: dict[str, dict[str, int]] = {}  # conversation -> others served since it began to wait
    for number, (conversation, listener) in enumerate(pairs):
        queue.put([Item(f"c{conversation}", f"l{listener}", str(number))])
        waiting[f"c{conversation}"] = waiting.get(f"c{conversation}", 0) + 1
        since.setdefault(f"c{conversation}", {})
    taken = []
    while (item := queue.take(everyone)) is not None:
        taken.append(item.name)
        served = item.conversation
        waiting[served] -= 1
        since[served] = {}
        for other, counts in since.items():
            if other != served and waiting[other]:
                counts[served] = counts.get(served, 0) + 1
                assert counts[served] <= 1, "served twice while another waited with room"
        queue.release(item.thread)
    assert sorted(taken, key=int) == [str(n) for n in range(len(pairs))]
