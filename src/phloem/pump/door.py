"""What a caller's request becomes: a turn in the books, an outcome, or the error that says why not.

Decides the order of a stranger's way in (seat, checks, books, start) and which error a
caller meets. The sync stretch after the last await is where a message is accepted. Called
by the organism's front door only.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import fields
from functools import partial
from math import inf, isnan
from typing import Any, Final, cast, final

import trio

from phloem.config import DEFAULT_BUDGETS, MAX_NAME, Budgets, OnShort
from phloem.contract import encode, to_element
from phloem.errors import (
    ConfigurationError,
    ConfigurationFault,
    ContractError,
    ConversationFailed,
    InternalError,
    MessageRejected,
    NoResponse,
    OrganismClosed,
    SenderRefused,
    WouldDeadlock,
)
from phloem.messages import SYSTEM, Cause, ConversationState, Outcome
from phloem.wire.parsing import first_bad_char
from phloem.wire.text import shown

from .conversation import Conversation, Turn
from .dispatch import callers_context, current_dispatch
from .examining import Examine
from .intake import closed
from .origin import Origin
from .pump import Pump
from .steps import Checked, Passed

__all__ = ["Door"]

NEVER_LATE: Final = nullcontext()
ASK_CANCELLED: Final = Cause("killed", "the ask was cancelled")


@final
class Door:
    """The way into one pump, under the organism's budgets."""

    def __init__(self, pump: Pump, budgets: Budgets) -> None:
        self._pump, self._core, self._budgets = pump, pump.core, budgets
        self._listeners = frozenset(key.casefold() for key in pump.core.listeners)  # twins' keys as well

    async def ask(
        self, examine: Examine, sender: str, budgets: Budgets | None, conversation: Conversation | None
    ) -> Any:
        """The first answer at the root, at the turn's end. Checkpoint. Cancelled means: the turn was cut."""
        self.refuse_inside("ask")
        turn = await self.enter(examine, sender, budgets, conversation)
        turn.asked = True
        try:
            outcome = await self.outcome(turn)
        except BaseException:
            self._core.cut(turn, ConversationState.CANCELLED, ASK_CANCELLED)
            raise
        if outcome.state is not ConversationState.COMPLETED:
            raise ConversationFailed(outcome)
        if not outcome.payloads:
            raise NoResponse(outcome)
        return outcome.payloads[0]

    def budgets(self, asked: Budgets | None) -> Budgets:
        """The organism's, and what this caller asked for over them. Raises ConfigurationError."""
        if asked is None:
            return self._budgets
        if not isinstance(cast("object", asked), Budgets):
            found = f"a {type(asked).__name__}"
            raise ConfigurationError([ConfigurationFault("budgets", found, "a Budgets(tokens=…, seconds=…)")])
        faults = [
            ConfigurationFault(f"budgets.{field.name}", repr(value), expected)
            for field in fields(asked)
            if (value := getattr(asked, field.name)) is not None
            and (expected := _wrong(field.name, value)) is not None
        ]
        if faults:
            raise ConfigurationError(faults)
        return asked.over(self._budgets)

    @property
    def inside(self) -> bool:
        """True within a dispatch of this organism: nothing may wait for another one there."""
        return current_dispatch(self._core) is not None

    async def take_seat(self, sender: str, origin: Origin | None = None) -> None:
        """A seat, waited for unless that could deadlock. Checkpoint."""
        tell = partial(self._pump.observer.waiting, sender)
        await self._pump.intake.take_seat(may_wait=not self.inside, tell=tell, origin=origin)

    async def enter(
        self, examine: Examine, sender: str, budgets: Budgets | None, conversation: Conversation | None
    ) -> Turn:
        """Into the books, in the sync stretch after the last await. MessageRejected: nothing went on."""
        core, intake = self._core, self._pump.intake
        limits = self.budgets(budgets)
        flow = self._pump.flow
        if conversation is None:
            self.check_sender(sender)
        if flow is not None:
            examine.arrived = await flow.arrive(examine.incoming(sender))
        if conversation is None:
            with NEVER_LATE if flow is None else examine.in_time():
                checked = await self._seated(examine, sender)
            context = callers_context()
            found = core.open_conversation(sender, limits, context, lasting=False, source=examine.origin)
            turn = found.open_turn(None)
        else:
            await trio.lowlevel.checkpoint()
            with NEVER_LATE if flow is None else examine.in_time():
                checked = await examine()
            if intake.closed:
                await closed()
            self._refuse_ended(conversation)
            turn = conversation.open_turn(budgets)
        core.begin(turn, checked)
        self._pump.carriers.start_timer(turn)
        self._pump.carriers.pulse()
        if turn.outcome is not None and turn.outcome.state is ConversationState.REJECTED:
            raise MessageRejected(turn.outcome.rejections[0], turn.outcome)
        return turn

    async def _seated(self, examine: Examine, sender: str) -> list[Checked]:
        """What came of it, and a seat to go with it; no seat if it is left by an error."""
        intake, flow, origin = self._pump.intake, self._pump.flow, examine.origin
        if flow is None:
            await self.take_seat(sender, origin)
        else:
            async with flow.limited("admit", origin, may_wait=not self.inside):
                await self.take_seat(sender, origin)
        seated = False
        intake.entering += 1
        try:
            checked = await examine()
            if intake.crowded:  # a long document took its time; others stood in line before
                tell = partial(self._pump.observer.waiting, sender)
                await intake.room(may_wait=not self.inside, tell=tell, origin=origin)
            if intake.refuses(origin):
                await closed(origin)
            seated = True
        finally:
            intake.entering -= 1
            if not seated:
                intake.give_back()
        return checked

    async def boot(self, payload: Any, to: str) -> None:
        """Send the run's first message, from ``system`` to a listener that nobody else may address.

        Under no limits but phloem's own. Returns when it has been handled. Checkpoint.
        """
        listener, text = self._core.listeners[to], encode(payload)
        (contract,) = listener.contracts
        fresh = Passed(listener, contract, contract.read(to_element(payload)), text)
        await self.take_seat(SYSTEM)
        core, context = self._core, callers_context()
        turn = core.open_conversation(SYSTEM, DEFAULT_BUDGETS, context, lasting=False).open_turn(None)
        turn.asked = True  # nobody else has its receipt
        core.begin(turn, [fresh])
        self._pump.carriers.pulse()
        outcome = await self.outcome(turn)
        await trio.lowlevel.checkpoint_if_cancelled()  # what stopped it, if anything did
        if outcome.state is not ConversationState.COMPLETED:
            raise InternalError(f"the first message of the run ended {outcome.state}: {outcome.cause}")

    def payload(self, payload: Any, to: str | None, origin: Origin | None = None) -> Examine:
        """Steps 6 and 7 for an object. A class that is no payload is the caller's fault: ContractError."""
        return Examine(self._pump, "", None, payload, to, self.inside, origin)

    def document(self, xml: bytes | str, sender: str, origin: Origin | None = None) -> Examine:
        """Steps 2 to 7 for a stranger's bytes."""
        if not isinstance(cast("object", xml), bytes | str):
            raise ContractError(f"found a {type(xml).__name__}, expected XML as str or bytes")
        return Examine(self._pump, sender, xml, None, None, self.inside, origin)

    async def outcome(self, turn: Turn) -> Outcome:
        """The turn's outcome, once it has one. Checkpoint. Cancelled means: only the waiting ended."""
        if turn.outcome is not None:
            await trio.lowlevel.checkpoint()
            return turn.outcome
        tell, told = trio.open_memory_channel[Outcome](1)
        turn.waiters.append(tell)
        try:
            return await told.receive()
        finally:
            tell.close()
            told.close()
            if turn.outcome is None:
                turn.waiters.remove(tell)

    def check_sender(self, sender: str) -> None:
        """Raise SenderRefused for a name that a stranger may not speak under."""
        lowered = sender.casefold() if isinstance(cast("object", sender), str) else ""
        wrong = (
            not lowered.strip()
            or len(sender) > MAX_NAME
            or first_bad_char(sender) is not None
            or lowered == SYSTEM
            or lowered.startswith(SYSTEM + ".")
            or lowered in self._listeners
        )
        if wrong:
            raise SenderRefused(
                f"sender: found {shown(sender)}, expected 1 to {MAX_NAME} characters, neither a "
                f"listener's name nor {SYSTEM!r}"
            )

    def refuse_inside(self, what: str) -> None:
        """Raise WouldDeadlock within a dispatch that this organism called itself."""
        delivery = current_dispatch(self._core)
        if delivery is not None:
            raise WouldDeadlock(
                f"{what} inside a dispatch of {delivery.listener.key!r} waits for work that may need its "
                "place; forward with HandlerResponse(payload, to=…), the answer comes back to this thread"
            )

    def _refuse_ended(self, conversation: Conversation) -> None:
        if conversation.cut_state is not None:
            raise ConversationFailed(Outcome(conversation.id, conversation.cut_state, conversation.cut))
        if conversation.over or conversation.left:
            raise OrganismClosed(f"the block of conversation {conversation.id} has been left")


def _wrong(budget: str, value: Any) -> str | None:
    """What was expected of that budget of a call, or None if ``value`` may be it."""
    if budget == "on_short":
        names = [each.value for each in OnShort]
        return None if value in names else " or ".join(names)
    number = isinstance(value, int | float) and not isnan(value)
    if budget == "seconds":
        return None if number else "seconds, or math.inf"
    number = number and not isinstance(value, bool)
    if budget == "cost":
        return None if number and value > 0 else "an amount above 0, or math.inf"
    if budget in ("tokens", "repeats"):
        whole = number and value >= 1 and (value == inf or value == int(value))
        return None if whole else "a whole number, 1 or more, or math.inf"
    return None if number and value >= 1 else "a number, 1 or more"
