"""Python source in the making: lines, the objects they speak of, one function per class.

Decides how generated code is named, compiled and shown in tracebacks; not what it does.
Called by ``codec`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, final

from .plans import Record

__all__ = ["Source"]


@final
class _Loader:
    """Gives tracebacks the lines, through linecache's own road for modules without files."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_source(self, name: str) -> str:
        return self._text


@final
class Source:
    """Lines in the making, and the objects they speak of."""

    def __init__(self, record: Record, verb: str, names: Mapping[str, Any]) -> None:
        self.record = record
        self.verb = verb
        self.names = dict(names)
        self._lines: list[str] = []
        self._functions: dict[int, str] = {}
        self._waiting: list[Record] = []
        self._count = 0

    def build(self, function: Callable[[Source, Record, str], None]) -> Callable[[Any], Any]:
        """Write the outermost function, called like the verb, and all it needs; compile them."""
        function(self, self.record, self.verb)
        while self._waiting:
            record = self._waiting.pop()
            function(self, record, self.function(record))
        text = "\n".join(self._lines) + "\n"
        cls = self.record.cls
        file = f"phloem-{self.verb}-{cls.__module__}.{cls.__qualname__}-{id(cls):x}"
        self.names["__loader__"] = _Loader(text)
        self.names["__name__"] = file
        exec(compile(text, file, "exec"), self.names)  # our own source, made of names we checked
        made: Callable[[Any], Any] = self.names[self.verb]
        return made

    def line(self, depth: int, text: str) -> None:
        self._lines.append("    " * depth + text)

    def fresh(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def bound(self, prefix: str, thing: Any) -> str:
        name = self.fresh(prefix)
        self.names[name] = thing
        return name

    def function(self, record: Record) -> str:
        """The name of the function for a class inside another, which is written once."""
        if id(record) not in self._functions:
            self._functions[id(record)] = self.fresh(f"{self.verb}_")
            self._waiting.append(record)
        return self._functions[id(record)]
