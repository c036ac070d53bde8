"""The first signal drains and reports, the second stops at once, and both tell what is known."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import Any

import pytest

SIGNALS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


def lines(*requests: object) -> str:
    return "".join(json.dumps(request) + "\n" for request in requests)


def until(stream: Any, text: str) -> str:
    """Everything up to the line that holds the text."""
    told = ""
    while text not in told:
        line = stream.readline()
        assert line, f"ended before {text!r}: {told}"
        told += line
    return told


def begun(phloem: Any, batch: str, *options: str) -> Any:
    """A run whose handler ``hanging`` is known to run; its stdin stays open."""
    process = phloem.start("run", "organism.yaml", "--batch", "-", *options)
    process.stdin.write(batch)
    process.stdin.flush()
    until(process.stderr, "hanging")
    return process


def rest(process: Any) -> tuple[list[dict[str, Any]], str]:
    """Result lines and stderr of a process that ends by itself although its stdin is open."""
    told: list[str] = []
    reader = threading.Thread(target=lambda: told.append(process.stderr.read()))
    reader.start()
    out = process.stdout.read()
    reader.join(60)
    process.wait(60)
    return [json.loads(line) for line in out.splitlines()], told[0]


@SIGNALS
def test_the_first_signal_lets_what_was_accepted_end(phloem: Any, line: Any, number: int, code: int) -> None:
    fifo = str(phloem.folder / "fifo")
    os.mkfifo(fifo)
    process = begun(phloem, lines(line("a"), line(fifo, to="told")))
    process.send_signal(number)
    until(process.stderr, "stopping: what was accepted is drained")
    with open(fifo, "w") as file:
        file.write("in time")
    results, err = rest(process)
    assert [each["state"] for each in results] == ["completed", "completed"]
    assert results[1]["payloads"][0]["fields"] == {"text": "in time"}
    assert process.returncode == code
    assert "2 messages: 2 completed" in err
    assert "\n3 deliveries (Boot included) = 3 handled\n" in err
    assert "the input after message 2 was not taken" in err


@SIGNALS
def test_what_does_not_end_within_the_grace_is_drained_and_named(
    phloem: Any, line: Any, number: int, code: int
) -> None:
    process = begun(phloem, lines(line("a", id="done"), line("b", to="hang", id="cut")), "--grace", "0.1")
    process.send_signal(number)
    results, err = rest(process)
    assert [(each["id"], each["state"]) for each in results] == [("done", "completed"), ("cut", "drained")]
    assert process.returncode == code
    assert "\n3 deliveries (Boot included) = 2 handled + 1 abandoned\n" in err
    assert "abandoned while running: Say to hang" in err


@SIGNALS
@pytest.mark.parametrize("to", ["hang", "stuck"])
def test_the_second_signal_stops_at_once_even_a_loop_that_is_stuck(
    phloem: Any, line: Any, number: int, code: int, to: str
) -> None:
    process = begun(
        phloem, lines(line("a", id="done"), line("b", to=to, id="cut"), line("c", id=3)), "--grace", "3600"
    )
    process.send_signal(number)
    if to == "hang":
        until(process.stderr, "stopping:")
    else:
        until_pending_is_taken(process.pid)
    process.send_signal(number)
    results, err = rest(process)
    known = {each["id"]: each["state"] for each in results}
    assert known["cut"] == "cancelled"
    assert next(each for each in results if each["id"] == "cut")["error"]["code"] == "stopped"
    if to == "hang":
        assert known == {"done": "completed", "cut": "cancelled", 3: "completed"}
        assert [each["id"] for each in results] == ["done", "cut", 3]
        assert "4 deliveries (Boot included) = 3 handled + 1 in flight" in err
    assert process.returncode == code
    assert "stopped at once" in err
    assert "in flight" in err
    assert "Traceback" not in err


def until_pending_is_taken(pid: int) -> None:
    """Two signals of one number sent at once would be one: wait until the first was delivered."""
    while True:
        with open(f"/proc/{pid}/status") as file:
            pending = [line.split()[1] for line in file if line.startswith(("SigPnd", "ShdPnd"))]
        if all(int(mask, 16) == 0 for mask in pending):
            return


def test_a_signal_while_input_is_awaited_ends_the_run(phloem: Any, line: Any) -> None:
    process = phloem.start("run", "organism.yaml", "--batch", "-")
    process.stdin.write(lines(line("a")))
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["state"] == "completed"  # written while stdin is open
    process.send_signal(signal.SIGINT)
    results, err = rest(process)
    assert (results, process.returncode) == ([], 130)
    assert "1 message: 1 completed" in err


def test_messages_that_had_no_seat_yet_are_told_as_not_sent(phloem: Any, line: Any) -> None:
    text = (phloem.folder / "organism.yaml").read_text()
    (phloem.folder / "organism.yaml").write_text(text.replace("listeners:", "max_in_flight: 1\nlisteners:"))
    process = begun(phloem, lines(line("a", to="hang"), line("b"), line("c")), "--grace", "0.1")
    process.send_signal(signal.SIGINT)
    results, _ = rest(process)
    assert [each["state"] for each in results][:2] == ["drained", "cancelled"]
    assert {each["error"]["code"] for each in results[1:]} == {"not-sent"}
    assert process.returncode == 130


def test_a_signal_stops_send_as_it_stops_run(phloem: Any) -> None:
    process = phloem.start("send", "organism.yaml", "hang", "<Say><Text>a</Text></Say>", "--grace", "0")
    until(process.stderr, "hanging")
    process.send_signal(signal.SIGTERM)
    results, _ = rest(process)
    assert [each["state"] for each in results] == ["drained"]
    assert process.returncode == 143
