"""Backends that do as a test says, and a router over them; all times are the virtual clock's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from phloem.llm.requests import LLMDelta, LLMMessage, LLMRequest, LLMResponse, TokenUsage
from phloem.llm.router import Router, open_router
from phloem.llm.settings import read_settings
from phloem.messages import Faults


class Dice:
    """Gives these numbers, and then the last one for ever; counts how often it was asked."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = numbers or (0.5,)
        self.rolled = 0

    def random(self) -> float:
        self.rolled += 1
        return self.numbers[min(self.rolled, len(self.numbers)) - 1]


class Watch:
    """The clock that an organism would hand on."""

    def monotonic(self) -> float:
        return trio.current_time()

    def wall(self) -> float:
        return 1_900_000_000.0 + trio.current_time()


def answer(text: str = "yes", tokens: int = 10) -> LLMResponse:
    return LLMResponse(text, usage=TokenUsage(tokens, 0))


class Fake:
    """Answers by a list of acts, the last one for ever: a response, an error, or a function of the request.

    Each takes ``seconds``. ``calls`` are (time, model); ``most`` is how many ran at once.
    """

    def __init__(self, *acts: Any, seconds: float = 0.0) -> None:
        self.acts = acts or (answer(),)
        self.seconds = seconds
        self.calls: list[tuple[float, str]] = []
        self.requests: list[LLMRequest] = []
        self.running = self.most = 0

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.calls]

    async def complete(self, request: LLMRequest, /) -> LLMResponse:
        act = self._begin(request)
        try:
            await trio.sleep(self.seconds)
            if isinstance(act, BaseException):
                raise act
            if callable(act):
                return await act(request)  # type: ignore[no-any-return]
            return act  # type: ignore[no-any-return]
        finally:
            self.running -= 1

    def _begin(self, request: LLMRequest) -> Any:
        self.calls.append((trio.current_time(), request.model))
        self.requests.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        return self.acts[min(len(self.calls), len(self.acts)) - 1]


class StreamingFake(Fake):
    """Each act is a list: texts and deltas are told, numbers are seconds of silence, errors are raised.

    A stream that comes to its end is whole, with 10 tokens for each delta. ``open`` streams are counted.
    """

    def __init__(self, *acts: Any, entering: float = 0.0) -> None:
        super().__init__(*acts)
        self.open = 0
        self.entering = entering

    @asynccontextmanager
    async def stream(self, request: LLMRequest) -> AsyncIterator[Any]:
        steps = self._begin(request)
        self.open += 1
        try:
            with trio.CancelScope():  # as one that reads ahead would have: scopes must nest around it
                await trio.sleep(self.entering)
                if isinstance(steps, BaseException):
                    raise steps
                yield Telling(steps)
        finally:
            self.open -= 1
            self.running -= 1


class Telling:
    def __init__(self, steps: list[Any]) -> None:
        self.steps = list(steps)
        self.told: list[LLMDelta] = []
        self.whole = False

    @property
    def response(self) -> LLMResponse:
        if not self.whole:
            raise RuntimeError("not whole")
        return LLMResponse("".join(each.text for each in self.told), usage=TokenUsage(0, 10 * len(self.told)))

    def __aiter__(self) -> Telling:
        return self

    async def __anext__(self) -> LLMDelta:
        await trio.lowlevel.checkpoint()
        while self.steps:
            step = self.steps.pop(0)
            if isinstance(step, (int, float)):
                await trio.sleep(step)
                continue
            if isinstance(step, BaseException):
                raise step
            if step is StopAsyncIteration:
                raise step  # an end that is none
            delta = LLMDelta(step) if isinstance(step, str) else step
            if isinstance(delta, LLMDelta):
                self.told.append(delta)
            return delta
        self.whole = True
        raise StopAsyncIteration


def asked(model: str = "m", tokens: int = 0, **keywords: Any) -> LLMRequest:
    """A request that reserves exactly so many tokens; by default as few as there can be: 16."""
    keywords.setdefault("max_tokens", max(0, tokens - 16))
    return LLMRequest([LLMMessage("user", "")], model, **keywords)


@asynccontextmanager
async def routing(
    *backends: Any, dice: Dice | None = None, faults: Faults | None = None, **section: Any
) -> AsyncIterator[Router]:
    """A router over these: fakes, or mappings of a backend's keys. Names are a, b, c … by default."""
    entries = [
        {"name": "abcdefgh"[place], **(each if isinstance(each, Mapping) else {"provider": each})}
        for place, each in enumerate(backends)
    ]
    settings = read_settings({"backends": entries, **section}, {})
    async with open_router(settings, random=dice or Dice(), clock=Watch(), faults=faults) as router:
        yield router


def at_rest(router: Router) -> bool:
    """Nothing runs, waits or is reserved."""
    return all(view.running == view.waiting == view.reserved == 0 for view in router.backends)
