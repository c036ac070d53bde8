"""The mutants of the pump and of the bus: each one deliberate fault, by the text that it replaces.

Decides which faults phloem's promises must find: something lost or booked twice between two checkpoints,
something not given back, told twice or too late, let in where it has no place. How they are tried is
``mutants``' matter. Imports nothing of phloem: a mutant is made before that is imported.
"""

from __future__ import annotations

from typing import Final

from .mutants import Mutant

CHECKPOINT: Final = "await trio.lowlevel.checkpoint()\n"
BUS: Final = "bus_reference:bus_reference"
CROWD: Final = "crowd:crowd"
DELEGATIONS: Final = "delegations:delegations"
CONTROLS: Final = tuple(
    Mutant(f"control: {program}", "", "", "", program)
    for program in ("reference:reference", BUS, CROWD, DELEGATIONS)
)
MUTANTS: Final = (
    Mutant(
        "a checkpoint between the seat and the books",
        "phloem.pump.door",
        "            context = callers_context()\n            found =",
        f"            {CHECKPOINT}            context = callers_context()\n            found =",
        CROWD,
    ),
    Mutant(
        "a checkpoint between a turn's last look and the books",
        "phloem.pump.door",
        "            turn = conversation.open_turn(budgets)\n",
        f"            {CHECKPOINT}            turn = conversation.open_turn(budgets)\n",
    ),
    Mutant(
        "a checkpoint between a dispatch's tokens and its try",
        "phloem.pump.carrying",
        "        settled, following, left, plan = False, None, False, None\n",
        f"        settled, following, left, plan = False, None, False, None\n        {CHECKPOINT}",
    ),
    Mutant(
        "what waits is not ended by a stop",
        "phloem.pump.pump",
        "            if conversation.turns:\n                self.core.cut_conversation",
        "            if not conversation.turns:\n                self.core.cut_conversation",
    ),
    Mutant(
        "leftovers are not swept",
        "phloem.pump.pump",
        "                self._sweep()\n",
        "                pass\n",
    ),
    Mutant(
        "follow-ups are dropped after a stop was asked for",
        "phloem.pump.carrying",
        "plan or self._planning.plan(delivery, verdict))",
        "plan or self._planning.plan(delivery, None if self._intake.closed else verdict))",
    ),
    Mutant(
        "in_flight is counted down before follow-ups are accepted",
        "phloem.pump.settling",
        "            self._send(delivery, plan)\n            if plan.ended:\n"
        "                self._end(delivery, plan)\n        self._handled",
        "            self._handled(delivery, prune=plan.responds)\n            self._send(delivery, plan)\n"
        "            return\n        self._handled",
    ),
    Mutant(
        "a seat is not given back by who is cancelled",
        "phloem.pump.door",
        "            if not seated:\n",
        "            if False:\n",
        CROWD,
    ),
    Mutant(
        "a stranger that waits for threads keeps his seat when cancelled",
        "phloem.pump.intake",
        "            if not found:\n                self.give_back()",
        "            if not found:\n                pass",
        CROWD,
    ),
    Mutant(
        "a listener's token is given back twice",
        "phloem.pump.slots",
        "            limiter.release_on_behalf_of(borrower)\n\n    def borrowed",
        "            limiter.release_on_behalf_of(borrower)\n"
        "            limiter.release_on_behalf_of(borrower)\n\n    def borrowed",
    ),
    Mutant(
        "a cut dispatch's slots are never given back",
        "phloem.pump.carrying",
        "                    self._slots.leave(carrier)\n                    self._stopped(delivery)",
        "                    self._stopped(delivery)",
    ),
    Mutant(
        "a document's pipeline slot is never given back",
        "phloem.pump.intake",
        "            self._slots.pipelines.release_on_behalf_of(token)\n",
        "",
    ),
    Mutant(
        "a conversation's seat is given back twice",
        "phloem.pump.pump",
        "        conversation.subscriptions = None\n        self.intake.give_back()",
        "        conversation.subscriptions = None\n        self.intake.give_back()\n"
        "        if conversation.cut_state is not None and self.intake.free_seats < 3:\n"
        "            self.intake.give_back()",
    ),
    Mutant(
        "the phase is flipped after the nursery has closed",
        "phloem.pump.pump",
        "                    self._halt()\n                    workers.cancel_scope.cancel",
        "                    workers.cancel_scope.cancel",
    ),
    Mutant(
        "a conversation's end is told twice",
        "phloem.pump.core",
        "        self.observer.conversation_ended(conversation, outcome)\n",
        "        self.observer.conversation_ended(conversation, outcome)\n"
        "        if conversation.cut_state is not None:\n"
        "            self.observer.conversation_ended(conversation, outcome)\n",
    ),
    Mutant(
        "a wake-up is lost in wait_idle",
        "phloem.pump.pump",
        "        if self._idle is None:\n            self._idle = trio.Event()\n",
        f"        {CHECKPOINT}        if self._idle is None:\n            self._idle = trio.Event()\n",
    ),
    Mutant(
        "two are at work on one thread",
        "phloem.pump.run_queue",
        "            if thread.occupant is not None:\n",
        "            if False:\n",
    ),
    Mutant(
        "what waits for its thread is lost",
        "phloem.pump.run_queue",
        "        if thread.line:\n            delivery",
        "        if thread.line and len(thread.line) > 1:\n            delivery",
    ),
    Mutant(
        "a retry is lost when it is queued again",
        "phloem.pump.carrying",
        "            self._core.expiring.append(delivery)\n        self.pulse()",
        "            self._core.expiring.append(delivery)",
    ),
    Mutant(
        "a budget of messages is held too late by one",
        "phloem.pump.overruns",
        "conversation.messages + count > most:",
        "conversation.messages + count > most + 1:",
        DELEGATIONS,
    ),
    Mutant(
        "a budget of hops is held too late by one",
        "phloem.pump.overruns",
        "hops > budgets.hops:",
        "hops > budgets.hops + 1:",
        DELEGATIONS,
    ),
    Mutant(
        "a budget of seconds is not held",
        "phloem.pump.carrying",
        '            cause = Cause("deadline", f"the conversation had',
        '            return\n            cause = Cause("deadline", f"the conversation had',
    ),
    Mutant(
        "a listener's own seconds are counted from each dispatch anew",
        "phloem.pump.carrying",
        "        meter = turn.meters.get(listener)\n",
        "        meter = None\n",
        DELEGATIONS,
    ),
    Mutant(
        "a listener has one dispatch too many at once",
        "phloem.pump.slots",
        "trio.CapacityLimiter(listener.max_concurrent)",
        "trio.CapacityLimiter(listener.max_concurrent + 1)",
    ),
    Mutant(
        "what was cut before it began is entered",
        "phloem.pump.carrying",
        "                    scope.cancel(reason=delivery.cut.text)\n                returned",
        "                    pass\n                returned",
    ),
    Mutant(
        "what was cut as it ran is settled all the same",
        "phloem.pump.carrying",
        "if delivery.cut is None and type(verdict) is not Raised:",
        "if type(verdict) is not Raised:",
    ),
    Mutant(
        "a checkpoint between the bus's room and its commit",
        "phloem.events.bus",
        "        event = self._commits.commit(event, type, data, size, None, drops=False)",
        f"        {CHECKPOINT}"
        "        event = self._commits.commit(event, type, data, size, None, drops=False)",
        BUS,
    ),
    Mutant(
        "a commit of the bus in two halves",
        "phloem.events.commits",
        "            self._put(sinks, stamped, tracker, drops=drops)\n        return stamped",
        "            import trio\n"
        "            from functools import partial\n"
        "            put = partial(self._put, drops=drops)\n"
        "            trio.lowlevel.current_trio_token().run_sync_soon(put, list(sinks), stamped, tracker)\n"
        "        return stamped",
        BUS,
    ),
    Mutant(
        "a publisher is not told that there is room",
        "phloem.events.pool",
        "            if box.line:\n                free(box)\n",
        "",
        BUS,
    ),
    Mutant(
        "a mailbox hands out the newest first",
        "phloem.events.mailbox",
        "            item = self.inbox.popleft()\n        else:",
        "            item = self.inbox.pop()\n        else:",
        BUS,
    ),
    Mutant(
        "an expectation looks away before it waits",
        "phloem.events.expecting",
        "            await self._room.aside(self._met.wait)\n",
        f"            {CHECKPOINT}            self._met = trio.Event()\n"
        "            await self._room.aside(self._met.wait)\n",
        BUS,
    ),
)
EVERY: Final = (*CONTROLS, *MUTANTS)
