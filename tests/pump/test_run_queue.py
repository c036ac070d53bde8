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


@pytest.mark.parametrize("depth_first", [False, True])
def test_one_that_gets_more_to_wait_for_keeps_its_place(depth_first: bool) -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=depth_first)
    queue.put([Item("first", None, "1")])
    queue.put([Item("second", "x", "2")])
    queue.put([Item("first", None, "3")])
    taken = [queue.take(everyone) for _ in range(3)]
    assert [item.conversation for item in taken if item is not None] == ["first", "second", "first"]


class Plain:
    """The same decisions read off two plain tables, whatever it costs."""

    def __init__(self, *, depth_first: bool) -> None:
        self.depth_first = depth_first
        self.ready: list[Item] = []  # in order of arrival
        self.turns: dict[tuple[str, str | None], int] = {}  # since when a conversation waits for a line
        self.lines: dict[Thread, list[Item]] = {}  # whoever is first there is ready or runs
        self.turn = 0

    def put(self, items: list[Item]) -> None:
        entering = []
        for item in items:
            line = self.lines.setdefault(item.thread, [])
            line.append(item)
            if len(line) == 1:
                entering.append(item)
        for item in reversed(entering) if self.depth_first else entering:
            self.again(item)

    def again(self, item: Item) -> None:
        self.ready.append(item)
        if (item.conversation, item.line) not in self.turns:
            self.turn += 1
            self.turns[item.conversation, item.line] = self.turn

    def take(self, open_lines: set[str | None]) -> Item | None:
        shares = [share for share in self.turns if share[1] in open_lines]
        if not shares:
            return None
        whose = min(shares, key=lambda share: self.turns[share])[0]
        theirs = [item for item in self.ready if item.conversation == whose and item.line in open_lines]
        taken = theirs[-1 if self.depth_first else 0]
        self._leave(taken)
        self.turn += 1
        for share in self.turns:
            if share[0] == whose and share[1] in open_lines:
                self.turns[share] = self.turn
        return taken

    def discard(self, item: Item) -> None:
        if self.lines[item.thread][0] is item:
            self._leave(item)  # and stays first there until its thread is released
        else:
            self.lines[item.thread].remove(item)

    def release(self, thread: Thread) -> None:
        del self.lines[thread][0]
        if self.lines[thread]:
            self.again(self.lines[thread][0])

    def _leave(self, item: Item) -> None:
        self.ready.remove(item)
        if not any((each.conversation, each.line) == (item.conversation, item.line) for each in self.ready):
            del self.turns[item.conversation, item.line]


LINES = (None, "x", "y", "z")
MASKS = (*range(16), *[15] * 8)  # which of them have room; all of them in a third of the takes
STEPS = ("put", "put", "take", "take", "release", "again", "discard")


@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 4), st.sampled_from(MASKS)), max_size=150),
    st.integers(1, 5),
    st.integers(1, 4),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_whatever_is_done_to_it_the_next_one_is_the_one_that_plain_tables_say(
    steps: list[tuple[str, int, int]], conversations: int, lines: int, depth_first: bool, chance: Any
) -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=depth_first)
    plain = Plain(depth_first=depth_first)
    threads: dict[tuple[str, str | None], list[Thread]] = {}
    running: list[Item] = []
    count = 0

    def new_item() -> Item:
        nonlocal count
        count += 1
        whose, line = f"c{chance.randrange(conversations)}", chance.choice(LINES[:lines])
        item = Item(whose, line, str(count))
        known = threads.setdefault((whose, line), [])
        if known and chance.random() < 0.4:
            item.thread = chance.choice(known)
        else:
            known.append(item.thread)
        return item

    def end(item: Item) -> None:
        queue.release(item.thread)
        plain.release(item.thread)

    def take(open_lines: set[str | None]) -> Item | None:
        taken = queue.take(open_lines.__contains__)
        assert taken is plain.take(open_lines)
        return taken

    for kind, number, mask in steps:
        if kind == "put":
            items = [new_item() for _ in range(number)]
            queue.put(items)
            plain.put(items)
        elif kind == "take":
            for _ in range(number):
                taken = take({line for bit, line in enumerate(LINES) if mask >> bit & 1})
                if taken is not None:
                    running.append(taken)
        elif kind == "discard":
            waiting = [item for line in plain.lines.values() for item in line if item not in running]
            if waiting:
                item = chance.choice(waiting)
                first = plain.lines[item.thread][0] is item
                queue.discard(item)
                plain.discard(item)
                if first:
                    end(item)
        elif running:
            item = running.pop(chance.randrange(len(running)))
            if kind == "release":
                end(item)
            else:
                queue.again(item)
                plain.again(item)
        assert len(queue) == len(plain.ready)
        assert bool(queue) == bool(plain.ready)
    for item in running:
        end(item)
    while (left := take(set(LINES))) is not None:
        end(left)
    assert not len(queue)
    assert not any(plain.lines.values())


def test_one_that_does_not_wait_cannot_be_discarded_in_place_of_one_that_does() -> None:
    queue: RunQueue[Item] = RunQueue(depth_first=False)
    runs, waits, other = Item("c", "l", "runs"), Item("c", "l", "waits"), Item("d", "l", "other")
    queue.put([runs])
    assert queue.take(everyone) is runs
    queue.put([waits, other])
    with pytest.raises(KeyError):
        queue.discard(runs)
    assert len(queue) == 2
    assert drained(queue) == ["waits", "other"]
