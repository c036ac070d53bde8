"""Organisms of agents at random, for simulations: who they are, what their models say, and what must hold.

Each run is another organism: agents that wait for each answer or for all, stream, send early and are held to
budgets, tools that are slow, fail and say nothing, and one or several backends. What a model answers follows
from what it is told (and the run's seed), never from the order of calls. ``witness`` holds every call against
books of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import trio

from phloem.config import Budgets, ListenerConfig, MemoryLimits, OrganismConfig
from phloem.contract import xmlify
from phloem.errors import BackendError
from phloem.llm.requests import LLMRequest, LLMResponse, StopReason, TokenUsage
from phloem.llm.script import Scripted
from phloem.llm.scripted import ScriptedBackend
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.testing import current_run

from .witness import Witness, blocks

LONG_HISTORY: Final = 10**9
PRICE: Final = {"input": 1.0, "output": 3.0}


@xmlify
@dataclass(frozen=True)
class Task:
    text: str


@xmlify
@dataclass(frozen=True)
class Result:
    text: str


def task(token: str, to: str) -> str:
    return f'<send to="{to}"><Task><Text>{token}</Text></Task></send>'


def result(token: str) -> str:
    return f"<respond><Result><Text>{token}</Text></Result></respond>"


class World:
    """What one run draws: from its seed, and where a model answers, from what that is told as well."""

    def __init__(self) -> None:
        run = current_run()
        assert run is not None
        self.random = Random(run.random.getrandbits(64))
        self.salt = self.random.getrandbits(64)
        self.asked: Counter[str] = Counter()  # how often a model was told the very same
        self.organism: Any = None
        self.names: list[str] = []
        self.tools: list[str] = []
        self.gentle = False  # nothing goes wrong at the providers
        self.may_stay_silent = (
            True  # a tool says nothing now and then, and an agent that waits for it neither
        )
        self.witness = Witness()

    def of(self, *values: Any) -> Any:
        return self.random.choice(values)

    def often(self, chance: float) -> bool:
        return self.random.random() < chance

    def by(self, *words: object) -> Random:
        return Random(f"{self.salt}|{'|'.join(map(str, words))}")

    # -- models ---------------------------------------------------------------------------------

    async def answer(self, request: LLMRequest) -> Any:
        """What the model of some agent says; told the same again, the same, but others befall it."""
        await trio.lowlevel.checkpoint()  # as a provider would, before it sends anything
        self.witness.called(request)
        told = "\n".join(blocks(request))
        self.asked[told] += 1
        by = self.by(request.agent, told, self.asked[told])
        words = self.words(self.by(request.agent, told), request, told)
        scripted = self.befalls(words, by, request)
        self.witness.will_say(scripted, request)
        return scripted

    def befalls(self, words: str, by: Random, request: LLMRequest) -> Any:
        befalls = by.random()
        if self.gentle:
            return Scripted(words, delay=by.choice([0, 0.1, 2]), chunks=by.choice([None, 3, 40]), pause=0.01)
        if befalls < 0.04:
            return Scripted("busy", status=429, retry_after=by.choice([None, 0.5, 30, 1000]))
        if befalls < 0.08:
            return Scripted("oops", status=by.choice([500, 529, 503, 408]))
        if befalls < 0.09:
            return Scripted("no", status=by.choice([400, 401]))
        if befalls < 0.11:
            return Scripted(words, cut=by.randrange(len(words) + 1), chunks=by.choice([None, 5]))
        if befalls < 0.12:
            return Scripted(words, delay=math.inf)
        if befalls < 0.13:
            return Scripted(words, stall=by.randrange(len(words) + 1), chunks=5)
        if befalls < 0.14:
            raise by.choice([ValueError("broken"), BackendError("unreachable"), KeyError("x")])
        if befalls < 0.15:
            return Scripted(words, stop_reason=by.choice([StopReason.LENGTH, StopReason.CONTENT_FILTER]))
        if befalls < 0.16:
            return LLMResponse(words, model=request.model, usage=TokenUsage(0, 0))
        reasoning = by.choice(["", "", "hm"])
        return Scripted(
            words,
            reasoning=reasoning,
            delay=by.choice([0, 0, 0.1, 2]),
            pause=by.choice([0, 0.3]),
            chunks=by.choice([None, 1, 7, 40]),
        )

    def words(self, by: Random, request: LLMRequest, told: str) -> str:
        def token(kind: str) -> str:
            return f"{kind}-{by.getrandbits(40):010x}"

        def sends(count: int) -> str:
            return by.choice(["", " ", "\n"]).join(
                task(token("t"), by.choice([*self.names, *self.tools, *self.tools])) for _ in range(count)
            )

        turns, chance = sum(each.role == "assistant" for each in request.messages), by.random()
        if chance < 0.36 / (1 + turns):
            return sends(by.choice([1, 2, 2, 3, 4]))
        if chance < 0.80:
            return result(token("r"))
        return by.choice(
            [
                sends(2),
                "<wait/>",
                "<wait/>",
                "I would rather not say.",
                "",
                f"<Result><Text>{token('r')}</Text></Result>",
                f"<Task><Text>{token('t')}</Text></Task>",
                sends(1) + result(token("r")),
                sends(2) + '<send to="nobody"><Task><Text>x</Text></Task></send>',
                sends(1) + f'<send to="{by.choice(self.names)}"><Task><Wrong>x</Wrong></Task></send>',
                f"<respond><Result><Text>{token('r')}",
                result(token("r")) + result(token("r")),
                "<respond><Task><Text>x</Text></Task></respond>",
                sends(2) + " and that is all.",
                "<TodoUntil><WaitFor>Result</WaitFor></TodoUntil>" + sends(1),
            ]
        )

    # -- listeners ------------------------------------------------------------------------------

    async def tool(self, payload: Any, metadata: HandlerMetadata) -> Any:
        self.witness.given(metadata.own_name or "", payload)
        by = self.by("tool", payload.text)
        await trio.sleep(by.choice([0, 0, 0.1, 1, 5]))
        chance, answer = by.random(), HandlerResponse.respond(Result(f"r-{by.getrandbits(40):010x}"))
        if chance < 0.08:
            raise ValueError("a tool fails")
        if chance < 0.14:
            return None
        if chance < 0.18:
            return [answer, HandlerResponse.respond(Result(f"r-{by.getrandbits(40):010x}"))]
        if chance < 0.21 and not self.gentle:
            await self.organism.kill(metadata.conversation)
        return answer

    def agent(self, name: str) -> ListenerConfig:
        streams = self.often(0.5)
        return ListenerConfig(
            name,
            Task,
            description=name,
            is_agent=True,
            prompt=f"You are {name}.",
            responds_with=Result,
            peers=[*self.random.sample(self.names, self.random.randint(0, len(self.names))), *self.tools],
            wait=self.of("each", "all", "all"),
            stream=streams,
            accept_early=streams and self.often(0.7),
            max_attempts=self.of(None, 1, 2),
            max_tokens=self.of(None, 60, 400),
            max_history_tokens=LONG_HISTORY,
            max_concurrent=self.of(None, 1, 2),
            retries=self.of(0, 0, 2),
            handler_timeout=self.of(None, 30.0, 8.0),
            idempotent=self.often(0.5),
            budgets=self.of(None, None, Budgets(tokens=6000), Budgets(messages=6, cost=0.02)),
        )

    def config(self) -> OrganismConfig:
        self.names = [f"agent{number}" for number in range(self.random.randint(1, 4))]
        self.tools = [f"tool{number}" for number in range(self.random.randint(1, 3))]
        listeners = [self.agent(name) for name in self.names]
        listeners += [
            ListenerConfig(
                name,
                Task,
                self.tool,
                name,
                responds_with=Result,
                idempotent=self.often(0.7),
                max_concurrent=self.of(None, 1),
                retries=self.of(0, 1),
            )
            for name in self.tools
        ]
        return OrganismConfig(
            "agents",
            listeners,
            llm_config=self.llm(),
            thread_scheduling=self.of("breadth-first", "depth-first"),
            max_in_flight=self.of(2, 5, 100),
            max_concurrent_handlers=self.of(2, 5, 100),
            max_concurrent_pipelines=self.of(2, 100),
            max_attempts=self.of(2, 3),
            handler_timeout=60.0,
            shutdown_grace=self.of(0.0, 5.0, 1000.0),
            budgets=self.budgets(),
            memory=self.memory(),
        )

    def memory(self) -> MemoryLimits:
        if not self.often(0.2):
            return MemoryLimits()
        self.witness.forgets = True
        size = self.of(600, 2000, 100_000)
        return MemoryLimits(
            max_slots_per_conversation=self.of(4, 8, 30), max_bytes_per_conversation=size, on_full="refuse"
        )

    def budgets(self) -> Budgets:
        return Budgets(
            messages=self.of(5, 20, 60),
            hops=self.of(6, 30),
            depth=self.of(3, 8),
            seconds=self.of(20.0, 200.0),
            tokens=self.of(None, 4000, 20_000, 20_000),
            cost=self.of(None, None, 0.05),
            on_short=self.of("refuse", "shrink"),
        )

    def llm(self) -> dict[str, Any]:
        backends = [
            {
                "provider": ScriptedBackend(self.answer),
                "name": f"backend{number}",
                "priority": self.of(1, 2),
                "rate_limit_tpm": self.of(30_000, 100_000),
                "max_concurrent": self.of(1, 2, 20),
                "timeout": self.of(3.0, 20.0),
            }
            for number in range(self.of(1, 1, 2, 3))
        ]
        return {
            "default_model": "some",
            "strategy": self.of("failover", "round-robin", "least-loaded"),
            "retries": self.of(0, 1, 3),
            "retry_base_delay": self.of(0.01, 1.0),
            "backends": backends,
            "prices": {"some": PRICE},
            "defaults": {"max_tokens": self.of(100, 300, 1000)},
        }
