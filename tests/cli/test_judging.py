"""Whose fault it is that a handler raised."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from phloem.cli.judging import Book, HandlerRaised
from phloem.testing.faults import InjectedOSError
from phloem.testing.sim import Cut


def test_an_error_that_an_injected_one_has_caused_is_nobodys() -> None:
    book = Book(set(), set())
    errors: list[BaseException] = [InjectedOSError("x"), ExceptionGroup("", [InjectedOSError("x")])]
    wrapped = ValueError("y")
    wrapped.__cause__ = InjectedOSError("x")
    mixed = ExceptionGroup("", [InjectedOSError("x"), ValueError("mine")])

    class Metadata:
        message_id = "m"

    async def raising(error: BaseException) -> None:
        async def handler(payload: Any, metadata: Any) -> Any:
            raise error

        with pytest.raises(type(error)):
            await book.around(handler)(None, Metadata())  # type: ignore[arg-type]

    for error in (*errors, wrapped):
        trio.run(raising, error)
        assert not book._raised
    trio.run(raising, mixed)
    assert "m" in book._raised


def test_the_judge_lets_a_fired_deadline_excuse_what_handlers_raise() -> None:
    class Run:
        faults = ()
        cuts: tuple[Cut, ...] = ()

    book = Book(set(), set())
    book._failed.append(("listener x raised", "message 1"))
    book._errors.append((ValueError("x"), None))
    with pytest.raises(HandlerRaised):
        book.judge(Run(), deadlines=True)  # type: ignore[arg-type]
    Run.cuts = (Cut(3),)
    with pytest.raises(HandlerRaised):
        book.judge(Run(), deadlines=True)  # type: ignore[arg-type]
    Run.cuts = (Cut(3), Cut(4, "timeout"))
    book.judge(Run(), deadlines=True)  # type: ignore[arg-type]
