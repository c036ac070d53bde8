"""What a pump promises whatever happens to it, as an oracle for simulations.

Decides what must hold once an organism's block has been left (its books close, everything borrowed
is back, each conversation's end was told once) and opens organisms that are watched for the rest. A
violation is a line in the run's trace where it was found, and an error as the block is left.
Changes nothing that a pump does. Tests and ``phloem sim`` call it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, final

import trio.testing

from phloem.config import ListenerConfig, OrganismConfig
from phloem.events import EventType
from phloem.loading import importable, load_config, resolve
from phloem.messages import Ending
from phloem.organism import Organism, open_organism
from phloem.pump.observer import LoggingObserver, Observer, Observers

from .sim.context import current_run
from .sim.result import Result
from .watching import Broken, Watch

__all__ = ["Violation", "check_pump", "left_behind", "observing", "open_watched_organism"]

LISTED: Final = 20  # violations in one text; the first says most, all are counted

_beside: ContextVar[Observer | None] = ContextVar("phloem_testing_beside", default=None)


@final
class Violation(AssertionError):
    """A pump broke its promises. ``violations`` has all of them, in the order of finding."""

    def __init__(self, violations: Sequence[str]) -> None:
        self.violations: tuple[str, ...] = tuple(violations)
        more = len(self.violations) - LISTED
        lines = [*self.violations[:LISTED], *([f"and {more} more"] if more > 0 else ())]
        super().__init__("\n".join(lines))

    @property
    def sameness(self) -> str:
        """What was broken first, without the ids of what it was broken with."""
        return " ".join(word for word in self.violations[0].split() if not any(map(str.isdecimal, word)))


@contextmanager
def observing(observer: Observer) -> Iterator[None]:
    """Whatever organism is opened by ``open_watched_organism`` in this block tells ``observer`` too.

    In tasks that are started in the block as well.
    """
    token = _beside.set(observer)
    try:
        yield
    finally:
        _beside.reset(token)


@asynccontextmanager
async def open_watched_organism(
    config: OrganismConfig | str | os.PathLike[str],
    *,
    listeners: Sequence[ListenerConfig] = (),
    observer: Observer | None = None,
    **ports: Any,
) -> AsyncIterator[Organism]:
    """As ``open_organism``, which takes the ``ports``; what the pump breaks is raised as the block is left.

    All violations are raised as one ``Violation``, in place of what the block was left by: that is its
    context. Checkpoint.
    """
    folder: AbstractContextManager[None] = nullcontext()
    if not isinstance(config, OrganismConfig):
        folder = importable(Path(config).resolve().parent)  # noqa: ASYNC240 - as short as reading the file
    with folder:
        if isinstance(config, OrganismConfig):
            found = replace(config, listeners=(*config.listeners, *listeners))
            found = resolve(found, backends=ports.get("backends"))
        else:
            found = load_config(config, listeners=listeners, keys=True, backends=ports.get("backends"))
        watch = Watch(found)
        try:
            async with open_organism(
                _watched(found, watch),
                observer=_all(watch, LoggingObserver(found.name) if observer is None else observer),
                **ports,
            ) as organism:
                watch.organism = organism
                if (run := current_run()) is not None:
                    run.abandoning.append(organism._threads.limiter)
                yield organism
                await _wait_for_seats(watch, organism)
        finally:
            _end(watch)
            if watch.violations:
                raise Violation(watch.violations)


def check_pump(result: Result) -> None:
    """An oracle for ``explore`` and ``sweep``: raises Violation with all that the run's organisms broke.

    Also what the run's own code has swallowed, and what was found after an organism's block was left.
    """
    broken = [found.what for found in result.found if isinstance(found, Broken)]
    if broken:
        raise Violation(broken)


def left_behind(organism: Organism) -> list[str]:
    """What an organism whose block has been left still has, and must not have; one sentence for each."""
    report, core, pump = organism.report, organism._core, organism._pump
    ended = sum(getattr(report, ending.value) for ending in Ending)
    stats = organism.context.get_stats()
    counts = {
        "messages in flight": report.in_flight,
        "messages accepted that have no ending": report.accepted - ended,
        "messages abandoned that have no reason": report.abandoned - sum(core.ledger.abandoned_by.values()),
        "messages cut by the stop that the report does not list": core.ledger.abandoned_by.get("shutdown", 0)
        - len(report.abandoned_messages),
        "live conversations": len(core.conversations),
        "live threads": len(organism.threads),
        "threads in the census": core.memory.census.live,
        "open todos": len(organism.todos),
        "slots of live conversations' memory": stats["total_slots"] if not stats["finished"] else 0,
        "messages in the run queue": len(core.queue),
        "tokens reserved for calls of models": core.ledger.spending.reserved_tokens,
        "picos reserved for calls of models": core.ledger.spending.reserved_cost,
        "calls of models waiting for budget": organism.llm.lines.waiting,
        "calls at the backends of models": sum(each.running + each.waiting for each in organism.llm.backends),
        "tokens reserved at the backends of models": sum(each.reserved for each in organism.llm.backends),
        "limiter tokens on loan": pump.slots.borrowed(),
        "documents being parsed": pump.intake.parsing,
        "strangers waiting for a seat": pump.intake.waiting,
    }
    left = [
        f"{count} {what} after open_organism was left; expected 0" for what, count in counts.items() if count
    ]
    if not pump.intake.closed:
        left.append("the way in is open after open_organism was left; expected it closed")
    return left


def _watched(config: OrganismConfig, watch: Watch) -> OrganismConfig:
    """The same organism with every handler seen when it comes and when it goes."""
    listeners = [
        replace(own, handler=None if own.handler is None else watch.around(own.handler))
        for own in config.listeners
    ]
    return replace(config, listeners=listeners)


def _all(watch: Watch, observer: Observer) -> Observer:
    """The watch first: what another observer raises, it has heard."""
    beside = _beside.get()
    others = observer if beside is None else Observers(beside, observer)
    return Observers(watch, others)


async def _wait_for_seats(watch: Watch, organism: Organism) -> None:
    """Note seats that nobody has. A checkpoint only if some seem to be: a stranger may be on his way in."""
    if _seats_of_nobody(watch, organism):
        await trio.testing.wait_all_tasks_blocked()
    nobodys = _seats_of_nobody(watch, organism)
    if nobodys > 0:
        watch.found(f"{nobodys} seats are held by nobody; expected each to be given back")
    elif nobodys < 0:
        watch.found(f"{-nobodys} seats too many are free; expected each to be given back once")


def _seats_of_nobody(watch: Watch, organism: Organism) -> int:
    intake = organism._pump.intake
    if intake.closed or intake.parsing or intake._readers or intake._at_the_gate:
        return 0  # closed: there are no seats any more; else some are held on the way in, rightly
    return organism.config.max_in_flight - intake.free_seats - intake.entering - len(watch.alive)


def _end(watch: Watch) -> None:
    """The block has been left: nothing is at work, nothing is left."""
    watch.left = True
    for what in watch.at_work:
        watch.found(f"the handler of {what} is at work after open_organism was left; expected none")
    for id in watch.alive:
        watch.found(
            f"conversation {id} has not ended after open_organism was left; expected every one to have"
        )
    if watch.organism is None:
        return
    if not watch.closed:
        watch.found("open_organism was left and the pump never said that it was closed; expected it to")
    for what in (*left_behind(watch.organism), *_wrongly_told(watch.organism, watch.conversations)):
        watch.found(what)
    report, refused = watch.organism.report, watch.organism._core.ledger.refused
    if watch.messages_ended + refused != report.accepted:
        watch.found(
            f"{watch.messages_ended} messages ended and {refused} were refused; expected {report.accepted} "
            "in all, as many as were accepted"
        )


def _wrongly_told(organism: Organism, conversations: dict[str, int]) -> Iterator[str]:
    """What the bus was not told as it should have been, if its history has not forgotten anything."""
    history = organism.events.get_stats()["history"]
    if history["evicted"] or not history["events"]:
        return
    starts, ends = Counter[str](), Counter[str]()
    kinds = (
        EventType.EXECUTION_STARTED,
        EventType.EXECUTION_COMPLETED,
        EventType.EXECUTION_FAILED,
        EventType.NODE_LOOP_ITERATION,
    )
    events = organism.events.get_history(kinds, organism.config.name, limit=history["events"])
    for event in reversed(events):
        id = event.execution_id
        if id not in conversations:  # somebody else's, told on the same bus
            continue
        if event.type == EventType.EXECUTION_STARTED:
            starts[id] += "lasting" in event.data
        elif event.type != EventType.NODE_LOOP_ITERATION:
            ends[id] += "state" in event.data
        elif ends[id]:
            yield f"the bus was told of a dispatch of conversation {id} after its end; expected nothing then"
    for id in conversations:
        if starts[id] != 1 or ends[id] != 1:
            yield (
                f"the bus was told {starts[id]} times that conversation {id} began and {ends[id]} times that "
                "it ended; expected once each"
            )
