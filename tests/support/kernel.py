"""A kernel for notebooks, reduced to how it runs cells: each on one loop that has long been running.

As ipykernel does: a cell with ``await`` at its top level becomes a task of its own, any other runs as it
is, in between; the value of a last line that is an expression is shown. SIGINT cancels the task of the
running cell, or is a KeyboardInterrupt in one without; the next cell runs. Started as a process: takes
cells as lines of JSON, answers each with two, as it begins and as it ends, and ends when its input does.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import signal
import sys
import types
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TextIO


def compiled(source: str) -> tuple[types.CodeType, types.CodeType | None]:
    """The cell, and its last line if that is an expression. Either may await."""
    tree = ast.parse(source)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        expression = ast.Expression(tree.body.pop().value)  # type: ignore[attr-defined]
        last = compile(expression, "<cell>", "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return compile(tree, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), last


def awaits(code: types.CodeType | None) -> bool:
    return code is not None and bool(code.co_flags & inspect.CO_COROUTINE)


async def run_cell(body: types.CodeType, last: types.CodeType | None, names: dict[str, Any]) -> Any:
    value = None
    for code in (body, last):
        if code is not None:
            value = eval(code, names)
            if awaits(code):
                value = await value
    return value if last is not None else None


async def answer(source: str, names: dict[str, Any], begun: Callable[[], object]) -> dict[str, Any]:
    body, last = compiled(source)
    printed, value, error = io.StringIO(), None, None
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.redirect_stdout(printed):
        try:
            cell: Awaitable[Any] = run_cell(body, last, names)
            if awaits(body) or awaits(last):
                cell = task = asyncio.ensure_future(cell)
                loop = asyncio.get_running_loop()
                signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(task.cancel))
            begun()  # SIGINT is for the cell from here on
            value = await cell
        except (Exception, asyncio.CancelledError, KeyboardInterrupt) as raised:
            error = f"{type(raised).__name__}: {raised}"
        finally:
            signal.signal(signal.SIGINT, former)
    return {"printed": printed.getvalue(), "value": None if value is None else repr(value), "error": error}


async def main(cells: TextIO, answers: TextIO) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    module = types.ModuleType("__main__")  # dataclasses look their module up by its name
    module.__dict__.update(names)
    sys.modules["__main__"] = module
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, cells.readline):
        tell = partial(print, file=answers, flush=True)
        ended = await answer(json.loads(line)["source"], module.__dict__, partial(tell, json.dumps("begun")))
        tell(json.dumps(ended))


if __name__ == "__main__":
    asyncio.run(main(sys.stdin, sys.stdout))
