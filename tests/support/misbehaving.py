"""An organism of one bad listener and one that echoes, and a look at how the bad one failed.

For the tests of what handlers may do to an organism, and what they may not.
"""

from __future__ import annotations

from typing import Any

import pytest

from phloem.config import ListenerConfig, OrganismConfig
from phloem.errors import ConversationFailed
from phloem.messages import ConversationState, DeadLetter
from phloem.organism import Organism

from .listeners import Handle, Note, echo


def organism_of(bad: Handle, *more: ListenerConfig, takes: Any = Note, **settings: Any) -> OrganismConfig:
    listeners = [
        ListenerConfig("bad", takes, bad, "Is bad."),
        ListenerConfig("echo", Note, echo, "Echoes."),
        *more,
    ]
    return OrganismConfig("organism", listeners, **settings)


async def failure(organism: Organism) -> DeadLetter:
    """Ask the bad one; the dead letter, after a look whether the organism goes on."""
    with pytest.raises(ConversationFailed) as failed:
        await organism.ask(Note("x"), to="bad")
    assert failed.value.outcome.state is ConversationState.FAILED
    assert await organism.ask(Note("still here"), to="echo") == Note("still here")
    assert organism._pump.slots.borrowed() == 0
    (letter,) = failed.value.outcome.dead_letters
    assert failed.value.outcome.cause == letter.cause
    return letter
