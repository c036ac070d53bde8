"""What listeners say to a person while they work: texts bit by bit, and questions.

Decides which events are shown (those of listeners with ``client_facing: true``, in the console's own
conversations), which line is whole, and who is to be answered first. ``console_session`` asks it for
what has come before it shows how a message ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
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
        keys: Collection[str],
        organism: Organism,
        face: Face,
        find: Callable[[str], Talk | None],
        asked: Callable[[Question], None],
    ) -> None:
        self._events, self._keys, self._face = events, keys, face
        self._names = {key: organism.listeners[key].name for key in keys}
        self._find, self._asked = find, asked
        self._streams: dict[tuple[str, str], _Stream] = {}

    async def run(self) -> None:
        """Show what comes, until cancelled. Cancelled means: nothing was lost."""
        if self._events is None:
            return
        async for event in self._events:
            self._take(event)
            await self._face.room()

    def take(self) -> None:
        """Show what has come by now. Never a checkpoint."""
        while self._events is not None:
            try:
                self._take(self._events.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return

    def finish(self, conversation: str, listener: str, *, all_of_it: bool) -> None:
        """Show as whole what this listener (or everybody in the conversation) has begun."""
        for place, stream in list(self._streams.items()):
            if place[0] == conversation and (all_of_it or stream.who == listener):
                del self._streams[place]
                self._lines(stream, [stream.begun] if stream.begun else [])
                self._face.tail(stream.who, "")

    def said(self, conversation: str, listener: str, text: str) -> bool:
        """Whether a listener has written exactly this already."""
        return any(
            stream.said(text)
            for place, stream in self._streams.items()
            if place[0] == conversation and stream.who == listener
        )

    def _take(self, event: AgentEvent | Lagged | HistoryGap) -> None:
        if isinstance(event, Lagged):
            self._face.show(f"{counted(event.count, 'piece')} of what was said came too fast", Kind.NOTICE)
            return
        if isinstance(event, HistoryGap) or event.node_id not in self._keys:
            return
        talk = self._find(event.execution_id or "")
        if talk is None:
            return
        who, place = self._names[event.node_id], (talk.conversation, event.node_id)
        if event.type == EventType.CLIENT_INPUT_REQUESTED:
            self.finish(talk.conversation, who, all_of_it=False)
            prompt = harmless(str(event.data.get("prompt", ""))).strip()
            self._face.show(prompt or "(waits for an answer)", who=f"{harmless(who)} asks")
            self._asked(Question(talk, who))
            return
        stream = self._streams.get(place)
        if stream is None:
            stream = self._streams[place] = _Stream(who)
        self._lines(stream, stream.feed(str(event.data.get("content", ""))))
        self._face.tail(harmless(who), harmless(stream.begun))

    def _lines(self, stream: _Stream, lines: list[str]) -> None:
        for line in lines:
            self._face.show(harmless(line.removesuffix("\r")), who=harmless(stream.who))


@asynccontextmanager
async def open_hearing(
    organism: Organism, face: Face, find: Callable[[str], Talk | None], asked: Callable[[Question], None]
) -> AsyncIterator[Hearing]:
    """What client-facing listeners say from here on; ``find`` gives the talk of a conversation. Checkpoint."""
    keys = facing(organism)
    if not keys:
        await trio.lowlevel.checkpoint()
        yield Hearing(None, keys, organism, face, find, asked)
        return
    kinds = (EventType.CLIENT_OUTPUT_DELTA, EventType.CLIENT_INPUT_REQUESTED)
    async with organism.events.open_stream(kinds, buffer=BUFFER, overflow="drop_oldest") as events:
        yield Hearing(events, keys, organism, face, find, asked)
