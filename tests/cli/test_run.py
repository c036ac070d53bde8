"""``phloem run`` as it is typed: every message ends as one line, and the exit code says how."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from support.wire import NAMESPACE


def envelope(text: str, *, declared: bool = True) -> str:
    namespace = f' xmlns="{NAMESPACE}"' if declared else ""
    return (
        f"<message{namespace}><meta><from>a</from><to>echo</to></meta>"
        f'<Say xmlns=""><Text>{text}</Text></Say></message>'
    )


def test_a_good_batch_has_a_line_for_each_message_and_exit_code_0(phloem: Any, line: Any) -> None:
    done = phloem.run(line("a & b", id="mine"), "", line("c"))
    assert done.code == 0
    first, second = done.lines
    assert list(first) == ["id", "conversation", "state", "payloads", "error", "ms"]
    assert first["id"] == "mine"
    assert second["id"] == 3  # the line's number, blank ones counted
    assert first["payloads"] == [
        {"type": "Say", "fields": {"text": "a & b"}, "xml": "<Say><Text>a &amp; b</Text></Say>"}
    ]
    assert (first["state"], first["error"]) == ("completed", None)
    assert first["conversation"] != second["conversation"]
    assert 0 < first["ms"] < 60_000


def test_stdout_carries_only_data_and_stderr_the_summary(phloem: Any, line: Any) -> None:
    done = phloem.run(line("a"), line("b", to="nobody"))
    assert len(done.lines) == 2
    assert "2 messages: 1 completed, 1 rejected" in done.err
    assert "\n2 deliveries (Boot included) = 2 handled\n" in done.err
    assert phloem.run(line("a"), options=("--quiet",)).err == ""


def test_a_batch_may_speak_to_the_todo_listeners_and_never_to_boot(phloem: Any, line: Any) -> None:
    written = "<TodoUntil><WaitFor>Say</WaitFor></TodoUntil>"
    boot = {"organism_name": "x", "timestamp": "now", "listener_count": 1}
    done = phloem.run(
        line("", to="system.todo", payload={"wait_for": "Say", "description": "look"}),
        json.dumps({"to": "System.Todo", "xml": written}),
        json.dumps({"to": "system.todo-complete", "payload": {"id": "nobody's"}}),
        json.dumps({"xml": written}),
        line("", to="system.boot", payload=boot),
        json.dumps({"type": "Boot", "payload": boot}),
        json.dumps({"xml": "<Boot/>"}),
    )
    assert done.states == ["completed"] * 4 + ["rejected"] * 3
    fields = [each["payloads"][0]["fields"] for each in done.lines[:4]]
    assert (fields[0]["wait_for"], fields[0]["description"]) == ("Say", "look")
    assert fields[2] == {"id": "nobody's", "was_raised": False}
    assert fields[1]["id"] != fields[3]["id"]
    errors = [each["error"] for each in done.lines[4:]]
    assert [error["code"] for error in errors] == ["routing"] * 3
    assert "boot" not in json.dumps([error["expected"] for error in errors]).lower()


def test_lines_that_cannot_be_read_are_rejected_results_among_the_others(phloem: Any, line: Any) -> None:
    done = phloem.run(line("a"), "garbage", line("b", id="x", payload={"txt": 1}), line("c"))
    assert done.states == ["completed", "rejected", "rejected", "completed"]
    assert done.lines[1]["error"] == {
        "code": "not-json",
        "path": "line 2, column 1",
        "found": '"garbage"',
        "expected": "JSON (Expecting value)",
        "line": 2,
    }
    error = done.lines[2]["error"]
    assert (done.lines[2]["id"], error["code"], error["path"], error["line"]) == (
        "x",
        "unexpected-element",
        "payload.txt",
        3,
    )
    assert [each["code"] for each in error["more"]] == ["missing-element"]
    assert done.code == 5


def test_a_line_of_three_megabytes_costs_itself_only(phloem: Any, line: Any) -> None:
    done = phloem.run(line("x" * 3_000_000), line("a"))
    assert done.states == ["rejected", "completed"]
    assert done.lines[0]["error"]["code"] == "too-large"


def test_what_the_organism_rejects_says_where(phloem: Any, line: Any) -> None:
    done = phloem.run(
        {"to": "echo", "xml": "<Say><Txt>a</Txt></Say>"}, line("a\u0001"), {"to": "echo", "xml": "<"}
    )
    assert done.states == ["rejected"] * 3
    assert done.lines[0]["error"]["path"].startswith("/Say")
    assert done.lines[1]["error"]["code"] == "bad-char"
    assert done.code == 5


@pytest.mark.parametrize(
    ("to", "state", "code"),
    [
        ("echo", "completed", 0),
        ("boom", "failed", 1),
        ("loop", "out_of_budget", 3),
        ("late", "failed", 4),
        ("nobody", "rejected", 5),
    ],
)
def test_each_way_to_end_has_its_exit_code(phloem: Any, line: Any, to: str, state: str, code: int) -> None:
    done = phloem.run({"to": to, "xml": "<Say><Text>a</Text></Say>"})
    assert (done.states, done.code) == ([state], code)


def test_the_worst_of_several_is_the_exit_code(phloem: Any, line: Any) -> None:
    done = phloem.run(line("a"), line("b", to="boom"), line("c", to="loop"), "garbage")
    assert sorted(done.states) == ["completed", "failed", "out_of_budget", "rejected"]
    assert done.code == 3


def test_a_failure_tells_its_exception_and_its_dead_letter(phloem: Any, line: Any) -> None:
    done = phloem.run(line("tea", to="boom", id="t"), options=("--dead-letters", "letters"))
    [result] = done.lines
    assert result["error"]["exception"] == "LookupError"
    assert result["error"]["text"] == "boom raised LookupError: there is no tea"
    assert result["dead_letters"] == 1
    [letter] = map(json.loads, (phloem.folder / "letters").read_text().splitlines())
    assert (letter["id"], letter["to"], letter["from"]) == ("t", "boom", "outside")
    assert letter["xml"] == "<Say><Text>tea</Text></Say>"
    assert letter["conversation"] == result["conversation"]


def test_dead_letters_of_a_completed_message_are_5_unless_allowed(phloem: Any) -> None:
    (phloem.folder / "handlers.py").write_text(
        (phloem.folder / "handlers.py").read_text()
        + "\nfrom phloem import SystemError\n"
        + "async def patient(payload, metadata):\n"
        + "    if isinstance(payload, SystemError):\n"
        + "        return HandlerResponse.respond(Say('never mind'))\n"
        + "    return HandlerResponse(payload, to='boom')\n"
    )
    with (phloem.folder / "organism.yaml").open("a") as file:
        file.write(
            "  - name: patient\n    description: hears of faults\n    responds_with: handlers.Say\n"
            "    payload_class: [handlers.Say, phloem.SystemError]\n    handler: handlers.patient\n"
        )
    request = {"to": "patient", "type": "Say", "payload": {"text": "a"}}
    done = phloem.run(request)
    assert (done.states, done.lines[0].get("dead_letters"), done.code) == (["completed"], 1, 5)
    assert phloem.run(request, options=("--allow-dead-letters",)).code == 0


def test_results_come_in_input_order_while_the_slowest_holds_them(phloem: Any, line: Any) -> None:
    others = [line(str(number)) for number in range(30)]
    slow = {"to": "first", "payload": {"number": 9}}
    done = phloem.run(slow, *others, options=("--reorder-window", "10"))
    assert [each["id"] for each in done.lines] == list(range(1, 32))
    # The slow one saw the nine others that the window holds beside it, and not one more.
    assert done.lines[0]["payloads"][0]["fields"] == {"number": 9}


def test_by_default_a_thousand_lines_are_in_the_window(phloem: Any, line: Any) -> None:
    others = [line(str(number)) for number in range(1500)]
    done = phloem.run({"to": "first", "payload": {"number": 999}}, *others)
    assert done.lines[0]["payloads"][0]["fields"] == {"number": 999}
    assert len(done.lines) == 1501


def test_unordered_lets_the_others_pass(phloem: Any, line: Any) -> None:
    others = [line(str(number)) for number in range(30)]
    slow = {"to": "first", "payload": {"number": 30}}
    done = phloem.run(slow, *others, options=("--unordered", "--reorder-window", "10"))
    assert done.lines[-1]["id"] == 1
    assert sorted(each["id"] for each in done.lines) == list(range(1, 32))
    assert done.lines[-1]["payloads"][0]["fields"] == {"number": 30}


@pytest.mark.parametrize(
    "batch",
    [
        envelope("a"),
        envelope("a") + "\n" + envelope("b"),
        f'<?xml version="1.0"?>\n<messages>{envelope("a")}<!-- c -->{envelope("b")}</messages>\n',
        f'<messages xmlns="{NAMESPACE}">'
        f"{envelope('a', declared=False)}{envelope('b', declared=False)}</messages>",
    ],
)
def test_xml_is_read_in_every_framing(phloem: Any, batch: str) -> None:
    done = phloem("run", "organism.yaml", "--batch", "-", input=batch)
    assert done.code == 0, done.out + done.err
    assert [each["payloads"][0]["fields"]["text"] for each in done.lines] == ["a", "b"][: len(done.lines)]
    assert len(done.lines) == batch.count("<Say")


def test_bad_xml_costs_one_line_and_the_next_message_is_taken_up(phloem: Any) -> None:
    cut = envelope("b")[:-20]
    done = phloem(
        "run", "organism.yaml", "--batch", "-", input=f"{envelope('a')}\njunk\n{cut}\n{envelope('c')}"
    )
    assert done.states == ["completed", "rejected", "rejected", "completed"]
    assert [each["error"]["line"] for each in done.lines[1:3]] == [2, 3]


@pytest.mark.parametrize(
    ("batch", "path"),
    [
        ('{"to": "echo", "xml": "<Say>\\n<Text>&"}', "xml, line 2, column 7"),
        ('{"xml": "<message>\\n&"}', "xml, line 2, column 1"),
        ("<message>\n&\n</message>", "message, line 2, column 1"),
    ],
)
def test_a_path_of_lines_says_what_they_are_lines_of(phloem: Any, batch: str, path: str) -> None:
    [result] = phloem("run", "organism.yaml", "--batch", "-", input=f"\n\n{batch}\n").lines
    assert (result["error"]["line"], result["error"]["path"]) == (3, path)


def test_files_are_read_and_written_as_named(phloem: Any, line: Any) -> None:
    (phloem.folder / "in").write_text(json.dumps(line("a")) + "\r\n")
    done = phloem("run", "organism.yaml", "--batch", "in", "--out", "out")
    assert (done.code, done.out) == (0, "")
    assert json.loads((phloem.folder / "out").read_text())["state"] == "completed"


def test_an_empty_batch_is_no_failure(phloem: Any) -> None:
    done = phloem.run()
    assert (done.code, done.out) == (0, "")


def test_a_batch_that_is_a_folder_leaves_earlier_results_alone(phloem: Any) -> None:
    (phloem.folder / "out").write_text("of yesterday")
    assert phloem("run", "organism.yaml", "--batch", ".", "--out", "out").code == 2
    assert (phloem.folder / "out").read_text() == "of yesterday"


def test_a_handler_that_raises_keyboard_interrupt_ends_the_run_like_ctrl_c(phloem: Any, line: Any) -> None:
    with (phloem.folder / "handlers.py").open("a") as file:
        file.write("\n\nasync def stop(payload, metadata):\n    raise KeyboardInterrupt\n")
    with (phloem.folder / "organism.yaml").open("a") as file:
        file.write("  - {name: stop, payload_class: handlers.Say, handler: handlers.stop}\n")
    done = phloem.run(line("a", to="stop"))
    assert (done.code, done.states) == (130, ["drained"])
    assert "Traceback" not in done.err
    assert "in stop" in phloem.run(line("a", to="stop"), options=("--traceback",)).err


def test_a_faulty_configuration_leaves_earlier_results_alone(phloem: Any) -> None:
    (phloem.folder / "out").write_text("of yesterday")
    (phloem.folder / "organism.yaml").write_text("listeners: 5\nbogus: 6\n")
    done = phloem("run", "organism.yaml", "--batch", "-", "--out", "out")
    assert done.code == 2
    assert done.err.splitlines()[0] == "phloem: the configuration has 2 faults"
    assert (phloem.folder / "out").read_text() == "of yesterday"


def test_who_closes_the_pipe_gets_no_traceback(phloem: Any, line: Any) -> None:
    (phloem.folder / "in").write_text((json.dumps(line("x" * 1000)) + "\n") * 3000)
    process = phloem.start("run", "organism.yaml", "--batch", "in", "--quiet")
    assert process.stdout.readline().startswith('{"id": 1,')
    process.stdout.close()
    assert process.wait(timeout=60) == 2
    assert process.stderr.read() == ""


def test_bytes_and_digits_survive_the_whole_way(phloem: Any) -> None:
    (phloem.folder / "handlers.py").write_text(
        (phloem.folder / "handlers.py").read_text()
        + "\nfrom decimal import Decimal\n"
        + "@dataclass\nclass Bill:\n    sum: Decimal\n    scan: bytes\n    ratio: float\n"
    )
    with (phloem.folder / "organism.yaml").open("a") as file:
        file.write(
            "  - {name: bills, description: b, payload_class: handlers.Bill, handler: handlers.echo}\n"
        )
    scan = base64.b64encode(bytes(range(256))).decode()
    digits = "1.10000000000000000000000001"
    text = '{"to": "bills", "payload": {"sum": ' + digits + ', "ratio": 1e22, "scan": "' + scan + '"}}'
    done = phloem.run(text)
    assert done.lines[0]["payloads"][0]["fields"] == {
        "sum": "1.10000000000000000000000001",
        "scan": scan,
        "ratio": 1e22,
    }
