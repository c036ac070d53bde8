"""Dead letters as messages: to the listeners that branches after ``dispatch`` name.

Decides which dead letter goes to whom, as a delivery of the same conversation, sent by ``system``:
its turn ends when that is handled too, and its budgets hold. A letter that tells of such a delivery,
or of what its listener sent, goes no further. Never decides that a message is dead; ``core`` calls
it when one is.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import final

from phloem.contract import encode, to_element
from phloem.errors import ConfigurationError, ConfigurationFault, InvalidMessage
from phloem.guarding import Raised, attempted
from phloem.messages import SYSTEM, DeadLetter
from phloem.wire.parsing import printable, quoted

from .conversation import Turn
from .core import Core
from .pipeline import Placed
from .ready_made import Branch
from .routing import Listener, Miss, Routes
from .stages import Stage
from .steps import Passed

__all__ = ["Burying", "check_branches"]

_PER_CHAR = 6  # what escaping can make of one character, in the worst case


def check_branches(placed: Sequence[Placed], listeners: Collection[Listener], routes: Routes) -> None:
    """Each branch leads to a listener, and to one that takes what it sends. Raises ConfigurationError."""
    faults: list[ConfigurationFault] = []
    for each in placed:
        if not isinstance(each.step, Branch):
            continue
        where = f"pipeline: {each.name} {each.place}"
        dead = each.at in ("dispatch", "replies")
        dead = dead and (each.at == "dispatch") is not each.before
        if not any(own.name.casefold() == each.step.to.casefold() for own in listeners):
            faults.append(ConfigurationFault(where, quoted(each.step.to), "the name of a listener"))
        elif dead and isinstance(routes.find(DeadLetter.__name__, each.step.to, None), Miss):
            found = f"{quoted(each.step.to)}, which takes no DeadLetter"
            faults.append(ConfigurationFault(where, found, "phloem.DeadLetter among its payload classes"))
        elif dead and inspect.iscoroutinefunction(each.step.predicate):
            found = "an async predicate"
            faults.append(ConfigurationFault(where, found, "a plain function: a message dies in no time"))
    if faults:
        raise ConfigurationError(faults)


@final
class Burying:
    """The branches for dead letters of one pump."""

    def __init__(self, core: Core, branches: Sequence[Stage], max_text: int) -> None:
        self._core, self._branches = core, branches
        self._longest = max_text // _PER_CHAR
        self._letters: list[tuple[Turn, DeadLetter]] = []

    def buried(self, turn: Turn, letter: DeadLetter) -> None:
        """Kept until its stretch is booked: what that sends was counted before."""
        self._letters.append((turn, letter))

    def deliver(self, turn: Turn) -> None:
        """Send each to whom the first branch names that is for it. Never a checkpoint."""
        if self._letters:
            letters, self._letters = self._letters, []
            for whose, letter in letters:
                self._branch(whose, letter)

    def _branch(self, turn: Turn, letter: DeadLetter) -> None:
        if turn.cut is not None or turn.outcome is not None:
            return
        for stage in self._branches:
            branch = stage.step
            assert isinstance(branch, Branch)
            takers = self._core.steps.routes.find(DeadLetter.__name__, branch.to, None)
            if isinstance(takers, Miss):
                continue
            if self._its_own(letter, takers):
                return
            stage.seen += 1
            wanted = attempted(branch.predicate, letter)
            if isinstance(wanted, Raised):
                stage.failed += 1
                self._core.observer.step_raised(f"{stage.name} {stage.placed.place}", wanted.error)
                continue
            if wanted:
                for taker in takers:
                    self._send(turn, letter, taker)
                return

    def _its_own(self, letter: DeadLetter, takers: Sequence[Listener]) -> bool:
        """A letter that failed there, or what was sent from there: one more could go round for ever."""
        sender, keys = letter.from_listener, [taker.key for taker in takers]
        if sender == SYSTEM:
            return letter.to_listener in keys
        return any(sender in (taker.key, taker.name) for taker in takers)

    def _send(self, turn: Turn, letter: DeadLetter, taker: Listener) -> None:
        core, conversation = self._core, turn.conversation
        if core.ledger.over_budget(turn, [taker], 1, 1, 1, None) is not None:
            return  # it is told of, as every dead letter is
        contract = taker.by_tag[DeadLetter.__name__.casefold()]
        letter = self._writable(letter)
        try:
            text = encode(letter)
            payload = contract.read(to_element(letter))
        except InvalidMessage as invalid:  # limits of the listener's own class for it
            self._core.observer.step_raised(f"branch to {taker.key} after dispatch", invalid)
            return
        threads = conversation.threads
        thread = threads.extend(threads.root, conversation.next_id(), taker.key, turn.number)
        thread.unasked = True
        passed = Passed(taker, contract, payload, text)
        core.queue.put([core.open(turn, thread, passed, SYSTEM, None)])

    def _writable(self, letter: DeadLetter) -> DeadLetter:
        """The same, with nothing in it that XML cannot carry."""
        cause = letter.cause
        return replace(
            letter,
            from_listener=printable(letter.from_listener, self._longest),
            to_listener=printable(letter.to_listener, self._longest),
            payload_xml=printable(letter.payload_xml, self._longest),
            cause=replace(cause, text=printable(cause.text, self._longest)),
        )
