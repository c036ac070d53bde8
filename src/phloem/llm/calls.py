"""One call of a model by a running handler: what it may cost is reserved, what it has cost is booked.

Decides which model is called with what, in which order calls get what is left of a budget, what happens if
nothing is, and what each attempt of the router's is booked with. Assembles nothing, retries nothing (the
router does) and reads no answer. Called by ``driving``, ``completing`` and ``facade``.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast, final

import trio

from phloem.config import OnShort
from phloem.errors import ConfigurationError, ConfigurationFault, NoDispatch
from phloem.pump.conversation import Delivery
from phloem.pump.core import Core
from phloem.pump.ledger import Reservation, Short
from phloem.wire.parsing import quoted

from .choosing import route
from .requests import LLMDelta, LLMRequest, LLMResponse, TokenUsage
from .router import Payer
from .settings import LLMSettings

if TYPE_CHECKING:
    from .facade import LLM

__all__ = ["Paying", "Placed", "call", "filled", "placed"]

LEAST_TOKENS: Final = 16  # of a shrunk answer: the shortest payload in its frame takes about as many


async def call(
    llm: LLM,
    delivery: Delivery,
    request: LLMRequest,
    *,
    on_delta: Callable[[LLMDelta], Awaitable[None]] | None = None,
) -> LLMResponse:
    """A model's whole answer to what the handler of ``delivery`` asks, within the budgets that it is under.

    What the request leaves open is the listener's to say, then the ``llm`` section's. With ``on_delta``, or
    if the request says so, the answer is streamed. An answer whose provider does not tell what it used
    counts as all that was reserved. An answer that broke off, or that was left, counts by an estimate of the
    prompt and of what came, each time that it was tried; and it is tried again only if there is room for all
    of it once more. A call that failed or was cancelled before anything came counts nothing, whatever its
    provider thinks of it: nobody tells.

    Checkpoint. Cancelled means: the call was cancelled; what had come is booked, and the rest of its
    reservation given back. So ends as well a call that the budgets have no room for: its conversation is
    over, and nothing is asked. Raises BackendError, ConfigurationError, and NoDispatch if the dispatch is cut
    and the caller shields itself.
    """
    router = llm.router
    async with placed(llm, delivery, request) as (asked, payer):
        if on_delta is None and not asked.stream:
            return await router.complete(asked, payer)
        async with router.stream(replace(asked, stream=True), payer) as deltas:
            async for delta in deltas:
                if on_delta is not None:
                    await on_delta(delta)
            return deltas.response


Placed = tuple[LLMRequest, Payer]


@final
class Paying:
    """Books what the attempts of one call have used: as usage, and of its reservation if it has one."""

    def __init__(self, llm: LLM, asked: LLMRequest, reservation: Reservation | None) -> None:
        self._llm, self._asked, self._reservation = llm, asked, reservation

    def spent(self, backend: str, usage: TokenUsage | None, /) -> None:
        """One attempt. Where a whole answer's provider says nothing it is the most that it can be.

        The total is at least the sum of its parts, and may be more: some providers count thoughts there only.
        """
        asked = self._asked
        if usage is None:
            usage = TokenUsage(asked.most_prompt_tokens, asked.max_tokens or 0)
        total = max(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        usage = replace(usage, total_tokens=total)
        price = self._llm.settings.price(asked.model, backend)
        cost = None if price is None else price.of(usage)
        if self._reservation is not None:
            self._reservation.spend(total, cost or 0)
        self._llm.count(asked, backend, usage, cost)

    def affords(self) -> bool:
        """True if all that was reserved is so again."""
        return self._reservation is None or self._reservation.renew()


@asynccontextmanager
async def placed(llm: LLM, delivery: Delivery, request: LLMRequest) -> AsyncIterator[Placed]:
    """(the request as it is to be sent, who pays for it), with what it may cost reserved meanwhile.

    Checkpoint if it waits or nothing is left. Cancelled and raised: as ``call``.
    """
    if delivery.cut is not None or delivery.ending is not None:
        raise await _cut(delivery)
    conversation = delivery.conversation.id
    task = trio.lowlevel.current_task()
    attempt = _Reserving(llm, delivery, filled(request, delivery, llm.settings), task).attempt
    taken = await llm.lines.enter(conversation, task, attempt)
    if taken is _NO_ROOM:
        llm.lines.leave(conversation, task)
        raise await _cut(delivery)
    asked, reservation = cast("_Taken", taken)
    try:
        yield asked, Paying(llm, asked, reservation)
    finally:
        reservation.release()
        llm.lines.leave(conversation, task)


def filled(request: LLMRequest, delivery: Delivery | None, settings: LLMSettings) -> LLMRequest:
    """The request with what it leaves open: the listener's word, else the ``llm`` section's.

    ``delivery`` None: a program calls, and that is no agent, whatever it says. Raises ConfigurationError
    where nobody names a model.
    """
    listener = None if delivery is None else delivery.listener
    model = request.model or (listener.model if listener else "") or settings.default_model
    if not model:
        found = "a call without a model" if listener is None else f"a call of {listener.key} without a model"
        expected = "a default_model in the llm section, or a model where it is called"
        raise ConfigurationError([ConfigurationFault("llm.default_model", found, expected)])
    return replace(
        request,
        model=model,
        temperature=_first(request.temperature, listener and listener.temperature, settings.temperature),
        max_tokens=_first(request.max_tokens, listener and listener.max_tokens, settings.max_tokens),
        agent="" if listener is None else listener.key,
        conversation=request.conversation if delivery is None else delivery.conversation.id,
    )


_Taken = tuple[LLMRequest, Reservation]
_NO_ROOM: Final = object()


@final
class _Reserving:
    """One call that wants its reservation."""

    def __init__(self, llm: LLM, delivery: Delivery, request: LLMRequest, task: object) -> None:
        core: Core = delivery.conversation.core  # type: ignore[assignment] # kept as an object: no circle
        self._llm, self._core, self._delivery, self._request = llm, core, delivery, request
        self._task = task
        settings, found = llm.settings, route(request.model, llm.settings.backends)
        names = [settings.backends[place].name for place in (*found.named, *found.any)]
        prices = [settings.price(request.model, name) for name in names or [""]]  # of each that may be asked
        self._prices = [price for price in prices if price is not None]
        if len(self._prices) < len(prices) and _has_cost_budget(delivery):
            lacks = f"no price for the model {quoted(request.model)}"
            expected = f"one: {delivery.listener.key} or its conversation has a budget of cost"
            raise ConfigurationError([ConfigurationFault("llm.prices", lacks, expected)])

    def attempt(self) -> _Taken | object | None:
        """The request and its reservation; None while others may give back what is missing.

        If it cannot be had any more, the conversation is over, and there is no room. A request is shrunk
        only once there is none to wait for: what an answer lacks that was cut short is paid for twice.
        """
        if self._delivery.cut is not None:
            return _NO_ROOM
        wanted = self._request.max_tokens or 0
        found = self._reserve(wanted)
        if isinstance(found, Reservation):
            return self._request, found
        may_wait = self._llm.lines.may_wait(self._delivery.conversation.id, self._task)
        if self._delivery.turn.budgets.on_short == OnShort.SHRINK:
            if may_wait:
                return None
            fits = self._most_that_fits(wanted)
            if fits:
                taken = self._reserve(fits)
                assert isinstance(taken, Reservation)  # as it was a moment ago
                return replace(self._request, max_tokens=fits), taken
        if found.later and may_wait:
            return None
        self._core.overrun(self._delivery.turn, found.overrun)
        return _NO_ROOM

    def _reserve(self, max_tokens: int) -> Reservation | Short:
        prompt = self._request.most_prompt_tokens
        cost = max((price.at_most(prompt, max_tokens) for price in self._prices), default=0)
        return self._core.ledger.reserve(self._delivery, prompt + max_tokens, cost)

    def _most_that_fits(self, wanted: int) -> int:
        """The longest answer below ``wanted`` that there is room for, in tokens and in cost; 0 for none."""
        fits, too_many = 0, wanted
        tried = LEAST_TOKENS if wanted > LEAST_TOKENS else 0
        while tried > fits:
            found = self._reserve(tried)
            if isinstance(found, Reservation):
                found.release()
                fits = tried
            elif not fits:
                return 0
            else:
                too_many = tried
            tried = (fits + too_many) // 2
        return fits


async def _cut(delivery: Delivery) -> NoDispatch:
    """Where the cancelled dispatch of a delivery ends; what to raise if the task lives on. Checkpoint."""
    await trio.lowlevel.checkpoint()
    why = f" ({delivery.cut.text})" if delivery.cut else ""
    how = "at its end" if delivery.ending is not None else "cut"
    return NoDispatch(f"found the dispatch of {delivery.id} {how}{why}, expected one that goes on")


def _has_cost_budget(delivery: Delivery) -> bool:
    every = (delivery.turn.budgets, delivery.conversation.budgets, delivery.listener.budgets)
    return any(each.cost is not None and each.cost != math.inf for each in every)


def _first(*values: Any) -> Any:
    """The first that says something."""
    return next((value for value in values if value is not None), None)
