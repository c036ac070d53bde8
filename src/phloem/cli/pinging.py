"""Backends asked whether they answer: who is asked for which model, and what is known of each then.

Decides the model, what is a failure, and how an error is said in one line. The asking is the router's.
Prints nothing, and never sees a key. For ``llm_ping``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, final

import click
import trio

from phloem.guarding import said
from phloem.llm.backend_settings import CUSTOM, SCRIPTED
from phloem.llm.choosing import route
from phloem.llm.router import Router, open_router
from phloem.llm.settings import LLMSettings
from phloem.pump.ports import TrioClock

from .exit_codes import ExitCode

__all__ = ["Pinged", "ping_all", "planned"]

LONGEST_ERROR: Final = 500  # characters, as everywhere on the command line


@final
@dataclass(slots=True)
class Pinged:
    """What is known of one backend. ``reachable`` is None while, and if, it is not asked."""

    backend: str
    provider: str
    model: str = ""
    reachable: bool | None = None
    ms: float | None = None
    error: str = ""
    code: ExitCode = ExitCode.COMPLETED


def planned(read: LLMSettings, backend: str | None, model: str | None) -> list[Pinged]:
    """Who is asked, and for what. Raises UsageError."""
    rows = [
        _plan(place, read, model)
        for place, each in enumerate(read.backends)
        if backend is None or backend.casefold() == each.name.casefold()
    ]
    missing = [
        f"{name!r} was left out, for {variable} is not set" for name, variable in read.left_out.items()
    ]
    if not rows:
        names = ", ".join(repr(each.name) for each in read.backends) or "none"
        found = "found no backend to ask" if backend is None else f"--backend: found {backend!r}"
        raise click.UsageError("; ".join((f"{found}, expected one of these: {names}", *missing)))
    if model is not None and not any(row.model for row in rows):
        whose = repr(rows[0].backend) if len(rows) == 1 else "one of the backends"
        raise click.UsageError(f"--model: found {model!r}, expected a model that {whose} takes")
    if backend is None:
        rows += (
            Pinged(name, "", error=f"not asked: {variable} is not set")
            for name, variable in read.left_out.items()
        )
    return rows


def _plan(place: int, read: LLMSettings, model: str | None) -> Pinged:
    backend = read.backends[place]
    row = Pinged(backend.name, backend.kind)
    whole = (name for name in backend.supported_models if "*" not in name)
    for wanted in (model,) if model is not None else (read.default_model, *whole):
        way = route(wanted, read.backends)
        if wanted and place in (*way.named, *way.any):
            row.model = way.model
            return row
    if model is not None:
        row.error = f"not asked: it does not take {model!r}"
    elif backend.kind in (CUSTOM, SCRIPTED):
        row.model = backend.name  # they answer to anything
    else:
        row.error = f"not asked: no model is known for it; name one: --backend {backend.name} --model M"
        row.code = ExitCode.USAGE
    return row


async def ping_all(read: LLMSettings, rows: Sequence[Pinged], longest: float) -> None:
    """Fill the rows in."""
    async with (
        open_router(read, random=Random(), clock=TrioClock()) as router,
        trio.open_nursery() as nursery,
    ):
        for row in rows:
            if row.model:
                nursery.start_soon(_ping, router, row, longest, name=f"ping {row.backend}")


async def _ping(router: Router, row: Pinged, longest: float) -> None:
    began = trio.current_time()
    row.reachable = False
    try:
        with trio.fail_after(longest):
            await router.probe(row.backend, row.model)
    except trio.TooSlowError:
        row.error = f"no answer within {longest:g} s"
    except Exception as error:  # noqa: BLE001 - a backend may be the user's, and the others are asked still
        row.error = _one_line(said(error)) or type(error).__name__
    else:
        row.reachable = True
    row.ms = round((trio.current_time() - began) * 1000, 1)
    row.code = ExitCode.COMPLETED if row.reachable else ExitCode.FAILED


def _one_line(text: str) -> str:
    """What somebody's own backend says may be anything; a provider's words are like this already."""
    text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return text if len(text) <= LONGEST_ERROR else f"{text[: LONGEST_ERROR - 1]}…"
