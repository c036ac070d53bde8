"""Delegations that want more than there is: 32 at once, under a budget of messages, tokens or money.

A lead hands out 32 tasks in one answer, or 32 strangers ask a lead each that hands out two; a worker's model
is called for each task, and says it used all that was asked for, or less. Only the budget is careful.
"""

from __future__ import annotations

from typing import Any, Final, cast

import trio

from phloem.config import Budgets, ListenerConfig, OrganismConfig
from phloem.errors import ConversationFailed, NoResponse
from phloem.llm.requests import LLMRequest, LLMResponse, TokenUsage
from phloem.llm.script import Scripted
from phloem.messages import ConversationState
from phloem.testing import open_simulated_organism

from .simulated_agents import PRICE, Result, Task, World, result, task
from .witness import left_over

CROWD: Final = 32
LONG: Final = 2000.0  # seconds; all calls one after the other take less
BUSY: Final = (429, 500, 529)


class Delegations(World):
    """One run: who asks, what for, under which budgets."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, int] = {}  # conversation -> tokens that its models said they used
        self.paid: dict[str, float] = {}  # conversation -> millionths that they cost
        self.endings: list[str] = []
        self.kind = self.of("messages", "tokens", "tokens", "cost")
        self.budgets_of_all = {
            "messages": Budgets(messages=5),
            "tokens": Budgets(tokens=self.of(5_000, 20_000, 50_000), on_short=self.of("refuse", "shrink")),
            "cost": Budgets(cost=self.of(0.01, 0.05), on_short=self.of("refuse", "shrink")),
        }[self.kind]
        self.one_asks = self.often(0.5)  # for all, or each for himself
        self.early = self.often(0.3)

    async def answer(self, request: LLMRequest) -> Any:
        await trio.lowlevel.checkpoint()
        self.witness.called(request)
        said = self._words(request)
        self.witness.will_say(LLMResponse(said), request)
        by = self.by(request.agent, said, len(self.witness.calls))
        if by.random() < 0.15:
            return Scripted("no", status=by.choice(BUSY))
        await trio.sleep(by.choice([0, 0.1, 1]))
        most = request.max_tokens or 0
        tokens = by.choice([most, most, max(most // 2, 1)])
        usage = TokenUsage(request.most_prompt_tokens, tokens)
        self.told[request.conversation] = self.told.get(request.conversation, 0) + usage.total_tokens
        cost = usage.prompt_tokens * PRICE["input"] + usage.completion_tokens * PRICE["output"]
        self.paid[request.conversation] = self.paid.get(request.conversation, 0) + cost
        return LLMResponse(said, model=request.model, usage=usage)

    def _words(self, request: LLMRequest) -> str:
        words = "\n".join(each.content for each in request.messages if each.role == "user")
        if request.agent == "lead" and "<Result>" not in words and "<SystemError>" not in words:
            count = CROWD if self.one_asks else 2
            return "".join(task(f"t-{self.random.getrandbits(40):010x}", "worker") for _ in range(count))
        return result(f"r-{self.random.getrandbits(40):010x}")

    def config(self) -> OrganismConfig:
        def agent(name: str, *peers: str, **more: Any) -> ListenerConfig:
            takes: dict[str, Any] = {"is_agent": True, "prompt": f"You are {name}.", "responds_with": Result}
            return ListenerConfig(
                name, Task, description=name, peers=peers, max_concurrent=None, **takes, **more
            )

        return OrganismConfig(
            "delegations",
            [
                agent(
                    "lead", "worker", wait=self.of("all", "each"), stream=self.early, accept_early=self.early
                ),
                agent("worker", idempotent=True, retries=self.of(0, 1)),
            ],
            llm_config=self.llm(),
            handler_timeout=LONG,
            budgets=self.budgets_of_all,
            max_concurrent_handlers=100,
            max_concurrent_pipelines=100,
            max_concurrent_per_agent=self.of(5, 50),
        )

    def llm(self) -> dict[str, Any]:
        """Nobody has to wait long for anything but what others hold reserved."""
        llm = super().llm()
        backends = [{**each, "rate_limit_tpm": 10**9} for each in llm["backends"]]
        limits = {"retry_max_delay": 1.0, "defaults": {"max_tokens": self.of(2300, 200)}}
        return {**llm, **limits, "backends": backends}

    async def stranger(self, ask: Any, number: int) -> None:
        try:
            await ask(Task(f"q {number}"), "lead")
            self.endings.append("completed")
        except NoResponse:
            self.endings.append("silent")
        except ConversationFailed as error:
            self.endings.append(str(error.outcome.state))

    async def run(self) -> list[str]:
        begun = trio.current_time()
        async with open_simulated_organism(self.config(), observer=cast("Any", self.witness)) as organism:
            self.organism = organism
            if self.one_asks:
                await self.stranger(organism.ask, 0)
            elif self.often(0.5):  # turns of one conversation: its budget is for all
                async with organism.open_conversation() as conversation:
                    await self._crowd(conversation.ask)
            else:
                await self._crowd(organism.ask)
            if trio.current_time() - begun > LONG:
                self.witness.broken.append("somebody waited for what was there")
        self._check(organism)
        return self.endings

    async def _crowd(self, ask: Any) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(CROWD):
                nursery.start_soon(self.stranger, ask, number)

    def _check(self, organism: Any) -> None:
        broken = left_over(organism, self.witness)
        budgets = self.budgets_of_all
        for row in organism.llm.usage("conversation"):
            if budgets.tokens is not None and row.total_tokens > budgets.tokens:
                broken.append(f"{row} of {budgets}")
            if budgets.cost is not None and row.cost > budgets.cost:
                broken.append(f"{row} of {budgets}")
            if row.total_tokens > self.told.get(row.conversation, 0):
                broken.append(f"{row} was never said")
        for id, tokens in self.told.items():
            if budgets.tokens is not None and tokens > budgets.tokens:
                broken.append(f"{tokens} tokens were used by {id}; expected at most {budgets.tokens}")
        for id, cost in self.paid.items():
            if budgets.cost is not None and cost > budgets.cost * 1e6:
                broken.append(f"{cost} millionths were paid by {id}; expected at most {budgets.cost * 1e6}")
        typed = {"silent", *(str(each) for each in ConversationState)}
        assert set(self.endings) <= typed, self.endings
        assert len(self.endings) == (1 if self.one_asks else CROWD)
        assert not broken, "\n".join(broken[:5])


async def delegations() -> list[str]:
    """One run; what each stranger came to."""
    return await Delegations().run()
