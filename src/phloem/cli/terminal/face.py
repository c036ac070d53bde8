"""What a session is seen and typed through: a terminal, or a pair of pipes.

Decides the words a session has for it and no more, so that a test can be one. ``tty`` and ``plain`` are
the two there are.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from phloem.messages import Fault

__all__ = ["Face", "Kind"]


class Kind(Enum):
    """What a text is, for its colour."""

    ANSWER = auto()
    NOTICE = auto()
    WRONG = auto()


class Face(Protocol):
    """Where lines come from and where texts go. Texts must be harmless already."""

    @property
    def in_full(self) -> bool:
        """Whether nothing is to be cut: no person reads it as it comes."""
        ...

    @property
    def in_turn(self) -> bool:
        """Whether the next line is to be taken when the last one has been answered."""
        ...

    def show(self, text: str, kind: Kind = Kind.ANSWER, who: str = "") -> None:
        """Some lines, by somebody. Never waits."""
        ...

    def tail(self, who: str, text: str) -> None:
        """What somebody has written of a line so far; empty once it is no longer to be seen. Never waits."""
        ...

    def ask(self, prompt: str, *, keep: bool = True) -> None:
        """What stands before what is typed; ``keep`` False for what no history should hold. Never waits."""
        ...

    def close(self) -> None:
        """No prompt and no lines any more; what is said is still shown. Idempotent, never waits."""
        ...

    async def receive(self) -> str | Fault | None:
        """The next line, or why it cannot be read; None at the end. Checkpoint.

        Cancelled means: no line was taken.
        """
        ...

    async def room(self) -> None:
        """Until not too much is on its way out. Checkpoint. Cancelled means: only the waiting ended."""
        ...
