"""What listeners say to a person while they work: texts bit by bit, and questions.

Decides which events are shown (those of listeners with ``client_facing: true``, in the console's own
conversations), and which line is whole. ``console_session`` waits for what has come before it shows how a
message ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, final

import trio

from phloem.events import AgentEvent, EventStream, EventType, HistoryGap, Lagged
from phloem.organism import Organism

from .console_talks import Question, Talk
from .shell import counted
from .terminal.face import Face, Kind
from .terminal.harmless import harmless

__all__ = ["Hearing", "facing", "open_hearing"]

BUFFER: Final = 4_096  # events; a model that writes 100 bits a second is forty seconds ahead of the screen
LONGEST_STREAMED: Final = 64 * 1024  # characters of a stream that is compared with the answer it leads to
LONGEST_LINE: Final = 4_000  # characters of a line that is still being written; a longer one is broken


def facing(organism: Organism) -> frozenset[str]:
    """The keys of the listeners that speak to clients."""
    names = {each.name.casefold() for each in organism.config.listeners if each.client_facing}
    return frozenset(key for key, each in organism.listeners.items() if each.name.casefold() in names)


@final
class _Stream:
    """What one listener writes in one conversation: lines that are whole, and one that is not."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.begun = ""
        self._whole = list[str]()
        self._size = 0

    def feed(self, content: str) -> list[str]:
        """The lines that this completes."""
        self._size += len(content)
        if self._size <= LONGEST_STREAMED:
            self._whole.append(content)
        *lines, self.begun = (self.begun + content).split("\n")
        while len(self.begun) > LONGEST_LINE:
            at = self.begun.rfind(" ", 0, LONGEST_LINE) + 1 or LONGEST_LINE
            lines.append(self.begun[:at])
            self.begun = self.begun[at:]
        return lines

    def said(self, text: str) -> bool:
        """Whether this is what was written so far, so that it need not be shown again."""
        return self._size <= LONGEST_STREAMED and harmless("".join(self._whole)).strip() == text.strip()


@final
class Hearing:
    """Made by ``open_hearing``. ``asked`` is called with each question."""

    def __init__(
        self,
        events: EventStream | None,
        names: Mapping[str, str],
        face: Face,
        find: Callable[[str], Talk | None],
        asked: Callable[[Question], None],
    ) -> None:
        self._events, self._names, self._face = events, names, face
        self._find, self._asked = find, asked
        self._streams: dict[tuple[str, str, str], _Stream] = {}  # by conversation, listener, dispatch
        self._shown = 0  # events
        self._moved = trio.Event()

    async def run(self) -> None:
        """Show what comes, until cancelled. Cancelled means: what was being read may not be shown."""
        if self._events is None:
            return
        async for event in self._events:
            self._take(event)
            self._shown += isinstance(event, AgentEvent)
            self._moved.set()
            self._moved = trio.Event()
            await self._face.room()

    async def catch_up(self) -> None:
        """Until what has come by now is shown. Checkpoint. Cancelled means: only the waiting ended."""
        await trio.lowlevel.checkpoint()
        if (events := self._events) is None:
            return
        come = sum(events.statistics().values())
        while self._shown + events.lost < come:
            await self._moved.wait()

    def said(self, conversation: str, listener: str, answers: Sequence[str], *, all_of_it: bool) -> set[str]:
        """A turn is over: show its last line as whole; give back those answers that were written already.

        ``all_of_it``: nobody in the conversation writes any more. Else others may, and what they write is
        told apart by its text, or taken for what was begun first.
        """
        found = {
            place: stream
            for place, stream in self._streams.items()
            if place[0] == conversation and (all_of_it or stream.who == listener)
        }
        written = {
            place: text
            for place, stream in found.items()
            for text in answers
            if stream.who == listener and stream.said(text)
        }
        for place in found if all_of_it else list(written) or list(found)[:1]:
            self._finish_line(self._streams.pop(place))
        return set(written.values())

    def _take(self, event: AgentEvent | Lagged | HistoryGap) -> None:
        if isinstance(event, Lagged):
            self._face.show(f"{counted(event.count, 'piece')} of what was said came too fast", Kind.NOTICE)
            return
        if isinstance(event, HistoryGap):
            return
        node, talk = event.node_id or "", self._find(event.execution_id or "")
        if talk is None or node not in self._names:
            return
        who, place = self._names[node], (talk.conversation, node, event.cause_id or "")
        if event.type == EventType.CLIENT_INPUT_REQUESTED:
            if place in self._streams:
                self._finish_line(self._streams.pop(place))
            prompt = harmless(str(event.data.get("prompt", ""))).strip()
            self._face.show(prompt or "(waits for an answer)", who=f"{harmless(who)} asks")
            self._asked(Question(talk, who))
            return
        stream = self._streams.get(place)
        if stream is None:
            for other, older in self._streams.items():
                if other[:2] == place[:2]:  # its dispatch is over, or it would be the one to write
                    self._finish_line(older)
            stream = self._streams[place] = _Stream(who)
        self._lines(stream, stream.feed(str(event.data.get("content", ""))))
        self._face.tail(harmless(who), harmless(stream.begun))

    def _finish_line(self, stream: _Stream) -> None:
        line, stream.begun = stream.begun, ""
        self._lines(stream, [line] if line else [])
        self._face.tail(harmless(stream.who), "")

    def _lines(self, stream: _Stream, lines: list[str]) -> None:
        for line in lines:
            self._face.show(harmless(line.removesuffix("\r")), who=harmless(stream.who))


@asynccontextmanager
async def open_hearing(
    organism: Organism, face: Face, find: Callable[[str], Talk | None], asked: Callable[[Question], None]
) -> AsyncIterator[Hearing]:
    """What client-facing listeners say from here on; ``find`` gives a conversation's talk. Checkpoint."""
    names = {key: organism.listeners[key].name for key in facing(organism)}
    if not names:
        await trio.lowlevel.checkpoint()
        yield Hearing(None, names, face, find, asked)
        return
    kinds = (EventType.CLIENT_OUTPUT_DELTA, EventType.CLIENT_INPUT_REQUESTED)
    async with organism.events.open_stream(kinds, buffer=BUFFER, overflow="drop_oldest") as events:
        yield Hearing(events, names, face, find, asked)
