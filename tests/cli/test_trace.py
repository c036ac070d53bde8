"""``phloem trace``: the tree of a run's messages, where two runs part, and what is no trace."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.cli.trace_diff import difference, first_difference
from phloem.cli.trace_lines import TraceFile, header_line, read_trace, row_line
from phloem.cli.trace_tree import tree_lines, wanted_conversations
from support.simulated import Command, command_line, organism_of, simulate_with

HEADER: dict[str, Any] = {
    "trace": 1, "organism": "small", "seed": 0, "strategy": "walk", "token": "sim1-x", "digest": "d",
    "outcome": "passed", "steps": 3, "seconds": 1.5,
}  # fmt: skip
EVENT: dict[str, Any] = {"step": 1, "kind": "switch", "text": "a#1 goes on"}


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    monkeypatch.chdir(tmp_path)
    with organism_of(tmp_path), command_line(capsys) as command:
        yield command


def conversation(id: str, **more: Any) -> dict[str, Any]:
    row = {"at": 0.0, "conversation": id, "from": "outside", "ended": 1.5, "state": "completed", "why": None}
    return {**row, **more}


def message(id: str, parent: str | None = None, **more: Any) -> dict[str, Any]:
    row = {
        "at": 0.0, "message": id, "conversation": id.partition("-")[0], "parent": parent, "from": "outside",
        "to": "echo", "listener": "echo", "payload": "<Say><Text>a</Text></Say>", "attempts": 1,
        "started": 0.0, "ended": 1.5, "ending": "handled", "why": None,
    }  # fmt: skip
    return {**row, **more}


def refusal(parent: str | None, conversation: str = "c") -> dict[str, Any]:
    return {
        "at": 1.0, "refused": "routing", "path": "/x", "conversation": conversation, "parent": parent,
        "from": "echo",
    }  # fmt: skip


def written(name: str, *rows: dict[str, Any]) -> str:
    Path(name).write_text("".join(map(row_line, (HEADER, *rows))))
    return name


def of(*rows: dict[str, Any]) -> TraceFile:
    trace = TraceFile("a", HEADER)
    lists = {"kind": trace.events, "state": trace.conversations, "message": trace.messages}
    for number, row in enumerate(rows, 2):
        next((found for key, found in lists.items() if key in row), trace.refusals).append((number, row))
    return trace


def tree(*rows: dict[str, Any]) -> list[str]:
    trace = of(*rows)
    return list(tree_lines(trace, wanted_conversations(trace, None)))


# -- a run's own file ----------------------------------------------------------------------------


def test_the_messages_of_a_simulated_run_are_shown_as_a_tree_with_virtual_times(command: Command) -> None:
    done = simulate_with(command)("relay", "--out", "run.ndjson", "--seeds", "1", texts="a")
    assert done.code == 0, done.out
    shown = command("trace", "show", "run.ndjson")
    assert shown.code == 0, shown.err
    head, *lines = shown.out.splitlines()
    assert re.fullmatch(
        r"run.ndjson: small, seed 0 \(\w+\): 2 conversations, 4 messages, \d+ steps, 1 virtual seconds: "
        "passed",
        head,
    )
    id = lines[2].split()[1]
    assert lines[1] == "└─ system.boot  <Boot>  0 s  handled"
    assert lines[2:] == [
        f"conversation {id} from outside  0–1 s  completed",
        "└─ relay  <Say>  0 s  handled",
        "   └─ echo  <Say>  0–1 s  handled",
        "      └─ relay  <Say>  1 s  handled",
    ]
    assert command("trace", "show", "run.ndjson", "--conversation", id[:6]).out.splitlines() == [
        head,
        *lines[2:],
    ]


def test_two_schedules_of_one_batch_part_where_the_first_event_differs(command: Command) -> None:
    sim = simulate_with(command)
    for seed in ("1", "2"):
        sim("relay", "--out", f"{seed}.ndjson", "--seeds", "1", "--seed", seed, "--strategy", "walk")
    same = command("trace", "diff", "1.ndjson", "1.ndjson")
    assert (same.code, same.out.startswith("the same: ")) == (0, True)
    done = command("trace", "diff", "1.ndjson", "2.ndjson")
    assert done.code == 1
    [at] = re.findall(
        r"^first difference: event (\d+), 1.ndjson:(\d+) and 2.ndjson:(\d+)$", done.out, re.MULTILINE
    )
    ones, others = (Path(f"{seed}.ndjson").read_text().splitlines() for seed in ("1", "2"))
    index = int(at[1]) - 1
    assert at[1] == at[2] == str(int(at[0]) + 1)
    assert ones[1:index] == others[1:index]
    assert ones[index] != others[index]
    assert json.loads(ones[index])["text"] in done.out
    assert json.loads(others[index])["text"] in done.out


# -- show ----------------------------------------------------------------------------------------


def test_siblings_attempts_reasons_and_refusals_are_told() -> None:
    assert tree(
        conversation("c", state="failed", why="it broke"),
        message("c-2", ended=2.0),
        message("c-3", "c-2", listener="flaky", attempts=3),
        message("c-4", "c-2", started=None, ended=2.0, ending="abandoned", why="killed", payload="words"),
        message("c-5", "c-3", ending=None, ended=None),
        refusal("c-2"),
    ) == [
        "conversation c from outside  0–1.5 s  failed (it broke)",
        "└─ echo  <Say>  0–2 s  handled",
        "   ├─ flaky  <Say>  0–1.5 s  handled after 3 attempts",
        "   │  └─ echo  <Say>  0… s  not ended",
        "   ├─ echo  (no payload)  2 s  abandoned, never entered (killed)",
        "   └─ (refused routing at /x)  1 s",
    ]


def test_a_message_whose_parent_is_lost_or_is_itself_is_shown_once() -> None:
    lines = tree(
        conversation("c"),
        message("c-2", "gone", listener="lost"),
        message("c-3", "c-3", listener="own"),
        message("c-4", "c-5", listener="left"),
        message("c-5", "c-4", listener="right"),
        message("d-2", listener="stray"),
    )
    assert [line.split("─ ")[-1].split()[0] for line in lines] == [
        "conversation", "lost", "own", "left", "right", "conversation", "stray",
    ]  # fmt: skip
    assert lines[-2] == "conversation d from ?  -  not ended"


def test_a_chain_of_any_length_is_shown() -> None:
    chain = [message(f"c-{number}", f"c-{number - 1}" if number else None) for number in range(3_000)]
    lines = tree(conversation("c"), *chain)
    assert len(lines) == 3_001
    assert lines[-1] == f"{'   ' * 2_999}└─ echo  <Say>  0–1.5 s  handled"


@given(st.lists(st.tuples(st.integers(0, 9), st.none() | st.integers(0, 12)), unique_by=lambda pair: pair[0]))
def test_every_message_is_shown_once_whatever_the_parents_are(pairs: list[tuple[int, int | None]]) -> None:
    rows = [
        message(f"c-{id}", None if parent is None else f"c-{parent}", listener=f"n{id}")
        for id, parent in pairs
    ]
    lines = tree(conversation("c"), *rows)
    assert sorted(line.split("─ ")[1].split()[0] for line in lines[1:]) == sorted(f"n{id}" for id, _ in pairs)


def test_a_conversation_is_named_by_the_beginning_of_its_id(command: Command) -> None:
    file = written("t", *(conversation(id) for id in ("abc", "abd", "ab", "xyz")), message("xyz-2"))
    show = ("trace", "show", file, "--conversation")
    assert "└─ echo" in command(*show, "x").out
    assert command(*show, "ab").out.splitlines()[1:] == ["conversation ab from outside  0–1.5 s  completed"]
    several = command(*show, "a")
    assert (several.code, several.out) == (2, "")
    assert "found 3 conversations of t whose id begins with 'a', expected one of abc, abd, ab" in several.err
    none = command(*show, "q")
    assert (
        "found no conversation of t whose id begins with 'q', expected one of abc, abd, ab, xyz" in none.err
    )


# -- diff ----------------------------------------------------------------------------------------


def test_seeds_and_tokens_are_no_difference_and_messages_are(command: Command) -> None:
    one = written("one", EVENT, conversation("c"), message("c-2"))
    two = written("two", EVENT, conversation("c"), message("c-2", ending="failed"))
    three = written("three", EVENT, conversation("c"), message("c-2"))
    Path(three).write_text(Path(three).read_text().replace('"seed": 0', '"seed": 7'))
    assert command("trace", "diff", one, three).out == "the same: 1 event, 1 message\n"
    done = command("trace", "diff", one, two)
    assert done.code == 1
    assert "first difference: line beside the events 2, one:4 and two:4\n" in done.out
    assert "  - " in done.out
    assert '"ending": "failed"' in done.out


def test_one_that_ends_before_the_other_differs_there() -> None:
    short, long = of(EVENT), of(EVENT, {**EVENT, "step": 2})
    assert difference(short, long) == [
        "first difference: event 2, the end of a and a:3",
        "         1  switch  a#1 goes on",
        "  - (it ends here)",
        "  +      2  switch  a#1 goes on",
    ]
    assert difference(short, short) == []


@given(st.lists(st.sampled_from("ab")), st.lists(st.sampled_from("ab")))
def test_up_to_the_first_difference_all_is_the_same(ones: list[str], others: list[str]) -> None:
    index = first_difference(ones, others)
    if index is None:
        assert ones == others
    else:
        assert ones[:index] == others[:index]
        assert ones[index : index + 1] != others[index : index + 1]


# -- what is no trace ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where", "error"),
    [
        ("", 1, "found an empty file, expected the first line of a trace"),
        ("garbage", 1, 'found "garbage", expected JSON'),
        ("[1]", 1, "found [1], expected an object"),
        ('{"to": "echo"}', 1, "found an object with to, expected the header of a trace"),
        ('{"trace": 2}', 1, "found a trace of version 2, expected version 1"),
        ('{"trace": 1}', 1, "found no organism"),
        (row_line({**HEADER, "seed": "0"}), 1, 'found seed "0", expected a whole number'),
        (row_line({**HEADER, "seed": True}), 1, "found seed true, expected a whole number"),
        (header_line(**HEADER) + "\n{}", 3, "found an object with no key, expected one with kind or state"),
        (header_line(**HEADER) + '{"kind": 7}', 2, "found no step"),
        (header_line(**HEADER) + row_line({**EVENT, "kind": 7}), 2, "found kind 7, expected a text"),
        (header_line(**HEADER) + row_line(EVENT)[:9], 2, "expected JSON"),
        (header_line(**HEADER) + "[" * 100_000, 2, "expected JSON"),
        (
            header_line(**HEADER) + row_line(message("c-2", started="x")),
            2,
            'found started "x", expected a whole',
        ),
        (row_line({**HEADER, "seconds": 1.0}).replace("1.0", "NaN"), 1, "expected JSON"),
    ],
)
def test_what_is_no_trace_is_refused_with_file_and_line(
    command: Command, text: str, where: int, error: str
) -> None:
    Path("bad").write_text(text)
    good = written("good", EVENT)
    for arguments in (("show", "bad"), ("diff", "bad", good), ("diff", good, "bad")):
        done = command("trace", *arguments)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"phloem: bad:{where}: "), done.err
        assert error in done.err


def test_a_file_that_is_not_there_or_no_text_is_refused(command: Command) -> None:
    assert "nowhere: No such file" in command("trace", "show", "nowhere").err
    assert command("trace", "show", ".").code == 2
    Path("raw").write_bytes(header_line(**HEADER).encode() + b'{"kind": "\xff"}')
    assert "raw:2: found byte 0xff, expected UTF-8" in command("trace", "show", "raw").err


def test_a_payload_of_any_characters_comes_back_as_it_was() -> None:
    row = message("c-2", payload="<a>é \ud800 \u2028</a>")
    assert json.loads(row_line(row)) == row
    assert row_line(row).count("\n") == 1


def test_more_keys_than_are_known_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "t"
    file.write_text(row_line({**HEADER, "more": 1}) + row_line({**EVENT, "more": None}))
    assert [row["step"] for _, row in read_trace(str(file)).events] == [1]
