"""How a scripted answer is told: cut to what was asked for, in pieces, and with what it has used.

Decides the pieces, the usage and the way it ends, from the answer and the request alone. Waits between
pieces on Trio's clock. For ``scripted`` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import final

import trio

from phloem.config import BYTES_PER_TOKEN

from .providers.failures import Failures
from .requests import LLMDelta, LLMRequest, LLMResponse, StopReason, TokenUsage
from .script import Scripted

__all__ = ["Telling"]


@final
class Telling:
    """An answer on its way. Use each once."""

    def __init__(self, scripted: Scripted, request: LLMRequest, backend: str, failures: Failures) -> None:
        self._failures = failures
        self._response = _whole(scripted, request, backend)
        self._pause = scripted.pause
        self._cut, self._stalls = scripted.cut is not None, scripted.stall is not None
        text = self._response.content
        for end in (scripted.cut, scripted.stall):
            text = text[:end]
        self._arrived = text
        self._deltas = [LLMDelta(reasoning=each) for each in _pieces(self._response.reasoning, None)]
        self._deltas += [LLMDelta(each) for each in _pieces(text, scripted.chunks)]
        self._told = 0
        self._over = False

    @property
    def response(self) -> LLMResponse:
        """The whole answer. Raises RuntimeError while it is not whole."""
        if not self._over:
            raise RuntimeError("found an answer still on its way, expected one read to its end")
        return self._response

    def __aiter__(self) -> Telling:
        return self

    async def __anext__(self) -> LLMDelta:
        """The next piece. Checkpoint. Cancelled means: not taken; the next call waits for it anew.

        Raises TruncatedError if the answer breaks off.
        """
        if 0 < self._told < len(self._deltas):
            await trio.sleep(self._pause)
        else:
            await trio.lowlevel.checkpoint()
        if self._told < len(self._deltas):
            self._told += 1
            return self._deltas[self._told - 1]
        if self._stalls:
            await trio.sleep_forever()
        if self._cut:
            why, arrived = f"after {len(self._arrived)} characters", self._arrived
            raise self._failures.truncated(why, arrived, self._response.model)
        self._over = True
        raise StopAsyncIteration


def _whole(scripted: Scripted, request: LLMRequest, backend: str) -> LLMResponse:
    """The answer as it is when nothing befalls it."""
    given = scripted.response
    if given is not None:
        usage = given.usage
        if usage == TokenUsage():
            usage = _usage(request, given.reasoning, given.content)
        model, whose = given.model or request.model, given.backend or backend
        return replace(given, usage=usage, model=model, backend=whose)
    chunks = scripted.chunks
    text = scripted.text or ("" if chunks is None or isinstance(chunks, int) else "".join(chunks))
    reasoning, told = scripted.reasoning, text
    if request.max_tokens is not None:
        left = request.max_tokens * BYTES_PER_TOKEN
        reasoning = _within(reasoning, left)
        told = _within(text, left - _bytes(reasoning))
    cut_short = len(reasoning) + len(told) < len(scripted.reasoning) + len(text)
    return LLMResponse(
        told,
        model=request.model,
        usage=_usage(request, reasoning, told) if scripted.usage is None else scripted.usage,
        finish_reason=StopReason.LENGTH if cut_short else StopReason(scripted.stop_reason),
        reasoning=reasoning,
        backend=backend,
    )


def _usage(request: LLMRequest, reasoning: str, text: str) -> TokenUsage:
    return TokenUsage(request.prompt_tokens, -(-_bytes(reasoning + text) // BYTES_PER_TOKEN))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _within(text: str, room: int) -> str:
    """As many of its characters as fit into so many bytes."""
    if _bytes(text) <= room:
        return text
    end = 0
    for character in text:
        room -= _bytes(character)
        if room < 0:
            break
        end += 1
    return text[:end]


def _pieces(text: str, chunks: Sequence[str] | int | None) -> Iterator[str]:
    """The text, piece by piece; pieces that were given lie where they lay, however much of it is left."""
    if chunks is None or isinstance(chunks, int):
        size = chunks or max(1, len(text))
        yield from (text[begin : begin + size] for begin in range(0, len(text), size))
        return
    begin = 0
    for chunk in chunks:
        if begin + len(chunk) >= len(text) > begin:
            yield text[begin:]
            return
        if begin < len(text) and chunk:
            yield text[begin : begin + len(chunk)]
        begin += len(chunk)
