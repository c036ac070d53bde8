"""What a ``Telling`` puts on the bus, without a bus; and the records that it tells of, without a pump."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from phloem.messages import ShutdownReport
from phloem.pump.telling import Telling


class Tape:
    """What a Telling has recorded: ``last`` is the newest event, without its place."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.report = ShutdownReport(9, 1, 2, 3, 1, 2)
        self.telling = Telling(self.record, "org", lambda: self.report)

    def record(
        self,
        type: str,
        stream: str,
        node: str | None,
        execution: str | None,
        data: dict[str, Any] | tuple[Any, ...],
        correlation: str | None = None,
        cause: str | None = None,
        weight: int = 0,
    ) -> None:
        assert stream == "org"
        if isinstance(data, tuple):
            data = dict(zip(data[::2], data[1::2], strict=True))
        self.rows.append({"type": str(type), "data": data, "at": (node, execution, correlation, cause)})
        texts = [text for value in data.values() for text in (value if isinstance(value, tuple) else [value])]
        assert weight >= sum(len(text) for text in texts if isinstance(text, str) and len(text) > 500)

    @property
    def last(self) -> Any:
        return self.rows[-1]["type"], self.rows[-1]["data"]

    @property
    def place(self) -> Any:
        return self.rows[-1]["at"]

    @property
    def types(self) -> list[str]:
        return [row["type"] for row in self.rows]


def conversation(*, lasting: bool = False) -> Any:
    return SimpleNamespace(id="c", sender="console", lasting=lasting)


def delivery(**more: Any) -> Any:
    """A message for ``a``, which ``c-2`` led to."""
    given = {
        "id": "c-4",
        "cause_id": "c-2",
        "conversation": conversation(),
        "listener": SimpleNamespace(key="a", retries=2),
        "contract": SimpleNamespace(tag="Ask"),
        "thread": SimpleNamespace(id="c-3"),
        "sender": "b",
        "attempt": 1,
        "entered": 1,
        "ending": None,
    }
    return SimpleNamespace(**given | more)


def call(*, result: str = "", error: str = "") -> Any:
    """The thread of a call of ``b`` by ``a``."""
    called = SimpleNamespace(tool="b", payload="Ask", result=result, error=error)
    return SimpleNamespace(id="c-6", call=called, parent=SimpleNamespace(listener="a"))
