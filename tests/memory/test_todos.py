"""Watchers, eyebrows and nudges; above all, what a failed attempt takes back."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.config import WireLimits
from phloem.contract import contract_of
from phloem.memory.threads import Thread
from phloem.memory.todos import Todos, TodoWatcher, format_nudge
from phloem.primitives import TodoComplete
from phloem.wire.parsing import Parser

THREADS = ("t1", "t2", "t3")
KEYS = ("agent", "agent#2", "other")
NAMES = ("Reply", "reply", "STRASSE", "straße")
ACTS = ("begin", "register", "register", "close", "close", "all", "check", "end", "drop")


def thread(id: str = "t1") -> Thread:
    return Thread(id, "agent", None, 0, lasting=False)


def register(
    todos: Todos,
    id: str,
    on: Thread,
    *,
    key: str = "agent",
    wait_for: str = "Reply",
    sender: str = "",
    attempt: object = "attempt",
) -> None:
    todos.register(id, on, key, key.partition("#")[0], wait_for, sender, "", "2031", attempt)


def ids(watchers: Any) -> list[str]:
    return [watcher.id for watcher in watchers]


def test_a_todo_waits_until_its_message_has_come_and_stays_raised() -> None:
    todos, own = Todos(), thread()
    register(todos, "a", own)
    assert ids(todos.pending_for("agent")) == ["a"]
    assert todos.raised_for("agent") == []
    todos.check(("reply",), "shouter")
    assert todos.pending_for("agent") == []
    (watcher,) = todos.raised_for("agent")
    assert watcher == TodoWatcher("a", "t1", "agent", "Reply", "", "", True, "shouter", "2031")


def test_it_is_raised_once_by_the_first_that_matches() -> None:
    todos = Todos()
    register(todos, "a", thread())
    for sender in ("first", "second"):
        todos.check(("reply",), sender)
    assert [watcher.triggered_from for watcher in todos] == ["first"]


@pytest.mark.parametrize(
    ("wait_for", "names", "raised"),
    [
        ("Reply", ("reply",), True),
        ("rEPLY", ("reply",), True),
        ("STRASSE", ("strasse",), True),
        ("straße", ("strasse",), True),
        ("Reply", ("replying",), False),
        ("Rep", ("reply",), False),
        ("Reply ", ("reply",), False),
        ("my.Reply", ("reply",), False),
        ("Reply", ("answer", "reply"), True),  # by its class, where the element is called otherwise
        ("*", ("reply",), False),
    ],
)
def test_names_match_exactly_and_without_case(wait_for: str, names: tuple[str, ...], raised: bool) -> None:
    todos = Todos()
    register(todos, "a", thread(), wait_for=wait_for)
    todos.check(names, "anyone")
    assert bool(todos.raised_for("agent")) is raised


@pytest.mark.parametrize(
    ("wanted", "sender", "raised"),
    [("", "x", True), ("Shouter", "sHOUTER", True), ("shouter", "shouter#2", False), ("shouter", "", False)],
)
def test_a_sender_matches_exactly_and_without_case(wanted: str, sender: str, raised: bool) -> None:
    todos = Todos()
    register(todos, "a", thread(), sender=wanted)
    todos.check(("reply",), sender)
    assert bool(todos.raised_for("agent")) is raised


def test_twins_and_others_neither_see_nor_close_it() -> None:
    todos, own = Todos(), thread()
    register(todos, "a", own, key="agent#2")
    todos.check(("reply",), "x")
    assert todos.raised_for("agent") == todos.raised_for("AGENT#2") == []
    assert todos.close("a", "agent", "attempt") is None
    assert todos.close_all(own, "agent", "attempt") == 0
    assert ids(todos.raised_for("agent#2")) == ["a"]


def test_it_can_be_closed_once() -> None:
    todos, own = Todos(), thread()
    register(todos, "a", own)
    todos.settle("attempt", keep=True)
    closed = todos.close("a", "agent", "next")
    assert closed is not None
    assert not closed.eyebrow_raised
    assert todos.close("a", "agent", "next") is todos.close("a", "agent", "another") is None
    assert list(todos) == todos.pending_for("agent") == []
    assert todos.settle("next", keep=True) == [own]
    assert own.todos == 0


def test_close_all_takes_one_issuers_on_one_thread_only() -> None:
    todos, here, there = Todos(), thread("t1"), thread("t2")
    register(todos, "a", here)
    register(todos, "b", there)
    register(todos, "c", here, key="other")
    assert todos.close_all(here, "agent", "attempt") == 1
    assert ids(todos) == ["b", "c"]


def test_what_a_failed_attempt_closed_has_watched_on() -> None:
    todos = Todos()
    register(todos, "a", thread(), attempt="first")
    todos.settle("first", keep=True)
    todos.close("a", "agent", "second")
    todos.check(("reply",), "shouter")
    assert todos.raised_for("agent") == []
    assert todos.settle("second", keep=False) == []
    assert ids(todos.raised_for("agent")) == ["a"]


def test_what_a_failed_attempt_registered_never_was() -> None:
    todos, own = Todos(), thread()
    register(todos, "a", own)
    todos.check(("reply",), "shouter")
    assert todos.settle("attempt", keep=False) == [own]
    assert list(todos) == []
    assert own.todos == len(todos) == 0
    todos.check(("reply",), "shouter")
    assert todos.settle("attempt", keep=True) == []


def test_one_attempt_may_close_what_another_has_just_registered() -> None:
    for first, second in ((True, True), (True, False), (False, True), (False, False)):
        for order in (("opener", "closer"), ("closer", "opener")):
            todos, own = Todos(), thread()
            register(todos, "a", own, attempt="opener")
            assert todos.close("a", "agent", "closer") is not None
            verdict = {"opener": first, "closer": second}
            for attempt in order:
                todos.settle(attempt, keep=verdict[attempt])
            assert ids(todos) == (["a"] if first and not second else [])
            assert own.todos == len(todos) == len(ids(todos))


def test_todos_go_with_their_thread_whoever_still_holds_them() -> None:
    todos, here, there = Todos(), thread("t1"), thread("t2")
    register(todos, "a", here)
    register(todos, "b", there)
    todos.close("a", "agent", "closer")
    todos.drop([here])
    assert here.todos == 0
    assert todos.settle("attempt", keep=True) == todos.settle("closer", keep=False) == []
    assert ids(todos) == ["b"]
    todos.drop([here, there])
    assert len(todos) == there.todos == 0


def test_what_an_attempt_registers_and_closes_leaves_nothing_behind() -> None:
    todos, own = Todos(), thread()
    for number in range(10):
        register(todos, f"a{number}", own)
        assert todos.close(f"a{number}", "agent", "attempt") is not None
        assert len(todos) == 0, "what is closed is not open"
    todos.settle("attempt", keep=False)
    assert own.todos == 0


def test_what_an_attempt_closed_makes_room_for_itself_alone_until_it_is_kept() -> None:
    todos, own = Todos(), thread()
    register(todos, "a", own, attempt="opener")
    register(todos, "b", own, attempt="opener")
    todos.settle("opener", keep=True)
    todos.close("a", "agent", "closer")
    assert (todos.taken("closer"), todos.taken("another")) == (1, 2), "it may fail yet, and a is back"
    todos.settle("closer", keep=False)
    assert todos.taken("closer") == todos.taken("another") == len(todos) == 2
    todos.close("a", "agent", "closer")
    todos.settle("closer", keep=True)
    assert todos.taken("closer") == todos.taken("another") == len(todos) == 1


def test_what_is_closed_and_then_gone_with_its_thread_makes_room_once() -> None:
    todos, here, there = Todos(), thread("t1"), thread("t2")
    register(todos, "a", here, attempt="opener")
    register(todos, "b", there, attempt="opener")
    todos.settle("opener", keep=True)
    todos.close("a", "agent", "closer")
    todos.drop([here])
    assert todos.taken("closer") == todos.taken("another") == len(todos) == 1
    todos.close("b", "agent", "closer")
    assert (todos.taken("closer"), todos.taken("another"), len(todos)) == (0, 1, 0)


def test_a_todo_holds_nothing_of_attempts_that_are_over() -> None:
    class Attempt:
        """Stands for a dispatch."""

    opener, closer = Attempt(), Attempt()
    held = [weakref.ref(opener), weakref.ref(closer)]
    todos = Todos()
    register(todos, "a", thread(), attempt=opener)
    todos.settle(opener, keep=True)
    todos.close("a", "agent", closer)
    todos.settle(closer, keep=False)
    del opener, closer
    gc.collect()
    assert [ref() for ref in held] == [None, None]
    assert ids(todos) == ["a"]


def test_a_nudge_says_what_from_whom_which_and_how_to_close_it() -> None:
    todos = Todos()
    todos.register("c-7", thread(), "agent", "agent", "Reply", "", "thank\n  them", "2031", "attempt")
    todos.register("c-8", thread(), "agent", "agent", "Reply", "", "", "2031", "attempt")
    todos.check(("reply",), "Shouter")
    first, *rest = format_nudge(todos.raised_for("agent")).split("\n")
    assert first == "[SYSTEM NOTE: The following todos appear complete:]"
    text = "\n".join(rest)
    assert text.index("Reply from Shouter: thank them") < text.index("c-7") < text.index("c-8")
    assert "system.todo-complete" in text
    read = [line.strip() for line in rest if "<TodoComplete>" in line]
    contract, parser = contract_of(TodoComplete), Parser(WireLimits())
    closings = [contract.read(parser.parse_own(line)) for line in read]
    assert closings == [TodoComplete("c-7"), TodoComplete("c-8")]


def test_no_raised_todo_means_no_nudge() -> None:
    assert format_nudge([]) == ""


@dataclass
class Model:
    """What happened, in order; failed attempts' deeds are left out when it is asked what is open."""

    events: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    failed: set[str] = field(default_factory=set[str])
    gone: set[str] = field(default_factory=set[str])

    def open(self) -> dict[str, tuple[str, str, str | None]]:
        """id -> (thread, key, raised by)."""
        todos: dict[str, list[Any]] = {}
        for kind, attempt, *what in self.events:
            if attempt in self.failed:
                continue
            if kind == "register":
                id, on, key, wait_for, sender = what
                todos[id] = [on, key, None, wait_for.casefold(), sender.casefold()]
            elif kind == "close":
                todos.pop(what[0], None)
            elif kind == "drop":
                todos = {id: todo for id, todo in todos.items() if todo[0] != what[0]}
            else:
                name, sender = what
                for todo in todos.values():
                    if todo[2] is None and todo[3] == name and todo[4] in ("", sender.casefold()):
                        todo[2] = sender
        return {id: (todo[0], todo[1], todo[2]) for id, todo in todos.items()}


@given(seed=st.integers(0, 2**32))
def test_it_is_as_if_failed_attempts_had_never_been(seed: int) -> None:
    random, todos, model = Random(seed), Todos(), Model()
    threads = {id: thread(id) for id in THREADS}
    running: list[str] = []
    for step in range(random.randint(1, 60)):
        act = random.choice(ACTS)
        attempt = random.choice(running) if running else None
        key, on = random.choice(KEYS), random.choice(THREADS)
        if act == "begin":
            running.append(f"attempt {step}")
        elif act == "check":
            name, sender = random.choice(NAMES).casefold(), random.choice(KEYS)
            todos.check((name,), sender)
            model.events.append(("check", None, name, sender))
        elif act == "drop" and random.random() < 0.5 and threads[on].alive:
            threads[on].alive = False
            todos.drop([threads[on]])
            model.events.append(("drop", None, on))
        elif attempt is None:
            continue
        elif act == "register" and threads[on].alive:
            name, sender = random.choice(NAMES), random.choice(["", *KEYS])
            register(
                todos, f"{step}", threads[on], key=key, wait_for=name, sender=sender.upper(), attempt=attempt
            )
            model.events.append(("register", attempt, f"{step}", on, key, name, sender))
        elif act == "close":
            id = f"{random.randrange(step + 1)}"
            mine = model.open().get(id, ("", "", None))[1] == key
            assert (todos.close(id, key, attempt) is not None) is mine
            if mine:
                model.events.append(("close", attempt, id))
        elif act == "all":
            mine_here = [id for id, todo in model.open().items() if todo[:2] == (on, key)]
            assert todos.close_all(threads[on], key, attempt) == len(mine_here)
            model.events += [("close", attempt, id) for id in mine_here]
        elif act == "end":
            running.remove(attempt)
            keep = random.random() < 0.5
            if not keep:
                model.failed.add(attempt)
            for idle in todos.settle(attempt, keep=keep):
                assert idle.todos == 0
        seen = {watcher.id: (watcher.thread_id, watcher.triggered_from) for watcher in todos}
        assert seen == {id: (on, raised) for id, (on, _, raised) in model.open().items()}
        for key in KEYS:
            own = {id for id, todo in model.open().items() if todo[1] == key}
            assert {*ids(todos.raised_for(key)), *ids(todos.pending_for(key))} == own
    for attempt in running:
        todos.settle(attempt, keep=True)
    assert len(todos) == len(model.open())
    for on in THREADS:
        assert threads[on].todos == sum(todo[0] == on for todo in model.open().values())
    todos.drop(threads.values())
    assert len(todos) == len(todos._by_name) == len(todos._unsettled) == 0
