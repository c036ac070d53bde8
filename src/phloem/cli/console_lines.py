"""What a line of the console means: a message for a listener, a command, or nothing that can be done.

Decides the grammar: ``@listener text``, ``/command argument``, and everything else is text for whoever was
talked to last. Pure: knows names, and no organism. ``console_session`` asks it for each line, and for
what a line may be completed to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final, final

__all__ = ["COMMANDS", "HELP", "Misread", "Plain", "Say", "Slash", "Turn", "completions", "read_line"]

_HELP: Final = 20  # columns before what a command does
_NAMED: Final = 20  # listeners named where one is not known; /listeners names all

# What each takes, and what it does.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "listeners": ("", "who there is, and what each takes"),
        "status": ("", "what is going on: messages, conversations, who is waited for"),
        "threads": ("", "the live threads, each as its chain of listeners"),
        "todos": ("", "the open todos"),
        "trace": (
            "[WHICH]",
            "the messages of a conversation (by its listener or id) as a tree; else of the last",
        ),
        "full": ("", "the last answer that was cut short, whole"),
        "kill": ("[WHICH]", "end a conversation (by its listener or id); else that of the last listener"),
        "help": ("", "this"),
        "quit": ("", "wait for what is unanswered (shutdown_grace at most), then end; Ctrl-D does the same"),
    }
)

HELP: Final = (
    "@listener text       send the text; it goes to the only text field of what the listener takes",
    "@listener {…}        send fields as JSON, where there are more",
    "@listener <…>        send a payload as XML",
    "@listener            talk to this one from now on",
    "text                 send it to the listener talked to last, or answer the one who asks",
    *(f"{f'/{name} {takes}':<{_HELP}} {does}" for name, (takes, does) in COMMANDS.items()),
)


@final
@dataclass(frozen=True, slots=True)
class Say:
    """A text for a listener."""

    listener: str
    text: str


@final
@dataclass(frozen=True, slots=True)
class Plain:
    """A text for whoever was talked to last, or asks."""

    text: str


@final
@dataclass(frozen=True, slots=True)
class Turn:
    """From now on plain texts go to this listener."""

    listener: str


@final
@dataclass(frozen=True, slots=True)
class Slash:
    """A command."""

    name: str
    argument: str


@final
@dataclass(frozen=True, slots=True)
class Misread:
    """What was found, what was expected. ``command``: it would have been one."""

    text: str
    command: bool = False


def read_line(line: str, names: Sequence[str]) -> Say | Plain | Turn | Slash | Misread | None:
    """What a line says to an organism with listeners of these names; None for a blank one."""
    line = line.strip()
    if not line:
        return None
    if line[0] == "@":
        return _addressed(line[1:], names)
    if line[0] == "/":
        return _command(line[1:])
    return Plain(line)


def named(text: str, names: Iterable[str]) -> str | None:
    """The listener of this name; names are the same without case."""
    folded = text.casefold()
    return next((name for name in names if name.casefold() == folded), None)


def completions(before: str, names: Sequence[str], conversations: Sequence[str]) -> list[str]:
    """What a text before the cursor may be completed to."""
    if before[:1] == "@":
        start = before[1:].casefold()
        return sorted(f"@{name} " for name in names if name.casefold().startswith(start))
    if before[:1] != "/":
        return []
    name, space, argument = before[1:].partition(" ")
    if not space:
        return sorted(
            f"/{each} " if takes else f"/{each}"
            for each, (takes, _) in COMMANDS.items()
            if each.startswith(name)
        )
    if not COMMANDS.get(name, ("", ""))[0]:
        return []
    start = argument.lstrip().casefold()
    return sorted(f"/{name} {each}" for each in (*names, *conversations) if each.casefold().startswith(start))


def _addressed(rest: str, names: Sequence[str]) -> Say | Turn | Misread:
    """A name may have spaces in it: the longest that fits is meant."""
    folded = rest.casefold()
    for name in sorted(names, key=len, reverse=True):
        start, after = folded[: len(name.casefold())], rest[len(name) :]
        if start == name.casefold() and (not after or after[0].isspace()):
            text = after.strip()
            return Say(name, text) if text else Turn(name)
    asked = rest.split(maxsplit=1)[0] if rest.strip() and not rest[0].isspace() else ""
    found = f"found no listener {asked!r}" if asked else "found an @ without a name"
    more = ", …" if len(names) > _NAMED else ""
    near = get_close_matches(asked.casefold(), {name.casefold(): name for name in names}, n=1)
    meant = f"; did you mean @{named(near[0], names)}?" if near else ""
    return Misread(f"{found}, expected one of {', '.join(names[:_NAMED]) or 'none'}{more}{meant}")


def _command(rest: str) -> Slash | Misread:
    name, _, argument = rest.partition(" ")
    argument = argument.strip()
    takes = COMMANDS.get(name)
    known = ", ".join(f"/{each}" for each in COMMANDS)
    if takes is None:
        near = get_close_matches(name, COMMANDS, n=1)
        meant = f"; did you mean /{near[0]}?" if near else ""
        return Misread(f"found /{name}, expected one of {known}{meant}", command=True)
    if argument and not takes[0]:
        return Misread(f"found {argument!r} after /{name}, which takes nothing", command=True)
    return Slash(name, argument)
