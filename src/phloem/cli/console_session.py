"""One sitting at an organism's console: lines in, conversations held, answers out. Knows no terminal.

Decides that each listener talked to has one conversation, so that agents remember; that nothing a person
types waits for the organism, while lines of a pipe are taken one after the other; and who a text without
an address is for. Everything shown is harmless. ``console`` runs it with a face.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, final

import trio

from phloem.framing.fields import FieldTable
from phloem.framing.requests import Refused
from phloem.messages import ConversationState, Fault, Outcome
from phloem.organism import Organism

from .console_answers import Part, cut_short, in_words, refused, words_of
from .console_commands import listener_lines, status_lines, thread_lines, todo_lines, trace_lines
from .console_hearing import Hearing, facing, open_hearing
from .console_lines import HELP, Misread, Plain, Say, Slash, Turn, completions, named, read_line
from .console_requests import ConsoleTexts
from .console_talks import Ask, Question, Talk, hold
from .exit_codes import ExitCode, Tally
from .shell import counted
from .terminal.face import Face, Kind
from .terminal.harmless import harmless, one_line

__all__ = ["Session"]

SENDERS: Final = ("console", "outside", "person")  # who is speaking: the first that no listener is called
NAMED: Final = 10  # listeners or conversations named where one is missing
WORTH_TELLING: Final = 1.0  # seconds; who waited less has not noticed


@final
class Session:
    """``run`` it once, in an open organism. ``patience``: seconds of drain; None is the organism's own."""

    def __init__(self, organism: Organism, face: Face, patience: float | None = None) -> None:
        self.tally = Tally()
        self.failure: OSError | None = None  # of reading
        self._organism, self._face = organism, face
        self._patience = organism.config.shutdown_grace if patience is None else patience
        open_to_all = [each for each in organism.listeners.values() if not each.private]
        open_to_all.sort(key=lambda each: each.service)
        self._listeners = {each.name: each for each in reversed(open_to_all)}
        self._names = tuple(dict.fromkeys(each.name for each in open_to_all))
        taken = {name.casefold() for name in self._names}
        self._sender = next(name for name in SENDERS if name not in taken)
        self._table = FieldTable()
        self._texts = ConsoleTexts(
            organism.listeners.values(), self._table, sender=self._sender, limits=organism.config.wire
        )
        self.stopping = trio.Event()  # set by ``stop``
        self._talks: dict[str, Talk] = {}  # by listener; one that was killed is gone from here
        self._last: str | None = None  # the listener talked to last
        self._questions: list[Question] = []
        self._newest = ""  # the conversation that was talked in last
        self._cut = ""  # the last answer that was cut short, whole

    async def run(self) -> None:
        """Until the lines end and all is answered, or until ``stop`` and the drain.

        Checkpoint. Cancelled means: the conversations are killed.
        """
        self._prompt()
        async with (
            open_hearing(self._organism, self._face, self._talk_of, self._asked) as hearing,
            trio.open_nursery() as helpers,
        ):
            helpers.start_soon(hearing.run, name="hear listeners")
            reading = trio.CancelScope()
            helpers.start_soon(self._drain_when_asked, reading, name="wait for the end")
            async with trio.open_nursery() as talks:
                with reading:
                    await self._take_lines(hearing, talks)
                for talk in self._talks.values():
                    talk.close()
            await hearing.catch_up()
            helpers.cancel_scope.cancel(reason="all is answered")

    def stop(self) -> None:
        """Take no more lines, and drain what is unanswered. Idempotent, never a checkpoint."""
        self.stopping.set()

    def complete(self, before: str) -> list[str]:
        """What the text before the cursor may become."""
        conversations = [each.conversation for each in self._talks.values() if each.conversation]
        return completions(before, self._names, conversations)

    # -- lines -----------------------------------------------------------------------------------

    async def _take_lines(self, hearing: Hearing, talks: trio.Nursery) -> None:
        while True:
            try:
                line = await self._face.receive()
            except OSError as error:
                self.failure = error
                return
            if line is None:
                if not self._face.in_full:  # a person has left; a pipe that ends waits for its answers
                    self.stop()
                return
            await self._take(line, hearing, talks)
            self._prompt()
            await self._face.room()

    async def _take(self, line: str | Fault, hearing: Hearing, talks: trio.Nursery) -> None:
        understood = read_line(line, self._names) if isinstance(line, str) else line
        match understood:
            case None:
                pass
            case Fault():
                self._refuse("", (understood,))
            case Misread():
                self._wrong(understood.text, ExitCode.USAGE if understood.command else ExitCode.UNDELIVERED)
            case Slash():
                self._command(understood.name, understood.argument, talks)
            case Turn(listener):
                self._last = listener
                if self._face.in_full:
                    return
                self._notice(f"lines without @ go to {harmless(listener)} from here on")
            case Say(listener, text):
                self._last = listener
                await self._say(self._talk_with(listener, hearing, talks), listener, text)
            case Plain(text):
                await self._plain(text, hearing, talks)

    async def _plain(self, text: str, hearing: Hearing, talks: trio.Nursery) -> None:
        if self._questions:
            question = self._questions.pop(0)
            await self._say(question.talk, question.listener, text)
        elif self._last is None:
            names = ", ".join(f"@{name}" for name in self._names[:NAMED])
            self._wrong(f"nobody has been talked to yet: begin with one of {names}", ExitCode.UNDELIVERED)
        else:
            await self._say(self._talk_with(self._last, hearing, talks), self._last, text)

    async def _say(self, talk: Talk, listener: str, text: str) -> None:
        request = self._texts.read(self._listeners[listener], text)
        if isinstance(request, Refused):
            self._refuse(listener, request.faults)
            return
        self._questions = [each for each in self._questions if (each.talk, each.listener) != (talk, listener)]
        try:
            talk.free.acquire_nowait()
        except trio.WouldBlock:
            if not self._face.in_full:
                self._wrong(
                    f"not sent: {counted(len(talk.unanswered), 'message')} to {talk.listener} wait for an "
                    "answer; /kill ends them",
                    ExitCode.UNDELIVERED,
                )
                return
            await talk.free.acquire()
        ask = Ask(listener, request, trio.current_time())
        talk.put(ask)
        if self._face.in_turn:
            await ask.over.wait()

    # -- conversations ---------------------------------------------------------------------------

    def _talk_with(self, listener: str, hearing: Hearing, talks: trio.Nursery) -> Talk:
        talk = self._talks.get(listener)
        if talk is None:
            talk = self._talks[listener] = Talk(listener)

            async def ended(talk: Talk, ask: Ask, outcome: Outcome) -> None:
                await hearing.catch_up()
                self._ended(hearing, talk, ask, outcome)

            talks.start_soon(
                hold, talk, self._organism, self._sender, ended, self._renewed, name=f"talk with {listener}"
            )
        return talk

    def _talk_of(self, conversation: str) -> Talk | None:
        return next((each for each in self._talks.values() if each.conversation == conversation), None)

    def _asked(self, question: Question) -> None:
        if question not in self._questions:
            self._questions.append(question)
        for ask in question.talk.unanswered:
            ask.questions += 1
            ask.over.set()
        self._prompt()

    def _renewed(self, talk: Talk, how: Outcome) -> None:
        self._forget_questions(talk)
        why = how.cause.text if how.cause is not None else how.state.value.replace("_", " ")
        self._notice(harmless(f"the conversation with {talk.listener} had ended ({why}); a new one begins"))

    def _ended(self, hearing: Hearing, talk: Talk, ask: Ask, outcome: Outcome) -> None:
        """A message has its outcome: show what there is to show, and let the next line come."""
        talk.unanswered.remove(ask)
        talk.free.release()
        self._newest = talk.conversation or self._newest
        if not talk.killed:  # what was asked for is no failure
            self.tally.add(outcome)
        said = [in_words(payload, self._table) for payload in outcome.payloads]
        written = hearing.said(talk.conversation, ask.listener, said, all_of_it=not talk.unanswered)
        who = harmless(ask.listener)
        for text in said:
            if text not in written:
                self._answer(who, text)
        told = list(words_of(outcome))
        for part in told:
            self._show(part, who)
        if not said and not told and not ask.questions:
            self._notice("(no answer)", who)
        seconds = trio.current_time() - ask.since
        if seconds >= WORTH_TELLING and not self._face.in_full:
            self._notice(f"({seconds:.1f} s)")
        ask.entered.set()
        ask.over.set()
        self._prompt()

    def _answer(self, who: str, text: str) -> None:
        short = None if self._face.in_full else cut_short(text)
        if short is not None:
            self._cut = text
        self._face.show(text if short is None else short, who=who)

    # -- commands --------------------------------------------------------------------------------

    def _command(self, name: str, argument: str, talks: trio.Nursery) -> None:
        """None of them waits for the organism."""
        organism = self._organism
        match name:
            case "listeners":
                self._lines(listener_lines(organism.listeners.values(), facing(organism)))
            case "status":
                open_talks = (
                    (talk.listener, talk.conversation, len(talk.unanswered)) for talk in self._talks.values()
                )
                self._lines(status_lines(organism.statistics(), open_talks))
            case "threads":
                self._lines(thread_lines(organism.threads))
            case "todos":
                self._lines(todo_lines(organism.todos))
            case "trace":
                self._trace(argument)
            case "full":
                self._lines([self._cut or "nothing was cut short"])
            case "kill":
                self._kill(argument, talks)
            case "quit":
                self.stop()
            case _:
                self._lines(HELP)

    def _trace(self, argument: str) -> None:
        found: str | None = self._conversation(argument) if argument else self._newest
        if found is None:
            return
        if found:
            self._lines(trace_lines(found, self._organism.events, self._organism.config.events.max_history))
        else:
            self._wrong("there is no conversation to trace", ExitCode.USAGE)

    def _kill(self, argument: str, talks: trio.Nursery) -> None:
        listener = named(argument, self._names) if argument else self._last
        if listener is None:
            found = self._conversation(argument) if argument else ""
            talk = self._talk_of(found) if found else None
        else:
            talk = self._talks.get(listener)
            found = "" if talk is None else talk.conversation
        if talk is not None:
            del self._talks[talk.listener]
            self._forget_questions(talk)
            talk.close(kill=True)
        if found:
            talks.start_soon(self._end_conversation, found, name=f"kill {found}")
        elif talk is None and found is not None:
            self._wrong("there is no conversation to kill", ExitCode.USAGE)

    async def _end_conversation(self, conversation: str) -> None:
        killed = await self._organism.kill(conversation)
        self._notice(f"conversation {conversation} {'was killed' if killed else 'had ended'}")

    def _conversation(self, asked: str) -> str | None:
        """The conversation with a listener, or the one whose id begins so; None, and said, for no one."""
        listener = named(asked, self._names)
        if listener is not None:
            talk = self._talks.get(listener)
            return "" if talk is None else talk.conversation
        live: dict[str, None] = dict.fromkeys(each.conversation for each in self._organism.threads)
        known: list[str] = [*live, *(() if self._newest in live or not self._newest else (self._newest,))]
        found = [each for each in known if each == asked] or [
            each for each in known if each.startswith(asked)
        ]
        if len(found) == 1:
            return found[0]
        what = f"{len(found)} conversations" if found else "no listener and no conversation"
        self._wrong(
            f"found {what} that {one_line(harmless(asked))[:60]!r} may mean, expected one of "
            f"{', '.join((found or [*self._talks, *known])[:NAMED]) or 'none'}",
            ExitCode.USAGE,
        )
        return None

    def _forget_questions(self, talk: Talk) -> None:
        self._questions = [each for each in self._questions if each.talk is not talk]

    async def _drain_when_asked(self, reading: trio.CancelScope) -> None:
        await self.stopping.wait()
        reading.cancel(reason="the end was asked for")
        self._face.close()
        waiting = sum(len(each.unanswered) for each in self._talks.values())
        if waiting:
            most = "" if math.isinf(self._patience) else f", {self._patience:g} s at most"
            self._notice(f"waiting for {counted(waiting, 'answer')}{most}; Ctrl-C stops at once")
        end = trio.current_time() + self._patience
        with trio.move_on_at(end):  # what was typed before the end was asked for still goes in
            for ask in [ask for talk in self._talks.values() for ask in talk.unanswered]:
                await ask.entered.wait()
        await self._organism.shutdown(max(0.0, end - trio.current_time()))

    # -- what is shown -----------------------------------------------------------------------------

    def _prompt(self) -> None:
        if self._questions:
            self._face.ask(f"{harmless(self._questions[0].listener)}? ", keep=False)
        else:
            self._face.ask(f"{harmless(self._last)}> " if self._last is not None else "> ")

    def _show(self, part: Part, who: str = "") -> None:
        self._face.show(part.text, part.kind, who)

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._face.show(line)

    def _notice(self, text: str, who: str = "") -> None:
        self._face.show(text, Kind.NOTICE, who)

    def _wrong(self, text: str, code: ExitCode) -> None:
        self.tally.codes.add(code)
        self._face.show(harmless(text), Kind.WRONG)

    def _refuse(self, listener: str, faults: tuple[Fault, ...]) -> None:
        self.tally.add(Outcome("", ConversationState.REJECTED))
        for part in refused(faults):
            self._show(part, harmless(listener))
