"""``organism.llm``: the models of one organism, for its agents, its handlers and the program around it.

Decides what a call outside of every handler is counted as, and what is said where nothing is configured.
Routes nothing (``router``) and reserves nothing (``calls``). Opened by the organism, and closed with it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, final

from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.messages import Clock, Faults, Random
from phloem.pump.conversation import Delivery
from phloem.pump.dispatch import running_delivery
from phloem.pump.routing import Listener

from .calls import Paying, Placed, call, filled, placed
from .choosing import route
from .instructions import answer_instructions
from .lines import Lines
from .prompts import PromptHashes, PromptRecord, PromptRegistry
from .requests import Deltas, LLMRequest, LLMResponse, TokenUsage
from .router import Router, open_router
from .settings import LLMSettings, read_settings
from .usage import AgentUsage, Usage, UsageRow

__all__ = ["LLM", "open_llm", "takes"]


@final
class LLM:
    """The models of one organism. Made by ``open_llm``; there without a backend as well."""

    def __init__(
        self, settings: LLMSettings, router: Router | None, prompts: PromptRegistry, random: Random
    ) -> None:
        """``prompts`` are frozen. ``router`` None: there is no backend, and each call says so."""
        self.settings, self.random, self.lines = settings, random, Lines()
        self._router, self._prompts, self._usage = router, prompts, Usage()

    # -- calling -------------------------------------------------------------------------------

    async def complete(self, request: LLMRequest) -> LLMResponse:
        """A model's whole answer. Within a dispatch of this organism it is under its budgets, and counted
        there; outside it is counted for no agent, whatever the request says.

        Checkpoint. Cancelled means: the call was cancelled; of what was tried, only what came is counted.
        Raises BackendError, ConfigurationError without a model or a backend, and NoDispatch in a handler's
        task that outlives its dispatch.
        """
        delivery = self._dispatch()
        if delivery is not None:
            return await call(self, delivery, request)
        router = self.router
        asked, payer = self._outside(request)
        return await router.complete(asked, payer)

    @asynccontextmanager
    async def stream(self, request: LLMRequest) -> AsyncIterator[Deltas]:
        """``async with organism.llm.stream(request) as deltas: async for delta in deltas``.

        Else as ``complete``. A cut stream raises TruncatedError. What is not read to its end, whoever cuts or
        leaves it, is counted by an estimate of the prompt and of what came.
        """
        router, delivery = self.router, self._dispatch()
        async with AsyncExitStack() as stack:
            if delivery is None:
                asked, payer = self._outside(request)
            else:
                asked, payer = await stack.enter_async_context(placed(self, delivery, request))
            yield await stack.enter_async_context(router.stream(asked, payer))

    # -- reading -------------------------------------------------------------------------------

    @property
    def router(self) -> Router:
        """Who asks backends. Raises ConfigurationError if there is none."""
        if self._router is None:
            left_out = [
                f"{name} ({variable} is not set)" for name, variable in self.settings.left_out.items()
            ]
            found = f"no backend; left out: {', '.join(left_out)}" if left_out else "no backend"
            expected = "one at least, as {provider: openai, api_key_env: OPENAI_API_KEY}"
            if left_out:
                expected = f"{' or '.join(self.settings.left_out.values())} in the environment or in the .env"
            raise ConfigurationError([ConfigurationFault("llm.backends", found, expected)])
        return self._router

    @property
    def backends(self) -> Sequence[Any]:
        """The backends as they stand, in the order of the configuration; to be read."""
        return () if self._router is None else self._router.backends

    @property
    def prompts(self) -> PromptHashes:
        """The sha256 of each agent's prompt, in hex, by the agent's key."""
        return self._prompts.hashes

    def told(self, delivery: Delivery) -> PromptRecord | None:
        """What the agent of a dispatch is told in its calls; for those who assemble them."""
        return self._prompts.record(delivery.listener.key)

    def usage(self, by: str | None = None) -> list[UsageRow]:
        """What answers have used, whole or in part.

        A row for each ``agent``, ``conversation``, ``model`` or ``backend``; without ``by`` for each
        combination of them. Raises ConfigurationError for another word.
        """
        return self._usage.rows(by)

    def get_agent_usage(self, agent: str) -> AgentUsage:
        """What one agent has used since it was last reset; zeros if nothing."""
        return self._usage.agent(agent)

    def get_all_usage(self) -> dict[str, AgentUsage]:
        """The same for every agent that has used something."""
        return self._usage.agents()

    def reset_agent_usage(self, agent: str | None = None) -> None:
        """Begin one agent's count anew, or everyone's. ``usage`` and budgets go on."""
        self._usage.reset(agent)

    def statistics(self) -> dict[str, Any]:
        """Counts for an operator: all that was used, the calls that wait for budget, and each backend's."""
        total = self._usage.total
        return {
            "requests": total.requests,
            "prompt_tokens": total.prompt_tokens,
            "completion_tokens": total.completion_tokens,
            "total_tokens": total.total_tokens,
            "cached_tokens": total.cached_tokens,
            "cost": total.cost,
            "unpriced": total.unpriced,
            "waiting_for_budget": self.lines.waiting,
            "backends": {} if self._router is None else self._router.statistics(),
        }

    def count(self, request: LLMRequest, backend: str, usage: TokenUsage, picos: int | None) -> None:
        """One attempt that got an answer, or a part of one, to a request as it was sent. For calls."""
        model = route(request.model, self.settings.backends).model
        self._usage.count(request.agent, request.conversation, model, backend, usage, picos)

    def __repr__(self) -> str:
        return f"<LLM with {len(self.backends)} backends>"

    # -- inside --------------------------------------------------------------------------------

    def _dispatch(self) -> Delivery | None:
        """The dispatch of this organism that the calling code stands in; None outside of one."""
        delivery = running_delivery()
        core: Any = None if delivery is None else delivery.conversation.core
        if delivery is None or core.llm is not self:
            return None
        return delivery  # also one that has ended: ``placed`` refuses whoever lives on

    def _outside(self, request: LLMRequest) -> Placed:
        """As ``placed``, for a program that has no budgets."""
        asked = filled(request, None, self.settings)
        return asked, Paying(self, asked, None)


@asynccontextmanager
async def open_llm(
    llm_config: Mapping[str, Any],
    listeners: Sequence[Listener],
    *,
    random: Random,
    clock: Clock,
    faults: Faults | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[LLM]:
    """The models that an ``llm`` section speaks of, with the prompts of all agents among ``listeners``.

    ``environ``: where keys are looked for; None for the process's own. Checkpoint. Cancelled means: closed.
    Raises ConfigurationError with every fault of the section.
    """
    settings = read_settings(llm_config, os.environ if environ is None else environ)
    prompts = PromptRegistry()
    for listener in listeners:
        if listener.is_agent:
            answering = ""
            if listener.driven:
                answering = answer_instructions(listener.responds_with, gathers=listener.gathers)
            prompts.register(listener.key, listener.prompt, listener.usage_instructions, answering)
    prompts.freeze()
    if not settings.backends:
        yield LLM(settings, None, prompts, random)
        return
    async with open_router(settings, random=random, clock=clock, faults=faults) as router:
        yield LLM(settings, router, prompts, random)


def takes(llm_config: Mapping[str, Any], environ: Mapping[str, str]) -> Callable[[str], bool]:
    """Whether some backend of an ``llm`` section takes a model of that name; where one is left out, or there
    is none, any may be. Raises ConfigurationError.
    """
    settings = read_settings(llm_config, environ)

    def taken(model: str) -> bool:
        found = route(model, settings.backends)
        return bool(found.named or found.any or settings.left_out or not settings.backends)

    return taken
