"""The scripted backend does what every backend must."""

from __future__ import annotations

from collections import deque
from typing import Any, final

import pytest
import trio
import trio.testing

from phloem.llm.requests import LLMRequest
from phloem.llm.scripted import Scripted, ScriptedBackend
from support.backend_conformance import CASES, Case, Plan


@final
class ScriptedWorld:
    """A backend whose answers are the plans; its other side is the backend itself."""

    def __init__(self) -> None:
        self._plans: deque[Plan] = deque()
        self.backend = ScriptedBackend(self._answer)

    def _answer(self, request: LLMRequest) -> Scripted:
        plan = self._plans.popleft()
        if plan.status >= 400:
            return Scripted(plan.said, status=plan.status, retry_after=plan.retry_after)
        return Scripted(
            chunks=plan.chunks,
            reasoning=plan.reasoning,
            usage=plan.usage,
            stop_reason=plan.stop,
            delay=float("inf") if plan.silent else 0.0,
            cut=len(plan.text) if plan.cut else None,
            stall=len(plan.text) if plan.pause else None,
        )

    @property
    def asked(self) -> int:
        return self.backend.calls

    def prepare(self, *plans: Plan) -> None:
        self._plans += plans

    async def until_asked(self, number: int) -> None:
        while self.backend.calls < number:
            await trio.testing.wait_all_tasks_blocked()

    async def until_gone(self, number: int) -> None:
        await trio.testing.wait_all_tasks_blocked()
        assert self.backend.running == 0


@pytest.mark.parametrize("case", CASES, ids=[case.__name__ for case in CASES])
async def test_conforms(case: Case, autojump_clock: Any) -> None:
    with trio.fail_after(60):
        await case(ScriptedWorld())
