"""One backend as the router sees it: its limits, its outages, its counts, and one attempt at a time.

Decides when a call may go out (tokens a minute first, then a place) and what an attempt's end means for the
books: its own, and those of whoever pays for the call. Never chooses among backends and never tries twice.
Called by the router only.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, final

import trio

from phloem.config import BYTES_PER_TOKEN
from phloem.errors import BackendError, TruncatedError
from phloem.messages import Faults

from .backend_settings import BackendSettings
from .bucket import Bucket, Reservation
from .outage import Outage, worth_another
from .places import Crowd, Places
from .requests import Backend, LLMRequest, LLMResponse, TokenUsage

__all__ = ["Attempt", "BackendView", "Gateway", "Told", "tokens_of"]

# Told of each attempt that has used something, once: the backend's name, and what it has used; None for a
# whole answer whose provider does not say.
Told = Callable[[str, TokenUsage | None], None]


def tokens_of(text: str) -> int:
    """About how many tokens a text is, for rates."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


@final
@dataclass(frozen=True, slots=True)
class BackendView:
    """One backend as it is at this moment.

    ``out_for``: seconds until it is tried again, 0 if it is ``up``. ``waiting``: calls that have chosen it
    and wait for tokens or a place. ``attempts``, ``failures`` and ``tokens``: since the router was opened.
    ``reserved``: tokens of running calls; ``available``: those of its rate that are left now.
    """

    name: str
    provider: str
    up: bool
    out_for: float
    running: int
    waiting: int
    attempts: int
    failures: int
    tokens: int
    reserved: int
    available: float


@final
class Attempt:
    """One attempt under way: it holds a reservation and a place, and is booked once, by how it ended."""

    def __init__(
        self, gateway: Gateway, request: LLMRequest, reservation: Reservation, told: Told | None
    ) -> None:
        self.gateway, self.request, self._told = gateway, request, told
        self.deadline = trio.current_time() + gateway.settings.timeout
        self._reservation = reservation
        self._began = gateway.outage.begin()
        gateway.attempts += 1

    def late(self) -> BackendError:
        """What a time-out is."""
        name, timeout = self.gateway.name, self.gateway.settings.timeout
        return BackendError(f"backend {name!r} gave no whole answer within {timeout:g} s")

    def answered(self, answer: object) -> LLMResponse:
        """Book a whole answer, and give it as it goes to the caller. Raises BackendError for what is none."""
        name = self.gateway.name
        if not isinstance(answer, LLMResponse):
            raise BackendError(f"backend {name!r} gave a {type(answer).__name__}, expected an LLMResponse")
        wrong = _wrong(answer)
        if wrong:
            raise BackendError(f"backend {name!r} gave an answer whose {wrong}")
        usage = answer.usage
        if usage.total_tokens:  # some providers count thoughts there only, and so more than the sum
            self._used(max(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens), usage)
        else:
            self._used(self._about(answer.content + answer.reasoning).total_tokens, None)
        self.gateway.outage.succeeded()
        # By the name that it was asked for: prices and counts go by what is configured, not by what a
        # provider makes of it ("model-2031-05-17"); that stands in ``raw``.
        return replace(answer, backend=name, model=self.request.model)

    def failed(self, error: BackendError) -> None:
        """Book a failure, and say in the error whose it is. Text that arrived has been paid for."""
        if not error.backend:
            error.backend = self.gateway.name
        if not error.model:
            error.model = self.request.model
        if isinstance(error, TruncatedError) and error.partial:
            self.used_about(error.partial)
        self.gateway.failures += 1
        if worth_another(error):
            self.gateway.outage.failed(error, self._began, trio.current_time())

    def used_about(self, text: str) -> None:
        """Settle by the text that has come of an answer which is not whole. Nothing after the first time."""
        usage = self._about(text)
        self._used(usage.total_tokens, usage)

    def _about(self, text: str) -> TokenUsage:
        """An estimate, where no usage is told: at most what was reserved for it.

        A text can be longer than ``max_tokens`` allow only where its tokens are longer than ours are
        estimated, and a backend would be out for as long as the rate takes to make up for the difference.
        """
        prompt = self.request.prompt_tokens
        return TokenUsage(prompt, min(self._reservation.tokens - prompt, tokens_of(text)))

    def _used(self, tokens: int, usage: TokenUsage | None) -> None:
        if self._reservation.settle(tokens):
            self.gateway.tokens += tokens
            if self._told is not None:
                self._told(self.gateway.name, usage)


@final
class Gateway:
    """One backend. ``rank``: its priority, and its place in the file."""

    def __init__(
        self,
        settings: BackendSettings,
        backend: Backend,
        place: int,
        outage: Outage,
        faults: Faults | None,
        crowd: Crowd,
    ) -> None:
        self.settings, self.backend, self.outage = settings, backend, outage
        self.name = settings.name
        self.rank = (settings.priority, place)
        self.running = self.waiting = self.attempts = self.failures = self.tokens = 0
        self.bucket = Bucket(settings.rate_limit_tpm)
        self._places = Places(settings.max_concurrent, crowd)
        self._faults = faults

    @property
    def load(self) -> int:
        """Calls running and waiting here."""
        return self.running + self.waiting

    @property
    def up(self) -> bool:
        """True if it may be tried now."""
        return self.outage.until <= trio.current_time()

    @property
    def stuck(self) -> bool:
        """True if the task that asks would wait for a place here in vain."""
        return self._places.stuck

    def fits(self, tokens: int) -> bool:
        """False for a request that its rate can never let through."""
        return tokens <= self.bucket.capacity

    def view(self) -> BackendView:
        """What it is like now; after the run as well, when nothing is out any more. Never a checkpoint."""
        now = _now()
        out_for = max(0.0, self.outage.until - now)
        return BackendView(
            name=self.name,
            provider=self.settings.kind,
            up=not out_for,
            out_for=out_for,
            running=self.running,
            waiting=self.waiting,
            attempts=self.attempts,
            failures=self.failures,
            tokens=self.tokens,
            reserved=self.bucket.reserved,
            available=self.bucket.available_at(now),
        )

    async def visit(self, call: Callable[[LLMRequest], Awaitable[Any]], request: LLMRequest) -> Any:
        """``await call(request)``, or what the organism's faults make of it."""
        if self._faults is None:
            return await call(request)
        return await self._faults.visit("provider", self.name, call, request)

    @asynccontextmanager
    async def attempt(
        self, request: LLMRequest, tokens: int, told: Told | None = None
    ) -> AsyncIterator[Attempt | None]:
        """Wait for tokens, then for a place, and hold both.

        In this order, for then nobody holds a place while it waits for the minute to pass: places stay with
        calls that are out. What is taken early is the rate's share, which a call that waits for its place
        only delays; the place it would take the other way round is another call's answer.

        None if the backend went out meanwhile, or if the task would wait for a place in vain.

        Checkpoint. Cancelled means: nothing reserved, no place taken.
        """
        self.waiting += 1
        waits = True
        try:
            reservation = await self.bucket.reserve(tokens)
            try:
                async with self._places.taken() as taken:
                    if not taken:
                        yield None
                        return
                    self.waiting -= 1
                    waits = False
                    self.running += 1
                    try:
                        yield Attempt(self, request, reservation, told) if self.up else None
                    finally:
                        self.running -= 1
            finally:
                reservation.release()
        finally:
            self.waiting -= waits

    async def complete(
        self, request: LLMRequest, tokens: int, told: Told | None = None
    ) -> LLMResponse | None:
        """One attempt, or None if the backend went out, or got stuck, while the call waited for its turn.

        Raises BackendError, and what a backend of somebody's own raises. Checkpoint. Cancelled means: the
        call was cancelled, and nothing stays reserved.
        """
        async with self.attempt(request, tokens, told) as attempt:
            if attempt is None:
                return None
            return await self.ask(attempt)

    async def ask(self, attempt: Attempt) -> LLMResponse:
        """The call itself, under its deadline, and booked."""
        try:
            answer: Any = None
            with trio.move_on_at(attempt.deadline) as scope:
                answer = await self.visit(self.backend.complete, attempt.request)
            if scope.cancelled_caught:
                raise attempt.late()
            return attempt.answered(answer)
        except BackendError as error:
            attempt.failed(error)
            raise
        except Exception:
            self.failures += 1  # somebody's own backend has a bug: no word on when to try again
            raise


def _now() -> float:
    """Trio's clock; at the end of all time where none goes: an operator may look at what is closed."""
    try:
        return trio.current_time()
    except RuntimeError:
        return math.inf


def _wrong(answer: LLMResponse) -> str:
    """What an answer of somebody's own backend has that none can have; empty if nothing."""
    given: Any = answer
    if not isinstance(given.content, str) or not isinstance(given.reasoning, str):
        return "content or reasoning is no text"
    if not isinstance(given.usage, TokenUsage):
        return f"usage is a {type(given.usage).__name__}, expected a TokenUsage"
    counts: list[Any] = [getattr(given.usage, each.name) for each in fields(TokenUsage)]
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        return "usage has what is no whole number, 0 or more"
    return ""
