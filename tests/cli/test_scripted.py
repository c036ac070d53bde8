"""Claims of ``phloem run`` with expectations, on a virtual clock, under a seed."""

from __future__ import annotations

from typing import Any

CHANCY = """
import random

async def chancy(payload, metadata):
    await trio.sleep(3600 * random.random())
    return HandlerResponse.respond(Count(random.randrange(10**6)))
"""
LISTENER = (
    "  - {name: chancy, payload_class: handlers.Say, handler: handlers.chancy, handler_timeout: .inf}\n"
)


def with_chance(phloem: Any) -> None:
    for name, more in (("handlers.py", CHANCY), ("organism.yaml", LISTENER)):
        file = phloem.folder / name
        file.write_text(file.read_text() + more)


def test_what_differs_is_told_counted_in_the_last_line_and_exit_code_1(phloem: Any, line: Any) -> None:
    done = phloem.run(
        line("a", expect={"payloads": [{"text": "a"}]}),
        line("b", id="second", expect={"payloads": [{"text": "c"}]}),
        line("d", "boom"),
    )
    assert done.code == 1
    assert done.states == ["completed", "completed", "failed"]
    assert done.err.splitlines()[-3:] == [
        "line 2, id 'second': not as expected",
        '  payloads[0].text: expected "c", came "b"',
        "1 of 2 messages as expected, 1 not",
    ]


def test_what_was_expected_to_go_wrong_makes_no_exit_code(phloem: Any, line: Any) -> None:
    done = phloem.run(
        line("a", "boom", expect={"state": "failed"}),
        line("a", "ecko", expect={"state": "rejected"}),
        line("a", "late", expect={"state": "failed"}),
    )
    assert done.err.splitlines()[-1] == "3 of 3 messages as expected, 0 not"
    assert done.code == 0


def test_a_line_without_an_expectation_still_makes_its_exit_code(phloem: Any, line: Any) -> None:
    assert phloem.run(line("a", expect={}), line("a", "ecko")).code == 5


def test_an_expectation_that_says_nothing_known_is_a_rejected_line(phloem: Any, line: Any) -> None:
    done = phloem.run(line("a", expect={"stat": "failed"}), line("a", expect={"within_ms": 1}))
    assert [each["error"]["path"] for each in done.lines] == ["expect.stat", "expect.within_ms"]
    assert done.code == 5


def test_hours_of_waiting_end_at_once_and_within_ms_counts_virtual_time(phloem: Any, line: Any) -> None:
    with_chance(phloem)
    expect = {"within_ms": 3600000}
    done = phloem.run(*[line("a", "chancy", expect=expect)] * 5, options=("--virtual",))
    assert (done.code, done.states) == (0, ["completed"] * 5)
    assert max(each["ms"] for each in done.lines) > 60_000


def test_two_runs_of_one_seed_write_the_same_bytes_and_two_seeds_do_not(phloem: Any, line: Any) -> None:
    with_chance(phloem)
    lines = [line(str(number), "chancy") for number in range(20)]
    runs = [phloem.run(*lines, options=("--seed", seed, "--unordered")).out for seed in ("3", "3", "4")]
    assert runs[0] == runs[1] != runs[2]
    assert len(runs[0].splitlines()) == 20


def test_a_message_that_never_ends_meets_its_deadline_in_virtual_time(phloem: Any, line: Any) -> None:
    done = phloem.run(line("a", "hang", expect={"state": "failed"}), options=("--virtual",))
    assert (done.code, done.lines[0]["ms"]) == (0, 300_000.0)


def test_a_seed_needs_a_batch(phloem: Any) -> None:
    done = phloem("run", "organism.yaml", "--seed", "1")
    assert (done.code, "--seed needs --batch IN" in done.err) == (2, True)
