"""Whether an organism comes to the same whatever the schedule: each message, by where it came from.

Decides what makes two messages of two runs the same one: its stranger, and from there on which output of
which message it was; never when it arrived. So handlers that do not care about order give the same
set of (message, listener, result) under every schedule, and the first message that differs is where
they do care. Runs nothing by itself save through ``explore``. Tests and ``phloem sim`` call it.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, final

from phloem.contract import encode
from phloem.errors import NotConfluent, ScheduleFailure
from phloem.guarding import Raised, attempted
from phloem.messages import SYSTEM, Cause, Huh, Outcome
from phloem.pump.conversation import Conversation, Delivery

from .invariants import observing
from .sim import Report, Result, Strategy, current_run, explore

__all__ = ["Confluence", "Record", "assert_confluent"]

Main = Callable[[], Awaitable[Any]]
Ingress = tuple[str, str, int, str]  # organism, sender, turn, what was sent
ROOT: Final = "(its sender)"  # in a listener's place: what a conversation answered
QUOTED: Final = 120  # characters of a payload in an error's text


@final
@dataclass(frozen=True, slots=True, order=True)
class Record:
    """What became of one message. ``outputs``: which output of which, from the stranger's message on."""

    depth: int
    ingress: Ingress
    outputs: tuple[int, ...]
    listener: str
    payload: str
    result: str

    @property
    def id(self) -> str:
        """A name for people: who sent it, and the outputs that led to it."""
        organism, sender, turn, text = self.ingress
        steps = "".join(f" > {number}" for number in self.outputs)
        return f"{organism}: {sender}, turn {turn}, {_short(text)}{steps}"


@final
@dataclass(slots=True)
class _Message:
    """One delivery, before its place among its siblings is known."""

    number: int
    cause: str | None
    turn: int
    listener: str
    payload: str
    result: str


@final
class _Book:
    """What one run's organisms told: an observer that keeps how each message ended."""

    def __init__(self) -> None:
        self._messages: dict[tuple[str, str, str], dict[str, _Message]] = {}
        self._refused: dict[str, list[str]] = defaultdict(list)
        self._ends: list[tuple[tuple[str, str, str], str]] = []

    def conversation_started(self, conversation: Conversation) -> None:
        """Known by its first message."""

    def ended(self, delivery: Delivery, cause: Cause | None) -> None:
        key = _key(delivery.conversation)
        result = str(delivery.ending)
        if cause is not None:
            result += f" ({': '.join(filter(None, (cause.reason, cause.exception)))})"
        self._messages.setdefault(key, {})[delivery.id] = _Message(
            int(delivery.id.rpartition("-")[2]),
            delivery.cause_id,
            delivery.turn.number,
            delivery.listener.key,
            delivery.text,
            result,
        )

    def refused(
        self, conversation: Conversation, sender: str, huh: Huh, detail: str, sent_by: Delivery | None
    ) -> None:
        if sent_by is not None:
            self._refused[sent_by.id].append(f"refused {huh.code} at {huh.path}")

    def conversation_ended(self, conversation: Conversation, outcome: Outcome) -> None:
        answers = sorted(map(_written, outcome.payloads))
        self._ends.append((_key(conversation), f"{outcome.state} {' '.join(answers)}".rstrip()))

    def unseen(self, *_: object, **__: object) -> None:
        """Says nothing of how a message ended."""

    dispatched = buried = raised = retrying = claim_ignored = mended = unseen
    call_started = call_ended = budget_warning = repeating = unseen
    unread = broke = waiting = overslept = held_up = step_raised = phase = unseen

    def records(self) -> list[Record]:
        """All messages by their causal ids, sorted: what is nearer to its stranger first."""
        found: list[Record] = []
        ingresses: dict[tuple[str, str, str], Ingress] = {}
        for key, messages in self._messages.items():
            if key[1] != SYSTEM:
                found += self._of_conversation(key, messages, ingresses)
        for key, result in self._ends:
            if key in ingresses:
                found.append(Record(0, ingresses[key], (), ROOT, "", result))
        return sorted(found)

    def _of_conversation(
        self,
        key: tuple[str, str, str],
        messages: dict[str, _Message],
        ingresses: dict[tuple[str, str, str], Ingress],
    ) -> list[Record]:
        """Siblings are numbered by their ids: a dispatch's outputs are accepted in one go, in their order."""
        outputs: dict[str | None, list[str]] = defaultdict(list)
        for id in sorted(messages, key=lambda id: messages[id].number):
            outputs[messages[id].cause].append(id)
        turns: dict[int, list[str]] = defaultdict(list)
        for id in outputs[None]:
            turns[messages[id].turn].append(id)
        found: list[Record] = []
        for turn, roots in sorted(turns.items()):
            ingress = (key[0], key[1], turn, " ".join(messages[id].payload for id in roots))
            ingresses.setdefault(key, ingress)
            left: list[tuple[str, tuple[int, ...]]] = [(id, (number,)) for number, id in enumerate(roots)]
            while left:
                id, path = left.pop()
                own = messages[id]
                result = ", ".join([own.result, *self._refused[id]])
                found.append(Record(len(path), ingress, path, own.listener, own.payload, result))
                left += [(child, (*path, number)) for number, child in enumerate(outputs[id])]
        return found


@final
class Confluence:
    """One comparison of many runs: ``watching(main)`` is what to run, ``check`` the oracle."""

    def __init__(self) -> None:
        self._first: tuple[list[Record], str] | None = None

    @property
    def compared(self) -> int:
        """Records of the run that the others are compared with: 0 says that nothing was compared."""
        return 0 if self._first is None else len(self._first[0])

    def watching(self, main: Main) -> Main:
        """The same program, whose messages are written down."""

        @functools.wraps(main)  # a failure's text names the program that it is of, and its tokens replay that
        async def watched() -> Any:
            book, run = _Book(), current_run()
            if run is not None:
                run.found.append(book)
            with observing(book):
                return await main()

        return watched

    def check(self, result: Result) -> None:
        """Compare a run with the first one that did not fail. Raises NotConfluent."""
        if result.failure is not None or result.cut is not None:
            return
        records = [record for found in result.found if isinstance(found, _Book) for record in found.records()]
        if self._first is None:
            self._first = records, result.token
        elif records != self._first[0]:
            raise NotConfluent(_difference(*self._first, records, result.token))


def assert_confluent(
    main: Main, *, runs: int = 200, seed: int = 0, strategy: Strategy | str = Strategy.PORTFOLIO
) -> Report:
    """Run ``main`` under many schedules, and compare what became of each message.

    ``main`` opens its organism by ``open_watched_organism`` (or ``open_simulated_organism``). A message is
    known by its sender, turn and payload where a stranger sent it, else by the message that led to it and
    its place among what that one sent. Raises NotConfluent with the first message that differs and both
    schedules, shrunk; ScheduleFailure for a run that fails by itself; ValueError if nothing was compared.
    """
    confluence = Confluence()
    try:
        report = explore(
            confluence.watching(main), runs=runs, seed=seed, strategy=strategy, check=confluence.check
        )
    except ScheduleFailure as failure:
        if isinstance(failure.failure, NotConfluent):
            raise failure.failure from failure
        raise
    if not confluence.compared:
        raise ValueError(
            f"assert_confluent: found no message in {report.runs} runs, expected an organism opened by "
            "open_watched_organism or open_simulated_organism, and somebody who sends to it"
        )
    return report


def _difference(first: list[Record], token: str, second: list[Record], other: str) -> str:
    """The message nearest to its stranger that is not in both, and what each schedule made of it."""
    lacking, more = Counter(first) - Counter(second), Counter(second) - Counter(first)
    diverging = min([*lacking, *more])
    same = [
        each
        for each in (*sorted(lacking.elements()), *sorted(more.elements()))
        if (each.ingress, each.outputs, each.listener)
        == (diverging.ingress, diverging.outputs, diverging.listener)
    ]
    ones, others = ([each for each in same if each in side] for side in (lacking, more))
    count = lacking.total() + more.total()
    return (
        f"{diverging.id} for {diverging.listener}: found {_told(others)} under one schedule and "
        f"{_told(ones)} under another; expected the same under every schedule ({count} records differ in "
        f"all)\n  {_told(ones)}: token {token}\n  {_told(others)}: token {other}"
    )


def _told(records: list[Record]) -> str:
    if not records:
        return "no such message"
    return "; ".join(f"{each.result} {_short(each.payload)}".rstrip() for each in records)


def _key(conversation: Conversation) -> tuple[str, str, str]:
    core: Any = conversation.core
    return core.organism, conversation.sender, conversation.id


def _written(payload: object) -> str:
    text = attempted(encode, payload)
    return f"<{type(payload).__name__}>" if isinstance(text, Raised) else str(text)


def _short(text: str) -> str:
    return text if len(text) <= QUOTED else f"{text[: QUOTED - 1]}…"
