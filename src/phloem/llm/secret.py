"""A key that shows itself to nobody but who asks for it by name.

Decides that a key stands in no ``repr``, text, log line, pickle or dump of attributes. Called by whoever
reads a key, and by the one place of a provider that writes a header.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn, final

__all__ = ["Secret"]

HIDDEN: Final = "(hidden)"


@final
class Secret:
    """A key. ``reveal()`` gives it; nothing else does. Two are equal only if they are the same object."""

    __slots__ = ("_reveal",)

    def __init__(self, text: str) -> None:
        def reveal() -> str:
            return text

        self._reveal: Callable[[], str] = reveal  # what walks over attributes finds a function

    def reveal(self) -> str:
        """The key itself. For headers only: keep it in no attribute and no message."""
        return self._reveal()

    def __repr__(self) -> str:
        return f"Secret{HIDDEN}"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return HIDDEN

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret cannot be pickled: the key would leave its process")
