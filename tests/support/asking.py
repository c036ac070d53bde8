"""An organism of one handler that asks models, and backends that tests can hold and count.

It asserts nothing. For tests of calls, of ``complete`` and of ``organism.llm``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, final

import trio

from phloem.config import Budgets, ListenerConfig, OrganismConfig
from phloem.llm.calls import call
from phloem.llm.facade import LLM
from phloem.llm.requests import LLMMessage, LLMRequest, LLMResponse, TokenUsage
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.organism import Organism, open_organism
from phloem.pump.conversation import Delivery
from phloem.pump.dispatch import running_delivery

Work = Callable[[], Awaitable[Any]]

HELLO = (LLMMessage("user", "h" * 34),)  # 34 bytes and 16 for its borders: 50 tokens at most
HELLO_TOKENS = 50


@dataclass
class Ask:
    text: str


@dataclass
class Reply:
    text: str


@final
class Held:
    """A backend that answers after ``seconds``; knows its requests, and how many ran at once."""

    name = "held"

    def __init__(self, seconds: float = 1.0, usage: TokenUsage | None = None, *, fails: int = 0) -> None:
        self.seconds, self.usage, self.fails = seconds, usage or TokenUsage(10, 10), fails
        self.requests: list[LLMRequest] = []
        self.running = self.most = 0

    async def complete(self, request: LLMRequest, /) -> LLMResponse:
        self.requests.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await trio.sleep(self.seconds)
        finally:
            self.running -= 1
        if len(self.requests) <= self.fails:
            raise ValueError("no")
        return LLMResponse("hello", request.model, self.usage)


def here() -> tuple[LLM, Delivery]:
    """The models and the dispatch of the handler that asks."""
    delivery = running_delivery()
    assert delivery is not None
    core: Any = delivery.conversation.core
    return core.llm, delivery


async def ask(max_tokens: int | None = None, **more: Any) -> LLMResponse:
    """One call, of the running handler, of at most 50 tokens and what is asked for."""
    return await call(*here(), LLMRequest(HELLO, max_tokens=max_tokens, **more))


def reserved(organism: Organism) -> tuple[int, int]:
    """Tokens and picos that calls hold just now."""
    spending = organism._pump.core.ledger.spending
    return spending.reserved_tokens, spending.reserved_cost


@asynccontextmanager
async def open_asker(
    work: Work,
    *backends: Any,
    budgets: Budgets | None = None,
    own: Budgets | None = None,
    llm: dict[str, Any] | None = None,
    others: tuple[ListenerConfig, ...] = (),
    **listener: Any,
) -> AsyncIterator[Organism]:
    """An organism whose agent ``asker`` does ``work`` for each Ask, and replies with what that returns.

    ``budgets`` are the conversation's, ``own`` the agent's.
    """

    async def handle(payload: Any, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Reply(str(await work())))

    settings: dict[str, Any] = {"is_agent": True, "prompt": "You are the asker.", "budgets": own, **listener}
    section = {
        "default_model": "m" if backends else None,
        "retries": 0,
        **(llm or {}),
        "backends": list(backends),
    }
    config = OrganismConfig(
        name="asking",
        listeners=(ListenerConfig("asker", Ask, handle, "Asks.", responds_with=Reply, **settings), *others),
        llm_config={key: value for key, value in section.items() if value is not None},
        budgets=budgets or Budgets(),
    )
    async with open_organism(config) as organism:
        yield organism
        assert reserved(organism) == (0, 0), "nothing stays reserved"
