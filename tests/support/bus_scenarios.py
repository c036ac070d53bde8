"""A bus and its witness: what each subscriber and each reader got, compared with what was published.

``Witness`` is told of each publish before and after it, and wraps each handler. Whenever a handler is
entered it looks whether every mailbox and stream accounts for every matching event so far: a commit that
somebody could see half of would show there. What it finds is in ``broken``, since what handlers raise
is the bus's to swallow. For the tests that run buses under many schedules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from phloem.errors import EventBusClosed, EventDropped, PublishCircle, StreamOverflowed
from phloem.events import AgentEvent, Delivered, EventBus, EventStream, Lagged

ALL = 1_000_000  # events: more than any scenario has


@dataclass(eq=False)
class Run:
    """One call of a handler."""

    name: str
    event: AgentEvent
    entered: float
    waits: int = 0  # calls of the bus that it is in
    cut: bool = False  # a call of the bus was cancelled: it may go on over the bound


@dataclass(eq=False)
class Subscribed:
    """A subscription as the witness sees it."""

    box: Any
    key: Callable[[AgentEvent], Hashable] | None
    concurrent: bool
    since: int  # the bus's seq when it began
    until: int = ALL  # and when it was ended
    matched: int = 0
    inside: Counter[Hashable] = field(default_factory=Counter[Hashable])
    last: dict[Hashable, int] = field(default_factory=dict[Hashable, int])
    entered: set[int] = field(default_factory=set[int])
    left: set[int] = field(default_factory=set[int])
    over: bool = False  # unsubscribed

    def matches(self, event: AgentEvent) -> bool:
        return self.since < event.seq <= self.until and self.box.filters.match(
            event.type, event.stream_id, event.node_id, event.execution_id
        )


@dataclass(eq=False)
class Opened:
    """A stream as the witness sees it, and what its reader got."""

    stream: EventStream
    since: int
    until: int = ALL
    matched: int = 0
    told: int = 0
    seqs: list[int] = field(default_factory=list[int])

    def matches(self, event: AgentEvent) -> bool:
        return self.since < event.seq <= self.until and self.stream.filters.match(
            event.type, event.stream_id, event.node_id, event.execution_id
        )


Behaviour = Callable[[Run], Awaitable[object]]


class Witness:
    """Of one bus. ``most`` handlers may run at once, those apart that run longer than ``slow_after``."""

    def __init__(self, bus: EventBus, most: int, slow_after: float) -> None:
        self.bus, self.most, self.slow_after = bus, most, slow_after
        self.seen = 0
        self.attempts: dict[int, str] = {}
        self.committed: dict[int, int] = {}  # seq by number of the attempt
        self.subscribed: dict[str, Subscribed] = {}
        self.opened: dict[str, Opened] = {}
        self.runs: set[Run] = set()
        self.over_the_bound = 0  # sights of a mailbox that held more than its bound
        self.delivered = 0  # deliveries that were awaited to their end
        self.broken: list[str] = []

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.broken.append(f"at event {self.seen}: {what}")

    # -- looking --------------------------------------------------------------------------------

    def look(self) -> None:
        """Every mailbox and stream accounts for all that was published until now."""
        for event in reversed(self.bus.get_history(limit=self.bus._commits.seq - self.seen)):
            self.check(event.seq == self.seen + 1, f"{event.seq} follows {self.seen}")
            self.seen = event.seq
            attempt = event.data["attempt"]
            self.check(attempt not in self.committed, f"attempt {attempt} was committed twice")
            self.committed[attempt] = event.seq
            for one in self.subscribed.values():
                one.matched += one.matches(event)
                if one.box.once and one.matched:
                    one.until = min(one.until, event.seq)
            for other in self.opened.values():
                other.matched += other.matches(event)
        self.check(self.seen == self.bus._commits.seq, "history lacks what was published")
        for name, one in self.subscribed.items():
            box = one.box
            has = box.delivered + box.errors + box.lagged + box.discarded + box.waiting + one.inside.total()
            self.check(has == one.matched, f"{name} accounts for {has} of {one.matched} events")
            self.over_the_bound += box.waiting > box.limit
            self.check(box.waiting <= 2 * box.limit, f"{name} holds {box.waiting} of {box.limit}")
        for name, other in self.opened.items():
            stream = other.stream
            has = stream.received + stream.lost + stream.waiting
            if not stream._ended:  # by itself, perhaps, a while before its reader is back
                self.check(has == other.matched, f"{name} accounts for {has} of {other.matched} events")
        now = trio.current_time()
        running = [
            run for run in self.runs if not (run.waits or run.cut or now - run.entered >= self.slow_after)
        ]
        self.check(len(running) <= self.most, f"{[run.name for run in running]} run at once")

    def rest(self) -> None:
        """Nothing moves any more and nobody waits."""
        self.look()
        pool = self.bus._pool
        self.check(not self.runs, "handlers run")
        self.check(pool.running == 0, f"{pool.running} handlers are said to run")
        self.check(pool._active == 0, f"{pool._active} places are taken")
        self.check(not pool._ready, "mailboxes wait for a worker")
        self.check(not pool._returning, "handlers wait for a place")
        self.nobody_waits()
        for name, one in self.subscribed.items():
            self.check(one.box.waiting == 0, f"{one.box.waiting} wait for {name}")
            self.check(one.box.hands == 0, f"{one.box.hands} workers are at {name}")

    def nobody_waits(self) -> None:
        self.check(not self.bus._room._waiters, "publishers wait")
        for one in self.subscribed.values():
            self.check(not one.box.line, f"somebody waits for room in {one.box.name}")
            self.check(not one.box.runs, f"{one.box.name} is said to run")
        for other in self.opened.values():
            self.check(not other.stream.line, f"somebody waits for room in {other.stream.id}")

    def end(self) -> None:
        """After the bus's block: nothing of it is left, and each attempt came to what its caller was told."""
        self.look()
        self.nobody_waits()
        self.check(not self.runs, "handlers run")
        self.check(len(self.bus._commits.routes) == 0, "routes are left")
        for attempt, outcome in self.attempts.items():
            committed = attempt in self.committed
            match outcome:
                case "published":
                    self.check(committed, f"attempt {attempt} is said to be published, and is not")
                case "delivering":
                    pass  # cancelled: before, or while it was handled
                case _:
                    self.check(not committed, f"attempt {attempt} was {outcome}, and published all the same")

    # -- publishing -----------------------------------------------------------------------------

    def event(self, stream: str, depth: int = 0, node: str | None = None) -> AgentEvent:
        attempt = len(self.attempts)
        self.attempts[attempt] = "begun"
        return AgentEvent("custom", stream, node, data={"attempt": attempt, "depth": depth})

    def emit(self, event: AgentEvent) -> None:
        """``emit``, noted."""
        try:
            self.bus.emit(event)
        except EventBusClosed:
            self.attempts[event.data["attempt"]] = "refused"
        else:
            self.attempts[event.data["attempt"]] = "published"

    async def publish(self, event: AgentEvent, run: Run | None = None) -> None:
        """``publish``, noted. A circle that is full and a closed bus are outcomes."""
        attempt = event.data["attempt"]
        try:
            with self.inside_bus(run):
                await self.bus.publish(event)
        except (EventBusClosed, PublishCircle) as error:
            self.attempts[attempt] = type(error).__name__
        except trio.Cancelled:
            self.attempts[attempt] = "cancelled"
            raise
        else:
            self.attempts[attempt] = "published"

    async def deliver(self, event: AgentEvent, run: Run | None = None) -> Delivered | None:
        """``deliver``, noted: whoever was to handle the event has."""
        attempt = event.data["attempt"]
        try:
            with self.inside_bus(run):
                result = await self.bus.deliver(event)
        except (EventBusClosed, PublishCircle) as error:
            self.attempts[attempt] = type(error).__name__
            return None
        except trio.Cancelled:
            self.attempts[attempt] = "delivering"
            raise
        self.attempts[attempt] = "published"
        if not self.bus.closed:
            self._was_handled(result)
        return result

    def _was_handled(self, result: Delivered) -> None:
        self.look()
        seq = self.committed[result.event.data["attempt"]]
        self.delivered += not result.unawaited
        for name, one in self.subscribed.items():
            if isinstance(result.errors.get(one.box.id), EventDropped):
                self.check(seq not in one.left, f"{name} is said to have dropped {seq}")
            elif one.matches(result.event) and one.box.id not in result.unawaited:
                self.check(seq in one.left, f"deliver of {seq} returned before {name} did")

    @contextmanager
    def inside_bus(self, run: Run | None) -> Iterator[None]:
        """A call of the bus that may wait, by a handler or by nobody's."""
        if run is None:
            yield
            return
        run.waits += 1
        try:
            yield
        except trio.Cancelled:
            run.cut = True
            raise
        finally:
            run.waits -= 1
        self.look()

    # -- subscribing and reading ------------------------------------------------------------------

    def subscribe(self, name: str, behave: Behaviour, stream: str | None = None, **more: Any) -> None:
        """A subscription whose handler is watched."""

        async def handler(event: AgentEvent) -> None:
            run = Run(name, event, trio.current_time())
            key = None if one.key is None else one.key(event)
            if not one.concurrent:
                self.check(not one.inside[key], f"{name} is entered twice at once")
                self.check(one.last.get(key, 0) < event.seq, f"{name} sees {event.seq} too late")
                one.last[key] = event.seq
            self.check(event.seq not in one.entered, f"{name} sees {event.seq} twice")
            self.check(not one.over, f"{name} sees {event.seq} after its end")
            one.entered.add(event.seq)
            one.inside[key] += 1
            self.runs.add(run)
            self.look()
            try:
                await behave(run)
            finally:
                self.runs.remove(run)
                one.inside[key] -= 1
                one.left.add(event.seq)

        self.look()
        id = self.bus.subscribe("custom", handler, stream, name=name, **more)
        one = self.subscribed[name] = Subscribed(
            self.bus._boxes[id], more.get("key"), more.get("concurrent", False), self.seen
        )

    def unsubscribe(self, name: str) -> None:
        """End it, if it lives: from here on its handler is not entered."""
        one = self.subscribed[name]
        if self.bus.unsubscribe(one.box.id):
            one.over, one.until = True, min(one.until, self.bus._commits.seq)

    async def read(self, name: str, pause: float, stream: str | None = None, **more: Any) -> None:
        """Open a stream and read it until it ends or this is cancelled; then what it still holds."""
        self.look()
        try:
            async with self.bus.open_stream("custom", stream, **more) as events:
                self.look()
                one = self.opened[name] = Opened(events, self.seen)
                try:
                    while True:
                        self._note(one, await events.receive())
                        await trio.sleep(pause)
                except (trio.EndOfChannel, StreamOverflowed) as error:
                    one.told += error.lost if isinstance(error, StreamOverflowed) else 0
                finally:
                    one.until = self.bus._commits.seq
        finally:
            if name in self.opened:
                self._drain(self.opened[name], name)

    def _drain(self, one: Opened, name: str) -> None:
        """Read what is left; then what was read and what was told lost is all there was."""
        while True:
            try:
                self._note(one, one.stream.receive_nowait())
            except StreamOverflowed as error:
                one.told += error.lost
            except trio.EndOfChannel:
                break
        self.check(len(one.seqs) == one.stream.received, f"{name} counts what it has not handed out")
        self.check(one.told == one.stream.lost, f"{name} lost {one.stream.lost} and told of {one.told}")
        self.check(one.seqs == sorted(set(one.seqs)), f"{name} was read out of order")

    @staticmethod
    def _note(one: Opened, item: object) -> None:
        if isinstance(item, AgentEvent):
            one.seqs.append(item.seq)
        elif isinstance(item, Lagged):
            one.told += item.count
