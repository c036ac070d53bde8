"""``phloem sim``: what it finds in an organism, and what it says of it."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

import phloem.pump.observer
from phloem.cli.simulating import Scenario
from phloem.config import OrganismConfig
from phloem.testing.invariants import Violation
from phloem.testing.sim import current_run, simulate
from phloem.testing.watching import Broken
from support.simulated import NAMES, Sim, token_of

# -- what is found -----------------------------------------------------------------------------


def test_an_organism_without_faults_passes_and_the_table_says_what_was_tried(sim: Sim) -> None:
    done = sim("relay")
    assert done.code == 0, done.out
    assert done.out.startswith("small: 2 messages simulated: passed\n")
    rows = done.rows
    assert rows["schedules"].startswith("12 (portfolio, from seed 0): ")
    assert (rows["violations"], rows["cancels tried"], rows["faults fired"]) == ("0", "0", "0")
    assert rows["distinct traces"] == "12"
    assert rows["conversations"] == "completed"
    assert rows["same seed twice"] == "the same run"
    assert rows["confluence"] == "messages come to the same under every schedule"
    assert rows["coverage"] == f"2 of {len(NAMES) + 1} listeners had a message; handlers waited at 1 line"
    assert "no message came to: boom, " in rows["not covered"]
    assert "not asked for: cancels (--sweep), timeouts (--timeouts), faults (--faults)" in rows["not covered"]


def test_what_handlers_print_is_shown_of_a_replay_only(sim: Sim) -> None:
    done = sim("boom")
    assert "there is no" not in done.err
    done = sim("echo")
    assert "echo was here" not in done.out + done.err
    token = token_of(sim, "echo")
    done = sim("echo", "--replay", token)
    assert "echo was here" not in done.out
    assert "echo was here" in done.err


@pytest.mark.parametrize(
    ("to", "code", "failure"),
    [
        ("boom", 1, r"HandlerRaised: listener boom raised LookupError: there is no a \(message \w+-2\); .*"),
        ("group", 1, "HandlerRaised: listener group raised LookupError: there is no a .*"),
        ("leave", 1, r"HandlerRaised: listener leave raised SystemExit: it is over \(.* and 1 more\)"),
        ("dial", 1, "HandlerRaised: listener dial raised NotSimulated: found a real socket .*"),
        ("number", 1, "BadAnswer: number returned int '42', expected .*"),
        ("hang", 4, "Overdue: hang overran its deadline of 300 s .*"),
        ("forever", 4, "Deadlock: deadlock: .*"),
        ("spin", 1, "Livelock: livelock: .*"),
        ("counts", 1, "HandlerRaised: listener counts raised AssertionError: 1 .*"),
        ("locks", 4, "Overdue: locks overran its deadline of 300 s .*"),
        ("remembers", 1, "the first event that differs is"),
        (
            "ranks",
            1,
            "NotConfluent: small: outside, turn 1, <Say><Text>a</Text></Say> for .*number 1.*number 2.*",
        ),
        ("chance", 1, "NotConfluent: .*"),
    ],
)
def test_a_fault_is_found_told_and_decides_the_exit_code(sim: Sim, to: str, code: int, failure: str) -> None:
    done = sim(to, "--max-steps", "3000")
    assert done.code == code, done.out
    assert "\nviolation 1 of 1\n" in f"\n{done.out}"
    assert done.rows["violations"] == "1"
    if to == "remembers":
        assert failure in done.out
        assert "seed 0 did not do the same twice" in done.out
        assert done.rows["same seed twice"] == "two different runs"
        return
    assert re.match(failure, done.told("failure:")), done.told("failure:")
    again = shlex.split(done.told("again:"))
    assert again[again.index("--max-steps") + 1] == "3000"
    replayed = sim(to, *again[again.index("batch.ndjson") + 1 :])
    assert replayed.code == code, replayed.out
    assert "it did not go as its token says" not in replayed.out
    assert f"violation: {failure[:9]}" in replayed.out
    assert " goes on at " in replayed.out


@pytest.mark.parametrize(("to", "option"), [("hang", "--allow-deadlines"), ("ranks", "--no-confluence")])
def test_what_is_meant_can_be_allowed(sim: Sim, to: str, option: str) -> None:
    done = sim(to, option)
    assert done.code == 0, done.out
    assert sim(to).code != 0


def test_an_attempt_that_another_one_mends_is_no_violation(sim: Sim) -> None:
    assert sim("flaky").code == 0


def test_a_pump_that_breaks_a_promise_is_found(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    told = phloem.pump.observer.Observers.conversation_ended

    def twice(self: Any, conversation: Any, outcome: Any) -> None:
        told(self, conversation, outcome)
        if conversation.sender != "system":
            told(self, conversation, outcome)

    monkeypatch.setattr(phloem.pump.observer.Observers, "conversation_ended", twice)
    done = sim("echo")
    assert done.code == 1
    assert "Violation" in done.told("failure:")
    assert "had ended before; expected one end" in done.out


def test_what_is_broken_after_the_organism_was_left_is_found_too() -> None:
    async def main() -> None:
        run = current_run()
        assert run is not None
        run.found.append(Broken("a handler was at work after the end"))

    result = simulate(main)
    assert result.failure is None
    with pytest.raises(Violation, match="after the end"):
        Scenario(OrganismConfig("small", []), []).check(result)


def test_a_run_without_an_end_is_tried_once_and_not_some_hundred_times(sim: Sim) -> None:
    done = sim("spin", "--max-steps", "3000", "--sweep", "every-step")
    assert done.told("the first schedule does not end;") == "no other was tried"
    assert "12 of 12 schedules" in done.rows["not covered"]
    assert "cancels and timeouts, which come after" in done.rows["not covered"]


# -- cuts and faults ---------------------------------------------------------------------------


def test_a_sweep_cancels_and_fires_deadlines_and_says_how_often(sim: Sim) -> None:
    done = sim("patient", "--sweep", "every-site", "--timeouts", "--seeds", "2")
    assert done.code == 0, done.out
    cancels, timeouts = re.match(
        r"(\d+) \(every-site\), (\d+) timeouts, ", done.rows["cancels tried"]
    ).groups()  # type: ignore[union-attr]
    assert int(cancels) > 10
    assert int(timeouts) > 0
    assert "not asked for: faults (--faults)" in done.rows["not covered"]


def test_timeouts_alone_cancel_nothing(sim: Sim) -> None:
    done = sim("patient", "--timeouts", "--seeds", "2", texts="a")
    assert done.code == 0, done.out
    assert re.match(r"0, \d\d+ timeouts, ", done.rows["cancels tried"])


def test_a_handler_that_turns_its_cancellation_into_an_error_is_found_by_the_sweep_alone(sim: Sim) -> None:
    assert sim("slowly").code == 0
    done = sim("slowly", "--sweep", "every-site", texts="a")
    assert done.code == 1
    assert "listener slowly raised ValueError: not now" in done.told("failure:")
    assert "the scenario cancelled before step" in done.told("cut:")
    replayed = sim("slowly", "--replay", done.told("token"), texts="a")
    assert replayed.code == 1
    assert "listener slowly raised ValueError: not now" in replayed.out


def test_injected_faults_are_counted_and_are_nobodys_violation(sim: Sim) -> None:
    done = sim(
        "relay", "--faults", "handler=raise,raise-after,hang,garbage,base-exception:1:0.5", texts="abc"
    )
    assert done.code == 0, done.out
    assert int(done.rows["faults fired"].split()[0]) > 12
    assert "failed" in done.rows["conversations"]
    assert done.rows["confluence"].endswith("in which no fault fired")


def test_a_plan_of_which_nothing_fired_is_not_covered(sim: Sim) -> None:
    never = sim("relay", "--faults", "handler=slow:0; thread=raise", "--seeds", "2")
    assert never.code == 0
    assert "no fault was met, of those planned at handler, thread" in never.rows["not covered"]
    assert "no fault was met" not in sim("relay", "--faults", "handler=slow:1:1").rows["not covered"]


def test_beside_injected_faults_a_handlers_own_are_found(sim: Sim) -> None:
    done = sim("boom", "--faults", "handler=slow:1:0.3")
    assert done.code == 1
    assert "faults planned: handler=slow:1:0.3:10" in done.out
    again = shlex.split(done.told("again:"))
    assert again[again.index("--faults") + 1] == "handler=slow:1:0.3"
    replayed = sim("boom", *again[again.index("batch.ndjson") + 1 :])
    assert replayed.code == 1
