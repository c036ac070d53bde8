"""A backend that answers by script: for tests, and for templates that run without a key.

Decides which answer a request gets, how it is told, and what it has used; delays are Trio's clock's, so
virtual under a virtual one. Opens no connection, starts no task and rolls no dice. It is a backend as any
other: whoever routes does not know it from a provider.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any, Final, cast, final

import trio

from phloem.errors import ConfigurationError, ConfigurationFault

from .backend_settings import BackendSettings
from .providers.failures import Failures
from .requests import LLMRequest, LLMResponse
from .script import (
    Answer,
    Replying,
    Rule,
    Script,
    Scripted,
    Words,
    is_function,
    is_list,
    script_faults,
    shown,
    words_faults,
)
from .script_reading import read_script
from .script_telling import Telling

__all__ = ["Rule", "Scripted", "ScriptedBackend", "scripted_backend"]

_KEYS: Final = (
    "script",
    "repeat",
    *(each.name for each in fields(BackendSettings) if each.name != "options"),
)


def scripted_backend(
    *, name: str = "scripted", script: Any = (), repeat: Any = False, **others: object
) -> ScriptedBackend:
    """The backend of ``provider: scripted``. What else a backend is configured with is the router's.

    ``script``: a list of texts and of mappings with the keys of ``Scripted``, with ``when`` for a rule; or
    a function of the request. Raises ConfigurationError.
    """
    faults = [
        ConfigurationFault(f"backend {name!r}: {key}", "an unknown key", f"one of {', '.join(_KEYS)}")
        for key in others
        if key not in _KEYS
    ]
    answers = read_script(script, f"backend {name!r}: script", faults)
    if not isinstance(repeat, bool):
        faults.append(ConfigurationFault(f"backend {name!r}: repeat", shown(repeat), "true or false"))
    if faults:
        raise ConfigurationError(faults)
    return ScriptedBackend(answers, name=name, repeat=repeat)


@final
class ScriptedBackend:
    """Answers by script: a list, of which each call takes the next one, or a function of the request.

    An answer is a text, an LLMResponse, an exception (which is raised), a ``Scripted`` or a function of
    the request. A ``Rule`` among them answers the requests it is for before the list is looked at; the
    first that holds does. ``repeat`` begins lists again at their end; otherwise a call too many raises
    AssertionError. Texts are cut to a request's ``max_tokens``, with the stop reason ``length``; a response
    is given as it is, but for its model, its backend and its usage where it has none.

    ``requests`` are those it has taken: all of them, for they are few in a test. ``running``: how many of
    them are being answered. Raises ConfigurationError.
    """

    def __init__(self, answers: Script, *, name: str = "scripted", repeat: bool = False) -> None:
        faults = tuple(script_faults(answers, "answers"))
        if faults:
            raise ConfigurationError(faults)
        self.name = name
        self.requests: list[LLMRequest] = []
        self.running = 0
        self._failures = Failures(name)  # as a provider's: who reads them cannot tell them apart
        self._function = None if is_list(answers) else cast("Replying", answers)
        entries = cast("Sequence[Answer | Rule]", answers) if self._function is None else ()
        self._rules = [_Ruled(each, repeat) for each in entries if isinstance(each, Rule)]
        self._line = _Line([each for each in entries if not isinstance(each, Rule)], repeat)

    @property
    def calls(self) -> int:
        """How many requests it has taken, those that failed included."""
        return len(self.requests)

    async def complete(self, request: LLMRequest, /) -> LLMResponse:
        """The next answer, whole. Checkpoint. Cancelled means: taken, unless it had not begun.

        Raises what the script says: BackendError, or an exception of its own; AssertionError if it is spent.
        """
        async with self.stream(request) as telling:
            async for _ in telling:
                pass
            return telling.response

    @asynccontextmanager
    async def stream(self, request: LLMRequest, /) -> AsyncIterator[Telling]:
        """The next answer, piece by piece. Checkpoint. Raises as ``complete``; a cut one while it is read."""
        await trio.lowlevel.checkpoint()
        self.requests.append(request)
        self.running += 1
        try:
            yield await self._begin(request)
        finally:
            self.running -= 1

    async def _begin(self, request: LLMRequest) -> Telling:
        answer = self._next(request)
        words = await self._asked(answer, request) if is_function(answer) else cast("Words", answer)
        scripted = _scripted(words)
        if scripted.delay:
            await trio.sleep(scripted.delay)
        if scripted.status is not None:
            after = scripted.retry_after
            raise self._failures.refused(scripted.status, scripted.text, request.model, after)
        return Telling(scripted, request, self.name, self._failures)

    def _next(self, request: LLMRequest) -> Answer:
        if self._function is not None:
            return self._function
        for ruled in self._rules:
            if ruled.line.left and ruled.rule.holds(request):
                return ruled.line.take()
        if self._line.left:
            return self._line.take()
        raise AssertionError(self._spent(request))

    def _spent(self, request: LLMRequest) -> str:
        count, answers = len(self._line), "answer" if len(self._line) == 1 else "answers"
        who = f" (agent {request.agent!r})" if request.agent else ""
        expected = f"expected at most {count}, which is how many answers it has"
        if self._rules:
            expected = f"expected one that a rule takes: its {count} other {answers} are taken"
        return f"the script of backend {self.name!r}: found call {self.calls}{who}, {expected}"

    async def _asked(self, function: Replying, request: LLMRequest) -> Words:
        """What a function answers. It may be anything: it is looked at as a script is."""
        number = self.calls
        found: Any = function(request)
        if inspect.isawaitable(found):
            found = await found
        faults = tuple(words_faults(found, f"backend {self.name!r}, answer to call {number}"))
        if faults:
            raise ConfigurationError(faults)
        return cast("Words", found)


@final
class _Line:
    """Answers taken in order; again from the first where they repeat."""

    def __init__(self, answers: Sequence[Answer], repeat: bool) -> None:
        self._answers, self._repeat = tuple(answers), repeat
        self._taken = 0

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def left(self) -> bool:
        return self._taken < len(self._answers) or (self._repeat and bool(self._answers))

    def take(self) -> Answer:
        self._taken += 1
        return self._answers[(self._taken - 1) % len(self._answers)]


@final
class _Ruled:
    """A rule, and where its answers are. One that is no list is for each request."""

    def __init__(self, rule: Rule, repeat: bool) -> None:
        self.rule = rule
        if is_list(rule.answer):
            self.line = _Line(cast("Sequence[Answer]", rule.answer), repeat)
        else:
            self.line = _Line([cast("Answer", rule.answer)], repeat=True)


def _scripted(words: Words) -> Scripted:
    """The same, whatever it was written as. Raises it where it is an exception."""
    match words:
        case str():
            return Scripted(words)
        case LLMResponse():
            return Scripted(response=words)
        case Scripted():
            return words
        case BaseException():
            raise words.with_traceback(None)  # the same one may have been raised before
        case _:
            raise words
