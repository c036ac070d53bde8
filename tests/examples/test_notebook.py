"""docs/examples/notebook.ipynb, cell by cell on a loop that already runs, as ipykernel does it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from support import kernel as kernel_module
from support.kitchens import EXAMPLES
from support.servers import LONGEST, environment

NOTEBOOK: Final = json.loads((EXAMPLES / "notebook.ipynb").read_text("utf-8"))
CELLS: Final = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
SOURCES: Final = ["".join(cell["source"]) for cell in CELLS]
OPENED: Final = 2  # cells: what the others use, and the organism opened in the loop
IN_THREAD: Final = "kitchen = ExitStack()\norganism = kitchen.enter_context(open_organism_in_thread(KITCHEN))"


class Kernel:
    """One running kernel. What is left of it after the test is killed."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(kernel_module.__file__)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._watch = threading.Timer(LONGEST, self.process.kill)  # then the next read comes to an end
        self._watch.start()

    def start(self, source: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"source": source}) + "\n")
        self.process.stdin.flush()
        assert self._told() == "begun"

    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._told()
        return answer

    def _told(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the kernel died"
        return json.loads(line)

    def run(self, source: str) -> dict[str, Any]:
        self.start(source)
        answer = self.answer()
        assert answer["error"] is None, answer
        return answer

    def end(self) -> str:
        """Its input ends, and so does it; what it said on stderr."""
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.stderr
        said = self.process.stderr.read()
        assert self.process.wait(timeout=LONGEST) == 0, said
        return said

    def close(self) -> None:
        self._watch.cancel()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    try:
        yield kernel
    finally:
        kernel.close()


def shown(cell: dict[str, Any]) -> dict[str, Any]:
    """What is stored below a cell."""
    printed, value = "", None
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            printed += "".join(output["text"])
        else:
            value = "".join(output["data"]["text/plain"])
    return {"printed": printed, "value": value, "error": None}


def test_every_cell_shows_what_is_stored_below_it(kernel: Kernel) -> None:
    assert [kernel.run(source) for source in SOURCES] == [shown(cell) for cell in CELLS]
    assert kernel.end() == ""


def test_the_notebook_can_be_run_again_in_the_same_kernel(kernel: Kernel) -> None:
    first = [kernel.run(source) for source in SOURCES]
    assert [kernel.run(source) for source in SOURCES] == first
    assert kernel.end() == ""


def test_the_stop_button_cancels_the_order_and_the_organism_goes_on(kernel: Kernel) -> None:
    for source in SOURCES[:OPENED]:
        kernel.run(source)
    kernel.start('await organism.ask(Order("roast", 1), to="cook")')
    interrupt_soon(kernel)
    assert kernel.answer()["error"].startswith("CancelledError")
    assert kernel.run("organism.report.in_flight")["value"] == "0"
    assert kernel.run('await organism.ask(Order("soup", 1), to="cook")')["value"] == "Plate(text='1 x soup')"
    assert "abandoned=1" in kernel.run("await kitchen.aclose()\norganism.report")["value"]
    assert kernel.end() == ""


def test_the_stop_button_ends_a_cell_that_waits_at_the_sync_door(kernel: Kernel) -> None:
    kernel.run(SOURCES[0])
    kernel.run(IN_THREAD)
    kernel.start('organism.ask(Order("roast", 1), to="cook", timeout=3600)')
    interrupt_soon(kernel)
    assert kernel.answer()["error"].startswith("KeyboardInterrupt")
    assert kernel.run('organism.ask(Order("soup", 1), to="cook")')["value"] == "Plate(text='1 x soup')"
    assert "abandoned=1" in kernel.run("kitchen.close()\norganism.report")["value"]
    assert kernel.end() == ""


def test_a_kernel_that_is_shut_down_with_an_open_organism_ends(kernel: Kernel) -> None:
    for source in SOURCES[:OPENED]:
        kernel.run(source)
    kernel.run('await organism.ask(Order("soup", 1), to="cook")')
    assert "Traceback" not in kernel.end()


def test_a_kernel_that_is_shut_down_with_the_sync_door_open_ends(kernel: Kernel) -> None:
    kernel.run(SOURCES[0])
    kernel.run(IN_THREAD)
    kernel.run('organism.ask(Order("soup", 1), to="cook")')
    assert "Traceback" not in kernel.end()


def interrupt_soon(kernel: Kernel) -> None:
    """SIGINT a moment from now, as the stop button sends it; by then the roast is in the oven."""
    time.sleep(0.5)
    kernel.process.send_signal(signal.SIGINT)
