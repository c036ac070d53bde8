"""What a dispatch's verdict does: follow-ups opened, faults told, threads pruned, the entry closed.

Decides it in one sync stretch, so that nothing is between two books: follow-ups are open
before what sent them is closed. Called by the pump when a dispatch has come back; never waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from phloem.errors import ContractError, InvalidMessage
from phloem.guarding import Raised, said
from phloem.memory.threads import Thread
from phloem.messages import SYSTEM, Cause, Ending, Huh, SystemError
from phloem.wire.parsing import printable

from .conversation import Delivery
from .core import Core
from .hearing import joined, said_of
from .planning import Plan, Planning
from .replies import BadReturn
from .routing import Listener
from .steps import ORIGINAL, Passed, Refused
from .trying import Call, Tried, tried_by

__all__ = ["Settling"]

MOST_TOLD: Final = 20  # refusals in one dead letter: attempts are few, but each may have several payloads

NOT_DELIVERED: Final = (
    "The message could not be delivered. Check whom it is meant for and what they take, then try again."
)
NOT_HANDLED: Final = "The listener you called could not handle your message."
NOT_VALID: Final = "The listener you called could not produce a valid message."


@final
class Settling:
    """The verdicts of one pump's dispatches."""

    def __init__(self, core: Core, planning: Planning) -> None:
        self._core, self._planning = core, planning

    def returned(self, delivery: Delivery, plan: Plan | Raised) -> None:
        """The handler returned. What it sends goes on, or the dispatch has failed."""
        if isinstance(plan, Raised):
            self._bad_return(delivery, plan.error)
            return
        if plan.ended and plan.responds:
            broken = next((item for item in plan.ended if item.error is not None), None)
            if broken is not None:  # the call cannot be answered any more
                self.failed(delivery, broken.cause)
                return
        if self._core.memory.refuses:
            self._refuse_what_is_too_much(delivery, plan)
        if plan.refused:
            self._refusals(delivery, plan)
            return
        sends = plan.passed or plan.answers or plan.unseen or plan.ended
        if delivery.thread.tried is not None and (sends or delivery.part_sent):
            delivery.thread.tried.pop(delivery.turn, None)
        if sends:
            takers = [item.listener for item in plan.passed]
            if plan.ended:
                takers += self._told_of_ends(delivery, plan)
            count = len(takers) + plan.unseen + len(plan.ended)
            if count and not self._fit(delivery, takers, count, plan.responds, going=plan.passed):
                return
            self._send(delivery, plan)
            if plan.ended:
                self._end(delivery, plan)
        self._handled(delivery, prune=plan.responds)

    def early(self, delivery: Delivery, plan: Plan) -> bool:
        """Send what a model has written while the rest is still to come; False if it has to wait for that.

        Whatever is wrong with it is told with the rest.
        """
        if not plan.passed or plan.refused or plan.ended or plan.responds or delivery.cut is not None:
            return False
        takers = [item.listener for item in plan.passed]
        depth = delivery.thread.depth + 1
        ledger, hops = self._core.ledger, delivery.hops + 1
        if self._core.memory.refuses and self._too_much(delivery, plan.passed):
            return False
        if ledger.over_repeats(delivery, plan.passed, tell=False) is not None:
            return False
        if ledger.over_budget(delivery.turn, takers, len(takers), hops, depth, delivery.trail) is not None:
            return False
        self._send(delivery, plan)
        delivery.part_sent = True
        return True

    def failed(self, delivery: Delivery, cause: Cause) -> None:
        """The dispatch failed for good: a dead letter, its caller told, its thread pruned."""
        core, turn = self._core, delivery.turn
        if delivery.tells is not None:
            turn.faults.pop(delivery.tells, None)  # folded into this one
        fault = turn.fault(cause)
        core.bury(
            turn,
            delivery.id,
            delivery.sender,
            delivery.listener.key,
            cause,
            delivery.text,
            cause_id=delivery.cause_id,
        )
        caller = self._planning.caller(delivery.thread)
        if delivery.thread.call is not None:
            delivery.thread.call.error = cause.reason
        if caller is None or self._fit(delivery, [caller], 1, True, Ending.FAILED, cause):
            if caller is not None:
                notice = SystemError("handler", NOT_HANDLED)
                self._notify(delivery, caller, delivery.thread.parent, notice, fault)
            self._close(delivery, Ending.FAILED, cause, prune=True)

    def abandoned(self, delivery: Delivery, cause: Cause) -> None:
        """The dispatch was cut; whatever came of it is dropped."""
        core = self._core
        core.close(delivery, Ending.ABANDONED, cause)
        core.release(delivery)
        core.check(delivery.turn)

    def _bad_return(self, delivery: Delivery, error: BaseException) -> None:
        """What the handler returned is no answer, or does not encode: failed, and no retry mends it."""
        key, what = delivery.listener.key, "sent what does not encode: "
        if isinstance(error, BadReturn):
            what = ""
        elif not isinstance(error, InvalidMessage | ContractError):
            what = f"sent a payload whose class raised {type(error).__name__}: "
            self._core.observer.raised(delivery, error)
        text = printable(" ".join(f"{key} {what}{said(error)}".split()), ORIGINAL)
        self.failed(delivery, Cause("handler", text, key, type(error).__name__))

    # -- what there is no room for -----------------------------------------------------------

    def _refuse_what_is_too_much(self, delivery: Delivery, plan: Plan) -> None:
        """For a memory that refuses once it is full. What a service answers always has room."""
        going = plan.passed or plan.answers
        if going and not delivery.listener.service:
            conversation, thread = delivery.conversation, delivery.thread
            to = thread.parent if plan.responds else None
            ending = conversation.threads.ending(thread, delivery.turn.number) if plan.responds else ()
            at_root = bool(plan.answers)
            plan.passed, plan.answers = [], []
            plan.sort(self._core.memory.admitted(conversation, going, lambda _: to, ending), at_root=at_root)

    def _too_much(self, delivery: Delivery, going: Sequence[Passed]) -> bool:
        """True if a full memory would refuse some of what goes to threads of their own."""
        checked = self._core.memory.admitted(delivery.conversation, going, lambda _: None)
        return any(isinstance(each, Refused) for each in checked)

    # -- booking ----------------------------------------------------------------------------

    def _fit(
        self,
        delivery: Delivery,
        takers: list[Listener],
        count: int,
        upwards: bool,
        ending: Ending = Ending.HANDLED,
        cause: Cause | None = None,
        *,
        going: Sequence[Passed] = (),
    ) -> bool:
        """True if all of it fits the budgets; else none is opened and the conversation ends.

        ``going``: those of the messages that the handler has sent.
        """
        depth = delivery.thread.depth if upwards else delivery.thread.depth + 1
        ledger = self._core.ledger
        over = ledger.over_repeats(delivery, going) if going and delivery.listener.is_agent else None
        if over is None:
            over = ledger.over_budget(delivery.turn, takers, count, delivery.hops + 1, depth, delivery.trail)
        if over is None:
            return True
        self._core.close(delivery, ending, cause)
        self._core.release(delivery)
        self._core.overrun(delivery.turn, over)  # last: its conversation's threads end with it
        self._core.check(delivery.turn)
        return False

    def _send(self, delivery: Delivery, plan: Plan) -> None:
        core, turn, thread = self._core, delivery.turn, delivery.thread
        if delivery.listener.is_agent:
            said = said_of(plan.answers or plan.passed, responds=plan.responds)
            delivery.said = joined(delivery.said, said)
        for answer in plan.answers:
            turn.payloads.append(answer.payload)
            turn.weight += len(answer.text)
            core.memory.answered(delivery, answer)
        for _ in range(plan.unseen):
            unaware = self._planning.caller(thread)
            core.ledger.refuse(turn, Ending.HANDLED, key="" if unaware is None else unaware.key)
        name = delivery.listener.name
        if plan.responds:
            caller = thread.parent
            assert caller is not None  # only the root has none, and no listener works on it
            if thread.call is not None and plan.passed:
                thread.call.result = plan.passed[0].contract.tag
            core.queue.put([core.open(turn, caller, item, name, delivery) for item in plan.passed])
            return
        threads, conversation = delivery.conversation.threads, delivery.conversation
        opened = [
            core.open(
                turn,
                threads.extend(thread, conversation.next_id(), item.listener.key, turn.number),
                item,
                name,
                delivery,
            )
            for item in plan.passed
        ]
        if delivery.listener.driven:
            for child in opened:
                child.thread.call = Call(child.listener.key, child.contract.tag)
                core.observer.call_started(delivery, child)
            threads.call_ended = core.call_ended(conversation)
        core.queue.put(opened)

    def _told_of_ends(self, delivery: Delivery, plan: Plan) -> list[Listener]:
        """Who is told that a user's step has raised: its sender, for each."""
        return [delivery.listener for item in plan.ended if item.error is not None]

    def _end(self, delivery: Delivery, plan: Plan) -> None:
        """Messages that users' steps have ended before they were sent."""
        core, turn, key = self._core, delivery.turn, delivery.listener.key
        for item in plan.ended:
            core.end(turn, item, key, delivery)
            if item.error is not None:
                notice = SystemError("handler", NOT_HANDLED)
                self._notify(delivery, delivery.listener, delivery.thread, notice, turn.fault(item.cause))

    def _refusals(self, delivery: Delivery, plan: Plan) -> None:
        """Something was refused: told to its sender, or, once its attempts are spent, to its caller."""
        core, turn, thread = self._core, delivery.turn, delivery.thread
        fellows = plan.passed if plan.responds else []
        going = [] if plan.responds else plan.passed
        most, tried = delivery.listener.max_attempts or core.max_attempts, tried_by(delivery)
        spent = tried.wrong + 1 >= most
        told = self._planning.caller(thread) if spent else delivery.listener
        notices = [] if told is None else [told] * (1 if spent else len(plan.refused))
        booked = sum(not item.outbound for item in plan.refused)
        takers = [*(item.listener for item in going), *notices, *self._told_of_ends(delivery, plan)]
        count = len(takers) + len(fellows) + booked + len(plan.ended)
        if not self._fit(delivery, takers, count, not going, going=going):
            return
        tried.wrong += 1
        left = max(most - tried.wrong, 0)
        plan.passed = going
        if going:
            self._send(delivery, plan)
        if delivery.listener.is_agent:
            delivery.said = joined(delivery.said, said_of(plan.refused, responds=False))
        if plan.ended:
            self._end(delivery, plan)
        for fellow in fellows:
            core.ledger.refuse(turn, Ending.REJECTED, key=fellow.listener.key)
        key = delivery.listener.key
        huhs = [(item, core.tell_refused(turn, item, key, left, delivery)) for item in plan.refused]
        for item, _ in huhs:
            self._book_refused(delivery, item)
        tried.huhs += [huh for _, huh in huhs]
        if left == 0:
            self._spent(delivery, plan.refused, tried)
            return
        for item, huh in huhs:
            reason = "routing" if item.miss else "validation"
            cause = Cause(reason, f"{item.tag}: {item.detail}", delivery.listener.key)
            notice = SystemError("routing", NOT_DELIVERED) if item.miss else huh
            self._notify(delivery, delivery.listener, thread, notice, turn.fault(cause))
        self._handled(delivery, prune=False)

    def _book_refused(self, delivery: Delivery, item: Refused) -> None:
        """The entry of a message that ends as it is sent; what would go out to a stranger has none."""
        if item.outbound:
            return
        if not item.miss:
            key = delivery.listener.key if item.listener is None else item.listener.key
            self._core.ledger.refuse(delivery.turn, Ending.REJECTED, key=key)
            return
        cause = Cause("routing", item.detail, delivery.listener.key)
        id = delivery.conversation.next_id()
        self._core.ledger.refuse(delivery.turn, Ending.UNDELIVERABLE, key=delivery.listener.key)
        key, to = delivery.listener.key, item.to or ""
        self._core.bury(delivery.turn, id, key, to, cause, item.text, cause_id=delivery.id)

    def _spent(self, delivery: Delivery, refused: list[Refused], tried: Tried) -> None:
        """Its attempts are over: what it was to answer dies, with all that it tried in the letter."""
        core, turn, thread, key = self._core, delivery.turn, delivery.thread, delivery.listener.key
        text = f"{key} was wrong {tried.wrong} times in a row; last: {refused[0].tag}: {refused[0].detail}"
        if delivery.tells is not None:
            turn.faults.pop(delivery.tells, None)  # folded into this one
        cause = Cause("validation", text, key)
        fault = turn.fault(cause)
        if thread.call is not None:
            thread.call.error = cause.reason
        thread.tried.pop(turn)  # the call has ended; a lasting thread takes the next one
        core.bury(
            turn,
            tried.id,
            tried.sender,
            key,
            cause,
            tried.text,
            cause_id=tried.cause_id,
            attempts=tuple(tried.huhs[:MOST_TOLD]),
        )
        caller = self._planning.caller(thread)
        if caller is not None:
            self._notify(delivery, caller, thread.parent, SystemError("validation", NOT_VALID), fault)
        self._close(delivery, Ending.FAILED, cause, prune=True)

    def _notify(
        self,
        delivery: Delivery,
        listener: Listener,
        thread: Thread | None,
        notice: Huh | SystemError,
        fault: int,
    ) -> None:
        """Tell a listener of a fault, on its thread; a dead letter if it does not take such payloads."""
        core, turn = self._core, delivery.turn
        assert thread is not None
        checked = core.steps.to_caller(notice, listener, None)
        if isinstance(checked, Passed) and checked.contract.payload_class is type(notice):
            core.queue.put([core.open(turn, thread, checked, SYSTEM, delivery, fault)])
            return
        cause = Cause("unheard", f"{listener.key} takes no {type(notice).__name__}", listener.key)
        core.ledger.refuse(turn, Ending.UNDELIVERABLE, key=listener.key)
        id, key = delivery.conversation.next_id(), listener.key
        core.bury(turn, id, SYSTEM, key, cause, checked.text, cause_id=delivery.id)

    def _handled(self, delivery: Delivery, *, prune: bool) -> None:
        self._close(delivery, Ending.HANDLED, None, prune=prune)

    def _close(self, delivery: Delivery, ending: Ending, cause: Cause | None, *, prune: bool) -> None:
        core = self._core
        core.close(delivery, ending, cause, with_thread=prune and not delivery.thread.lasting)
        if prune:
            core.prune(delivery.thread, delivery.turn)
        core.release(delivery)
        core.check(delivery.turn)
