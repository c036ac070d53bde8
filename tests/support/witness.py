"""Books of an organism of agents, kept beside the pump's: what each was given and has said, and is told.

Believes nothing of what a model is told, and holds every call against these books: that its thread and its
conversation live, that nothing is in flight below where it waits for all, that each message is told once and
in order, and that no budget is overshot by what is spent and reserved. For simulations.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final

from phloem.config import BYTES_PER_TOKEN
from phloem.llm.requests import LLMRequest, LLMResponse
from phloem.messages import Ending
from phloem.organism import Organism
from phloem.pump.conversation import Delivery
from phloem.pump.dispatch import running_delivery

BLOCK: Final = re.compile(r"=== begin (\w+) \|[^\n]*===\n(.*?)\n=== end \1 ===", re.DOTALL)
TOKEN: Final = re.compile(r"[tr]-[0-9a-f]{10}")


def blocks(request: LLMRequest) -> list[str]:
    """The texts of others in a request, and after each (if anything) what the agent said then."""
    found: list[str] = []
    for each in request.messages:
        if each.role == "user":
            found += [match.group(2) for match in BLOCK.finditer(each.content)]
        elif each.role == "assistant":
            found.append("said: " + each.content)
    return found


class Witness:
    """An observer of the pump that believes nothing of what its agents are told, and checks each call."""

    def __init__(self) -> None:
        self.forgets = False  # a full memory lets old messages go
        self.broken: list[str] = []
        self.calls: list[tuple[str, str, tuple[str, ...]]] = []  # (agent, message, what it was told)
        self.heard: dict[str, list[Delivery]] = defaultdict(list)  # thread -> what was handled there
        self.said: dict[str, str] = {}  # message -> what the model said to it last
        self.got: Counter[tuple[str, str]] = Counter()  # (tool, token)
        self.broke_off: set[str] = set()  # messages at which a stream did

    def __getattr__(self, name: str) -> Any:
        """An observer is told much that is of no interest here."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_, **__: None

    # -- what it is told ------------------------------------------------------------------------

    def ended(self, delivery: Delivery, cause: Any) -> None:
        if delivery.listener.driven and delivery.ending is Ending.HANDLED:
            self.heard[delivery.thread.id].append(delivery)

    def refused(
        self, conversation: Any, sender: str, huh: Any, detail: str, sent_by: Delivery | None
    ) -> None:
        if sent_by is not None and "broke off" in huh.found:
            self.broke_off.add(sent_by.id)

    def buried(self, letter: Any, cause_id: str | None) -> None:
        left = [huh.attempts_left for huh in letter.attempts]
        if left and (left[-1] != 0 or left != sorted(left, reverse=True)):
            self.broken.append(
                f"attempts of {letter.message_id} had {left} left; expected them to go down to 0"
            )

    def given(self, tool: str, payload: Any) -> None:
        self.got[tool, payload.text] += 1

    def will_say(self, scripted: Any, request: LLMRequest) -> None:
        delivery = running_delivery()
        assert delivery is not None
        if isinstance(scripted, LLMResponse):
            self.said[delivery.id] = scripted.content
            return
        most = (request.max_tokens or 0) * BYTES_PER_TOKEN - len(scripted.reasoning)
        ends = [each for each in (scripted.cut, scripted.stall, most) if each is not None]
        self.said[delivery.id] = scripted.text[: min(ends)]

    # -- what it holds a call against --------------------------------------------------------------

    def called(self, request: LLMRequest) -> None:
        delivery = running_delivery()
        assert delivery is not None
        told = tuple(blocks(request))
        self.calls.append((request.agent, delivery.id, told))
        for what in self._wrong(delivery, request):
            self.broken.append(f"the call of {request.agent} at {delivery.id}: {what}")

    def _wrong(self, delivery: Delivery, request: LLMRequest) -> Iterator[str]:
        thread, conversation = delivery.thread, delivery.conversation
        core: Any = conversation.core
        if core.conversations.get(conversation.id) is not conversation or conversation.over:
            yield "its conversation has ended"
        if delivery.ending is not None or delivery.cut is not None or not delivery.running:
            yield f"its message has ended {delivery.ending}, or is cut ({delivery.cut})"
        if not thread.alive or thread.occupant is not delivery or delivery.turn.outcome is not None:
            yield "its thread is pruned, or not its own"
        yield from self._wrongly_told(delivery, request)
        live = [each for turn in conversation.turns.values() for each in turn.live]
        if thread.gathering is not None and not delivery.part_sent:
            if below := [each.id for each in live if thread in list(above(each))]:
                yield f"it waits for all, and {below} are in flight below"
            behind = [each.id for each in thread.line or () if each.turn is delivery.turn]
            if behind:
                yield f"it waits for all, and {behind} stand behind it"
        for each in conversation.threads:
            count = sum(each in list(above(one)) for one in live)
            if each.gathering is not None and each.gathering.below != count:
                yield f"{each.gathering.below} are counted below {each}; expected {count}"
            if each.held and (not count or each.occupant is None or each.occupant.running):
                yield f"{each} is held with {count} in flight below"
        memory, limits = conversation.memory, core.memory._limits
        if memory is not None and core.memory.refuses:
            most, size = limits.max_slots_per_conversation, limits.max_bytes_per_conversation
            if len(memory) > most or memory.size > size:
                yield f"{len(memory)} slots of {memory.size} bytes are kept, more than may be"
        for key, account in (conversation.accounts or {}).items():
            if account.tokens + account.reserved_tokens > account.token_limit:
                yield f"{account.tokens} spent and {account.reserved_tokens} reserved of {key!r}"
            if account.cost + account.reserved_cost > account.cost_limit:
                yield f"{account.cost} spent and {account.reserved_cost} reserved of {key!r} (cost)"

    def _wrongly_told(self, delivery: Delivery, request: LLMRequest) -> Iterator[str]:
        """Each message once, in the order of handling; the agent's own words as its own."""
        told = blocks(request)
        expected = [*self.heard[delivery.thread.id], delivery]
        given = [each for each in told if not each.startswith("said: ")]
        if delivery.nudge:
            given = given[: len(expected)]
        texts = [each.text for each in expected]
        forgets = self.forgets  # and the oldest messages, for the sake of phloem's own
        if given != (texts[-len(given) :] if forgets else texts):
            yield f"it was told {given}; expected {texts}"
        if forgets or given != texts:
            return
        shown: list[str] = []
        for each in told:
            if each.startswith("said: "):
                shown[-1] = each
            else:
                shown.append("")
        for one, words in zip(expected[:-1], shown, strict=False):
            own, found = TOKEN.findall(self.said.get(one.id, "")), TOKEN.findall(words)
            if one.id in self.broke_off:
                own = own[: len(found)]
            if sorted(own) != sorted(found):
                yield f"at {one.id} it is shown to have said {found}; expected {own}"
        if shown[-1]:
            yield f"it is shown to have said {shown[-1]} already"


def above(delivery: Delivery) -> Iterator[Any]:
    """The threads above the one that a message is on."""
    thread = delivery.thread.parent
    while thread is not None:
        yield thread
        thread = thread.parent


def left_over(organism: Organism, witness: Witness) -> list[str]:
    """What must not be once an organism of agents is closed, beside what its watch looks for."""
    broken = list(witness.broken)
    llm: Any = organism.llm
    if llm.lines._lines or llm.lines.waiting:
        broken.append(f"calls wait for budget: {llm.lines._lines}")
    for view in llm.backends:
        if view.running or view.waiting or view.reserved:
            broken.append(f"{view} is busy")
    spending: Any = organism.statistics()["spending"]
    used = sum(row.total_tokens for row in llm.usage())
    if spending["tokens"] != used or spending["reserved_tokens"] or spending["reserved_cost"]:
        broken.append(f"{spending} in the books, and {used} used")
    broken += _calls_of_tools(organism)
    return broken


def _calls_of_tools(organism: Organism) -> Iterator[str]:
    started, completed = Counter[str](), Counter[str]()
    stats = organism.events.get_stats()["history"]
    if stats["evicted"] or not stats["events"]:
        return
    for event in organism.events.get_history(
        ("tool_call_started", "tool_call_completed"), limit=stats["events"]
    ):
        which = started if event.type == "tool_call_started" else completed
        which[event.data["tool_use_id"]] += 1
    for id in {*started, *completed}:
        if started[id] != 1 or completed[id] != 1:
            yield f"the call {id} was begun {started[id]} times and completed {completed[id]} times"
