"""A bug of the bus itself stops it: it is no handler's error, to be counted and forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import wait_all_tasks_blocked

from phloem.errors import InternalError
from phloem.events import open_event_bus
from phloem.events.mailbox import Mailbox
from support.buses import event


@pytest.mark.parametrize("error", [ValueError("ours"), RuntimeError("ours")], ids=["value", "runtime"])
async def test_an_error_between_two_events_ends_the_bus(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Mailbox, "take", take)

    async def use() -> None:
        async with open_event_bus() as bus:
            bus.subscribe("custom", lambda e: None)
            bus.emit(event())
            await wait_all_tasks_blocked()

    with pytest.RaisesGroup(InternalError, flatten_subgroups=True):
        await use()
