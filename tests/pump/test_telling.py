"""Claims of pump/telling.py, without a pump: what each call puts on the bus, and what it never does."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from phloem.events import EventType, open_event_bus
from phloem.messages import (
    Cause,
    ConversationState,
    DeadLetter,
    Ending,
    Fault,
    Huh,
    HuhCode,
    Outcome,
    ShutdownReport,
)
from phloem.pump.observer import LoggingObserver, Observer, Observers
from phloem.pump.telling import MOST_LISTED, MOST_TEXT, PumpEvent, Telling
from phloem.wire.repair import Mend
from support.listeners import Note, Reply
from support.tapes import Tape, call, conversation, delivery

LONG = "x" * 100_000
HAPPENINGS = [name for name in vars(Observer) if not name.startswith("_")]


@pytest.fixture
def tape() -> Tape:
    return Tape()


# -- conversations ------------------------------------------------------------------------------
@pytest.mark.parametrize("lasting", [True, False])
def test_a_conversation_that_begins_is_an_execution_that_started(tape: Tape, lasting: bool) -> None:
    tape.telling.conversation_started(conversation(lasting=lasting))
    assert tape.last == ("execution_started", {"input": None, "sender": "console", "lasting": lasting})
    assert tape.place == (None, "c", None, None)


def test_one_that_completed_names_the_classes_of_its_answers_and_not_what_they_say(tape: Tape) -> None:
    answers = (Reply("secret"), Note("secret"))
    tape.telling.conversation_ended(
        conversation(), Outcome("c", ConversationState.COMPLETED, payloads=answers)
    )
    data = {"output": ("Reply", "Note"), "answers": 2, "state": "completed"}
    assert tape.last == ("execution_completed", data)
    assert tape.place == (None, "c", None, None)


def test_of_many_answers_some_are_named_and_all_are_counted(tape: Tape) -> None:
    answers = tuple(Reply(str(n)) for n in range(1_000))
    tape.telling.conversation_ended(
        conversation(), Outcome("c", ConversationState.COMPLETED, payloads=answers)
    )
    _, data = tape.last
    assert (len(data["output"]), data["answers"]) == (MOST_LISTED, 1_000)


@pytest.mark.parametrize("state", [state for state in ConversationState if state != "completed"])
def test_one_that_ended_in_any_other_way_is_an_execution_that_failed_with_its_cause(
    tape: Tape, state: ConversationState
) -> None:
    cause = Cause("handler", "a raised ValueError", "a", "ValueError")
    tape.telling.conversation_ended(conversation(), Outcome("c", state, cause))
    assert tape.last == (
        "execution_failed",
        {
            "error": "a raised ValueError",
            "state": state.value,
            "reason": "handler",
            "listener": "a",
            "exception": "ValueError",
        },
    )


def test_one_that_failed_without_a_cause_says_how_it_ended(tape: Tape) -> None:
    tape.telling.conversation_ended(conversation(), Outcome("c", ConversationState.REJECTED))
    _, data = tape.last
    assert (data["error"], data["reason"], data["listener"]) == ("rejected", "rejected", None)


# -- messages -----------------------------------------------------------------------------------
def test_a_loop_starts_once_and_iterates_at_each_attempt(tape: Tape) -> None:
    tape.telling.dispatched(delivery())
    tape.telling.dispatched(delivery(entered=2, attempt=2))
    assert tape.types == ["node_loop_started", "node_loop_iteration", "node_loop_iteration"]
    assert [row["data"] for row in tape.rows] == [
        {"max_iterations": 3, "payload": "Ask", "from": "b"},
        {"iteration": 1},
        {"iteration": 2},
    ]
    assert {row["at"] for row in tape.rows} == {("a", "c", "c-4", "c-2")}


@pytest.mark.parametrize("ending", list(Ending))
def test_a_loop_completes_with_the_ending_and_its_reason(tape: Tape, ending: Ending) -> None:
    cause = None if ending is Ending.HANDLED else Cause("deadline", "too long")
    tape.telling.ended(delivery(entered=2, attempt=2, ending=ending), cause)
    reason = None if cause is None else "deadline"
    data = {"iterations": 2, "ending": ending.value, "reason": reason}
    assert tape.last == ("node_loop_completed", data)
    assert tape.place == ("a", "c", "c-4", "c-2")


def test_what_ended_in_the_queue_was_never_in_a_loop(tape: Tape) -> None:
    tape.telling.ended(delivery(entered=0, ending=Ending.ABANDONED), Cause("killed", "it was killed"))
    assert tape.last == (
        "message_abandoned",
        {"payload": "Ask", "from": "b", "thread": "c-3", "reason": "killed", "error": "it was killed"},
    )
    assert tape.place == ("a", "c", "c-4", "c-2")


def test_what_a_stranger_sent_was_caused_by_no_message(tape: Tape) -> None:
    tape.telling.dispatched(delivery(cause_id=None))
    assert tape.place == ("a", "c", "c-4", None)


HUH = Huh("type", "/Ask/N", "'x'", "an integer", 2, "<Ask><N>a secret</N></Ask>")


def test_a_rejected_message_says_what_was_wrong_and_not_what_it_was(tape: Tape) -> None:
    tape.telling.refused(conversation(), "console", HUH, "for the log", None)
    assert tape.last == (
        "message_rejected",
        {
            "sender": "console",
            "code": "type",
            "path": "/Ask/N",
            "found": "'x'",
            "expected": "an integer",
            "attempts_left": 2,
        },
    )
    assert tape.place == (None, "c", None, None)
    tape.telling.refused(conversation(), "a", HUH, "for the log", delivery())
    assert tape.place == ("a", "c", None, "c-4")
    assert "secret" not in repr(tape.rows)


def test_a_listener_that_addresses_whom_it_may_not_has_broken_a_constraint(tape: Tape) -> None:
    huh = Huh(HuhCode.ROUTING, "/Ask", "no way", "an address", 2, "")
    tape.telling.refused(conversation(), "a", huh, "'b' is not among its peers", delivery())
    data = {"constraint_id": "peers", "description": "'b' is not among its peers"}
    assert tape.last == ("constraint_violation", data)
    assert tape.place == ("a", "c", None, "c-4")


def test_a_stranger_who_addresses_nobody_is_rejected_in_the_words_he_is_told(tape: Tape) -> None:
    huh = Huh(HuhCode.ROUTING, "/Ask", "no way", "an address", 2, "")
    tape.telling.refused(conversation(), "console", huh, "'a' is private", None)
    assert tape.last[0] == "message_rejected"
    assert "private" not in repr(tape.rows)


@pytest.mark.parametrize(("reason", "to", "node"), [("handler", "b", "b"), ("routing", LONG, "a")])
def test_a_dead_letter_lies_with_its_taker_or_where_it_is_misrouted_with_its_sender(
    tape: Tape, reason: str, to: str, node: str
) -> None:
    letter = DeadLetter("c-4", "c", "a", to, reason, Cause(reason, "b fell"), "<Ask>a secret</Ask>")
    tape.telling.buried(letter, "c-2")
    kind, data = tape.last
    assert (kind, data["from"], data["reason"], data["error"]) == ("dead_letter", "a", reason, "b fell")
    assert tape.place == (node, "c", "c-4", "c-2")
    assert len(data["to"]) <= 128
    assert "secret" not in repr(data)


def test_a_retry_says_which_attempt_failed_and_when_the_next_one_comes(tape: Tape) -> None:
    tape.telling.retrying(delivery(attempt=2), Cause("handler", "a fell"), 0.25)
    data = {"attempt": 2, "delay": 0.25, "reason": "handler", "error": "a fell"}
    assert tape.last == ("retry_scheduled", data)
    assert tape.place == ("a", "c", "c-4", "c-2")


def test_what_is_no_message_in_a_stream_is_a_rejection_in_no_conversation(tape: Tape) -> None:
    tape.telling.unread("feed", Fault(HuhCode.BAD_CHAR, "line 3", "byte 0xff at 4", "UTF-8"))
    assert tape.last == (
        "message_rejected",
        {
            "sender": "feed",
            "code": "bad-char",
            "path": "line 3",
            "found": "byte 0xff at 4",
            "expected": "UTF-8",
            "attempts_left": 0,
        },
    )
    assert tape.place == (None, None, None, None)


def test_a_stream_that_breaks_has_failed_at_its_source(tape: Tape) -> None:
    tape.telling.broke("feed", OSError(LONG))
    kind, data = tape.last
    assert (kind, data["sender"], data["exception"]) == ("source_failed", "feed", "OSError")
    assert len(data["error"]) < len(LONG)
    assert tape.place == ("feed", None, None, None)


def test_a_claim_is_a_broken_constraint_in_no_conversation(tape: Tape) -> None:
    tape.telling.claim_ignored("console", "boss")
    kind, data = tape.last
    assert (kind, data["constraint_id"]) == ("constraint_violation", "sender")
    assert "'boss'" in data["description"]
    assert tape.place == (None, None, None, None)


def test_mends_are_told_by_kind_and_place_and_never_by_text(tape: Tape) -> None:
    mends = [Mend("ampersand", f"/Ask/Text[{n}]", "a secret", "a secret") for n in range(50)]
    tape.telling.mended("console", mends[:1])
    data = {"sender": "console", "mends": ("ampersand at /Ask/Text[0]",), "count": 1}
    assert tape.last == ("message_mended", data)
    assert tape.place == (None, None, None, None)
    tape.telling.mended("a", mends, delivery())
    assert tape.place == ("a", "c", None, "c-4")
    assert (len(tape.last[1]["mends"]), tape.last[1]["count"]) == (MOST_LISTED, 50)
    assert "secret" not in repr(tape.rows)


# -- budgets ------------------------------------------------------------------------------------
def test_a_budget_that_is_nearly_spent_is_told_with_its_level_and_whose_it_is(tape: Tape) -> None:
    tape.telling.budget_warning(conversation(), "cost", 0.8, 1.0, "listener", "a")
    data = {"budget": "cost", "used": 0.8, "limit": 1.0, "level": "listener", "listener": "a"}
    assert tape.last == ("budget_warning", data)
    assert tape.place == ("a", "c", None, None)


def test_agents_that_repeat_themselves_stall(tape: Tape) -> None:
    tape.telling.repeating(delivery(), "b", 3)
    assert tape.last == ("node_stalled", {"reason": "repeats", "listener": "b", "repeats": 3})
    assert tape.place == ("a", "c", "c-4", "c-2")


# -- the organism -------------------------------------------------------------------------------
def test_a_stranger_who_waits_is_an_input_that_is_blocked(tape: Tape) -> None:
    tape.telling.waiting("console", "seat", 3)
    data = {"prompt": "", "sender": "console", "reason": "seat", "waiting": 3}
    assert tape.last == ("node_input_blocked", data)


def test_handlers_that_hold_on_are_stalls_each_of_its_own(tape: Tape) -> None:
    tape.telling.overslept(delivery(), 9.5, 2.0)
    assert tape.last == ("node_stalled", {"reason": "overslept", "seconds": 9.5, "limit": 2.0})
    assert tape.place == ("a", "c", "c-4", "c-2")
    tape.telling.held_up(["a", "b"])
    assert [row["at"][0] for row in tape.rows[1:]] == ["a", "b"]
    assert tape.last == ("node_stalled", {"reason": "held_up"})


def test_phases_are_a_state_that_changes_and_the_books_are_told_at_the_end(tape: Tape) -> None:
    for phase in ("open", "draining", "stopping", "closed"):
        tape.telling.phase(phase)
    assert tape.types == ["stream_started", *["state_changed"] * 4, "stream_stopped"]
    changes = [row["data"] for row in tape.rows if row["type"] == "state_changed"]
    assert {(data["key"], data["scope"]) for data in changes} == {("phase", "organism")}
    assert [(data["old_value"], data["new_value"]) for data in changes] == [
        (None, "open"),
        ("open", "draining"),
        ("draining", "stopping"),
        ("stopping", "closed"),
    ]
    books = {"accepted": 9, "handled": 1, "rejected": 2, "undeliverable": 3, "failed": 1, "abandoned": 2}
    assert tape.last[1] == books


def everything(observer: Observer) -> None:
    """Every happening once, each with texts of any length."""
    cause = Cause("handler", LONG, "a", "ValueError")
    observer.conversation_started(conversation())
    observer.dispatched(delivery())
    observer.call_started(delivery(), delivery(id="c-5"))
    observer.call_ended(conversation(), call(error="handler"))
    observer.raised(delivery(), ValueError(LONG))
    observer.retrying(delivery(), cause, 1.0)
    observer.ended(delivery(ending=Ending.FAILED), cause)
    observer.ended(delivery(entered=0, ending=Ending.ABANDONED), cause)
    observer.refused(conversation(), "a", HUH, LONG, None)
    observer.refused(conversation(), "a", Huh(HuhCode.ROUTING, "", "", "", 0, ""), LONG, delivery())
    observer.buried(DeadLetter("c-4", "c", "a", LONG, "handler", cause, LONG), None)
    observer.claim_ignored("console", LONG)
    observer.unread("console", Fault(HuhCode.BAD_CHAR, "line 1", LONG, "UTF-8"))
    observer.broke("console", OSError(LONG))
    observer.step_raised("tap", ValueError(LONG))
    observer.mended("console", [Mend("prose", LONG, LONG, LONG)] * 1_000)
    observer.waiting("console", "threads", 1)
    observer.overslept(delivery(), 9.5, 2.0)
    observer.budget_warning(conversation(), "tokens", 80, 100, "listener", "a")
    observer.repeating(delivery(), "b", 3)
    observer.held_up(["a"])
    observer.phase("open")
    observer.conversation_ended(conversation(), Outcome("c", ConversationState.FAILED, cause))
    observer.phase("closed")


def test_no_event_is_long_whatever_happened(tape: Tape) -> None:
    everything(tape.telling)
    for row in tape.rows:
        assert len(json.dumps(row["data"])) < 2 * MOST_TEXT + 1_000, row["type"]
        assert all(isinstance(value, str | int | float | tuple | None) for value in row["data"].values())


async def test_a_bus_takes_all_of_it_even_when_it_is_closed() -> None:
    async with open_event_bus(types=PumpEvent) as bus:
        telling = Telling(bus.record, "org", lambda: ShutdownReport(0, 0, 0, 0, 0, 0))
        everything(telling)
        told = bus.get_stats()["events_by_type"]
    everything(telling)
    events = bus.get_history(limit=1_000)
    assert {event.type for event in events} == set(told) > set(PumpEvent)
    assert all(isinstance(json.dumps(event.to_dict()), str) for event in events)
    assert {event.stream_id for event in events} == {"org"}
    assert bus.get_history("execution_started")[0].type is EventType.EXECUTION_STARTED


# -- two observers ------------------------------------------------------------------------------
class Counting:
    """Counts what it is told, and notes in which order it and others are."""

    def __init__(self, name: str, order: list[str]) -> None:
        self.told: list[str] = []
        self._name, self._order = name, order

    def __getattr__(self, happening: str) -> Any:
        def note(*_: Any) -> None:
            self.told.append(happening)
            self._order.append(self._name)

        return note


def test_two_observers_are_told_everything_the_first_one_first() -> None:
    order: list[str] = []
    first: Any = Counting("first", order)
    second: Any = Counting("second", order)
    everything(Observers(first, second))
    assert first.told == second.told
    assert set(first.told) == set(HAPPENINGS)
    assert order == ["first", "second"] * len(first.told)


@pytest.mark.parametrize("observer", [LoggingObserver, Observers, Telling])
def test_every_observer_of_ours_takes_what_the_protocol_says(observer: type) -> None:
    for name in HAPPENINGS:
        wanted, found = (inspect.signature(getattr(kind, name)).parameters for kind in (Observer, observer))
        assert [(p.name, p.default) for p in found.values()] == [(p.name, p.default) for p in wanted.values()]
