"""Where a task stands: its await stack, without the frames of the libraries in between.

Decides what counts as the program's own code, and how a place is written, so that it is the same
in every process: file name, line, function, never an address. Called by whatever reports on a run.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from types import CodeType
from typing import Any, Final, cast, final

import trio

__all__ = ["Places", "Site", "Stack", "is_own", "is_products", "scrubbed", "stack_of", "waits_for"]

_LIBRARIES: Final = ("trio", "anyio", "outcome", "sniffio", "attr")
_PACKAGES: Final = re.compile(r"/(?:site|dist)-packages/")
_TYPED_IN: Final = ("<stdin", "<console", "<input", "<python-input", "<ipython-input", "<doctest")
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_ID: Final = re.compile(r"0x[0-9a-fA-F]{6,}")
_COUNTED: Final = re.compile(r"(trio\.to_thread\.run_sync|Thread)-\d+")  # Trio counts threads per process


@final
@dataclass(frozen=True, slots=True)
class Site:
    """A line of the program. Equal if they are the same line of the same function."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line} in {self.function}"

    @property
    def place(self) -> str:
        """``file:line``, the file relative to the working directory where it lies below it."""
        try:
            relative = os.path.relpath(self.file) if os.path.isabs(self.file) else self.file
        except (ValueError, OSError):  # on another drive; in a directory that was removed
            relative = self.file
        return f"{self.file if relative.startswith('..') else relative}:{self.line}"


Stack = tuple[Site, ...]  # outermost first


def scrubbed(text: str) -> str:
    """``text`` without what differs from one process to the next: addresses, numbers of threads."""
    if "0x" in text:
        text = _ID.sub("0x…", _ADDRESS.sub("", text))
    return _COUNTED.sub(r"\1-…", text) if "-" in text else text


def stack_of(task: trio.lowlevel.Task) -> Stack:
    """Where the task stands, in the program's own code; empty for one that is all library."""
    return Places().stack_of(task)


@final
class Places:
    """Reads stacks, and remembers what it has read: the same few lines come again and again."""

    def __init__(self) -> None:
        self._sites: dict[tuple[CodeType, int], Site | None] = {}

    def stack_of(self, task: trio.lowlevel.Task) -> Stack:
        """As ``stack_of``."""
        sites = self._sites
        found = list[Site]()
        for frame, line in task.iter_await_frames():
            code = frame.f_code
            try:
                site = sites[code, line]
            except KeyError:
                own = is_own(code.co_filename)
                site = sites[code, line] = Site(code.co_filename, line, code.co_qualname) if own else None
            if site is not None:
                found.append(site)
        return tuple(found)


def waits_for(task: trio.lowlevel.Task) -> str:
    """What a blocked task waits for, as far as its innermost frames tell: ``Event.wait``, a full channel …"""
    frames = [frame for frame, _ in task.iter_await_frames()]
    own = [index for index, frame in enumerate(frames) if is_own(frame.f_code.co_filename)]
    called = frames[own[-1] + 1 :] if own else frames
    if not called:
        return "nothing that can be seen"
    said = called[0].f_code.co_qualname  # what the program's own code has called
    things = [frame.f_locals.get("self") for frame in reversed(called)]
    told = [(type(each).__name__, _state(each)) for each in things if each is not None]
    told = [each for each in told if each[1]]
    # The innermost thing that can tell of itself more than that somebody waits for it.
    more = [each for each in told if not each[1].startswith(" (tasks waiting")]
    for kind, state in (*more, *told):
        return (said if kind in said else f"{said} of a {kind}") + state
    return said


def _state(found: Any) -> str:
    kind = type(found).__name__
    if kind in ("NurseryManager", "Nursery"):
        nursery = found if kind == "Nursery" else getattr(found, "_nursery", None)
        names = sorted(each.name for each in getattr(nursery, "child_tasks", ()))
        return f" (children: {', '.join(names)})" if names else ""
    try:
        stats = found.statistics()
    except Exception:  # noqa: BLE001 - it has none, or somebody else's of that name; there is nothing to tell
        return ""
    told = [
        f"{name.replace('_', ' ')} {_value(getattr(stats, name))}"
        for name in (
            "current_buffer_used", "max_buffer_size", "open_send_channels", "open_receive_channels",
            "borrowed_tokens", "total_tokens", "borrowers", "locked", "owner", "tasks_waiting",
        )
        if hasattr(stats, name)
    ]  # fmt: skip
    return f" ({', '.join(told)})" if told else ""


def _value(value: Any) -> str:
    name = getattr(value, "name", None)
    if isinstance(name, str):  # a task, Trio's or anyio's
        return name
    if isinstance(value, list):  # borrowers
        borrowers = (_value(each) for each in cast("list[object]", value))
        return ", ".join(sorted(borrowers)) or "nobody"
    if not isinstance(value, int | float | bool | None):
        return type(value).__name__
    return scrubbed(str(value))


def is_own(file: str) -> bool:
    """True for a file of the program: not Trio, not the standard library, not this package.

    What was typed in is the program's too, but not ``<string>``, which is what a dataclass makes of itself.
    """
    path = _path(file)
    if path.startswith("<"):
        return path.startswith(_TYPED_IN)
    if path.startswith(_FOREIGN):
        return False
    _, *packages = _PACKAGES.split(path)
    if packages:
        return packages[-1].partition("/")[0] not in _LIBRARIES
    return not path.startswith(_STDLIB)


def is_products(file: str) -> bool:
    """True for a file of phloem's, which brings this simulation, and which the program may stand on."""
    return _path(file).startswith(_PRODUCT)


def _path(file: str) -> str:
    return file.replace("\\", "/")


_HERE: Final = _path(os.path.dirname(os.path.abspath(__file__))) + "/"
_PRODUCT: Final = _HERE.removesuffix("testing/sim/")
_TOOLS: Final = (_PRODUCT + "testing/", _PRODUCT + "cli/")  # they run programs, and are no part of one
_INSTALLED: Final = _path(os.path.dirname(os.path.dirname(os.path.abspath(trio.__file__))))
_FOREIGN: Final = (*_TOOLS, *(f"{_INSTALLED}/{name}/" for name in _LIBRARIES))
_STDLIB: Final = _path(os.path.dirname(os.path.abspath(os.__file__))) + "/"
