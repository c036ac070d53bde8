"""What a handler returned -> what its dispatch is going to send, checked but not booked.

Decides which messages came of it and which of them may go. With users' steps in the pipeline this
may wait, so it is done within the dispatch, before the one sync stretch that ``settling`` books it
in. Never books, queues or answers anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, final

from phloem.guarding import Raised, attempted, guarded
from phloem.memory.threads import Thread
from phloem.messages import HandlerResponse

from .conversation import Delivery
from .core import Core
from .flow import Flow
from .replies import read_return
from .routing import Listener
from .spoken import Spoken, Uttered, mixed, uttered
from .steps import Checked, Ended, Passed, Refused

__all__ = ["Plan", "Planning"]


@final
class Plan:
    """What one dispatch sends: checked, but not booked yet."""

    __slots__ = ("answers", "ended", "passed", "refused", "responds", "unseen")

    def __init__(self) -> None:
        self.passed: list[Passed] = []
        self.refused: list[Refused] = []
        self.ended: list[Ended] = []
        self.answers: list[Passed] = []  # for whoever injected
        self.responds = False
        self.unseen = 0  # answers that nobody takes, or is there to take

    def sort(self, items: Iterable[Checked], *, at_root: bool) -> None:
        """Each to its own kind; ``at_root``: what passed is for whoever injected."""
        for item in items:
            if isinstance(item, Refused):
                self.refused.append(item)
            elif isinstance(item, Ended):
                self.ended.append(item)
            else:
                (self.answers if at_root else self.passed).append(item)


@final
class Planning:
    """The plans of one pump's dispatches; ``flow`` None: no user has put anything into its pipeline."""

    def __init__(self, core: Core, flow: Flow | None) -> None:
        self._core, self._flow = core, flow

    async def through(self, delivery: Delivery, value: Any) -> Plan | Raised:
        """As ``plan``, past users' steps. A checkpoint where they are one."""
        found: Plan | Raised = await guarded(self._plan_through, delivery, value)
        return found

    def plan(self, delivery: Delivery, value: Any) -> Plan | Raised:
        """What a handler's result sends, or what was wrong with it. Never a checkpoint."""
        found: Plan | Raised = attempted(self._plan, delivery, value)
        return found

    def caller(self, thread: Thread) -> Listener | None:
        """The listener that called; None if that was a stranger."""
        parent = thread.parent
        if parent is None or parent.parent is None:
            return None
        return self._core.listeners[parent.listener]

    async def early(self, delivery: Delivery, spoken: Spoken) -> Plan | Raised:
        """As ``through``, of what a model has written while the rest is still to come."""
        found: Plan | Raised = await guarded(self._plan_spoken, delivery, spoken)
        return found

    async def _plan_spoken(self, delivery: Delivery, spoken: Spoken) -> Plan:
        if self._flow is None:
            return self._spoken(delivery, spoken)
        plan, caller = Plan(), self.caller(delivery.thread)
        said = self._said(delivery, spoken, plan)
        items: list[Checked] = [each for each in said if isinstance(each, Refused)]
        items += await self._flow.from_uttered(
            [each for each in said if isinstance(each, Uttered)], delivery, caller
        )
        return self._sorted(delivery, spoken, items, plan)

    def _spoken(self, delivery: Delivery, spoken: Spoken) -> Plan:
        plan, steps, caller = Plan(), self._core.steps, self.caller(delivery.thread)
        sender, items = delivery.listener, list[Checked]()
        for each in self._said(delivery, spoken, plan):
            if isinstance(each, Refused):
                items.append(each)
            elif not each.is_response:
                items += steps.from_element(each.element, each.to, sender)
            elif caller is None:
                kind = each.kind or object  # with responds_with its tag alone decides
                items.append(steps.to_root_as(kind, each.tag, each.text, each.element, sender))
            else:
                items.append(steps.to_caller_as(each.tag, each.text, each.element, caller, sender))
        return self._sorted(delivery, spoken, items, plan)

    def _said(self, delivery: Delivery, spoken: Spoken, plan: Plan) -> list[Uttered | Refused]:
        at_root = self.caller(delivery.thread) is None
        said = uttered(spoken, delivery.listener, self._core.steps, at_root=at_root)
        ways = {each.is_response for each in said if isinstance(each, Uttered)}
        if len(ways) > 1 or (delivery.part_sent and True in ways):  # bare ones: the reader has seen to frames
            return [mixed(spoken)]
        plan.responds = True in ways
        if plan.responds and delivery.thread.unasked:
            plan.unseen, said = len(said), []
        return said

    def _sorted(self, delivery: Delivery, spoken: Spoken, items: list[Checked], plan: Plan) -> Plan:
        if spoken.answer is not None and spoken.answer.mends:
            self._core.observer.mended(delivery.listener.key, spoken.answer.mends, delivery)
            for each in items:
                if isinstance(each, Passed):
                    each.mends = spoken.answer.mends
        plan.sort(items, at_root=plan.responds and self.caller(delivery.thread) is None)
        return plan

    def _plan(self, delivery: Delivery, value: Any) -> Plan:
        if type(value) is Spoken:
            return self._spoken(delivery, value)
        plan = Plan()
        responses = read_return(value)
        steps, sender = self._core.steps, delivery.listener
        items: list[Checked] = []
        if isinstance(responses, bytes):
            told = partial(self._core.observer.mended, sender.key, sent_by=delivery)
            items += steps.from_raw(responses, sender, told)
        elif responses and responses[0].is_response:
            plan.responds = True
            items += self._answers(delivery, responses, plan)
        else:
            for response in responses:
                items += steps.from_payload(response.payload, response.to, sender)
        plan.sort(items, at_root=plan.responds and self.caller(delivery.thread) is None)
        return plan

    async def _plan_through(self, delivery: Delivery, value: Any) -> Plan:
        if type(value) is Spoken:
            return await self._plan_spoken(delivery, value)
        plan, flow = Plan(), self._flow
        assert flow is not None
        responses = read_return(value)
        caller = self.caller(delivery.thread)
        if isinstance(responses, bytes):
            told = partial(self._core.observer.mended, delivery.listener.key, sent_by=delivery)
            items = await flow.from_raw(responses, delivery, told)
        else:
            plan.responds = bool(responses) and responses[0].is_response
            if plan.responds and delivery.thread.unasked:
                plan.unseen, responses = len(responses), []
            items = await flow.from_responses(responses, delivery, caller)
            if plan.responds and caller is not None:
                items = self._heard(delivery, items, plan)
        plan.sort(items, at_root=plan.responds and caller is None)
        return plan

    def _answers(self, delivery: Delivery, responses: list[HandlerResponse], plan: Plan) -> list[Checked]:
        steps, caller = self._core.steps, self.caller(delivery.thread)
        if delivery.thread.unasked:
            plan.unseen = len(responses)
            return []
        if caller is None:
            return [steps.to_root(response.payload, delivery.listener) for response in responses]
        responder = delivery.listener
        answers = [steps.to_caller(response.payload, caller, responder) for response in responses]
        return self._heard(delivery, answers, plan)

    def _heard(self, delivery: Delivery, answers: list[Checked], plan: Plan) -> list[Checked]:
        """Nobody need take what a service answers."""
        if not delivery.listener.service:
            return answers
        heard = [answer for answer in answers if not (isinstance(answer, Refused) and answer.miss)]
        plan.unseen += len(answers) - len(heard)
        return heard
