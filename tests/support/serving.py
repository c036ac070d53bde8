"""What tests of ``phloem run`` without a batch need: a source on stdin, and what a process says and leaves.

It starts nothing and asserts nothing but that a stream goes on.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Final

STDIN: Final = 'name: console, path: "-", framing: lines, to: echo'


def until(stream: Any, text: str) -> str:
    """Everything up to the line that holds the text."""
    told = ""
    while text not in told:
        line = stream.readline()
        assert line, f"ended before {text!r}: {told}"
        told += line
    return told


def without_times(out: str) -> str:
    return re.sub(r"[\d,]+\.\d ms", "… ms", out)


def gone(pid: int) -> bool:
    """True once no such process runs; asked for a while, for init may be slow to bury it."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False
