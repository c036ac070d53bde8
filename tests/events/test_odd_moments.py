"""The bus called where nobody expects it: by a key, after a cancel, while an error is on its way."""

from __future__ import annotations

from collections.abc import Hashable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked as at_rest

from phloem.events import AgentEvent, EventBus, open_event_bus
from support.buses import accounted, event, noting, stats_of


async def test_a_key_may_end_its_own_subscription_and_nothing_of_it_is_entered() -> None:
    seen: list[int] = []
    async with open_event_bus() as bus:

        def key(received: AgentEvent) -> Hashable:
            bus.unsubscribe(own)
            return None

        own = bus.subscribe("custom", noting(seen), key=key)
        box = bus._boxes[own]
        for n in range(3):
            bus.emit(event(n))
        await at_rest()
        assert seen == []
        assert (box.waiting, box.discarded, box.hands) == (0, 3, 0)


async def test_a_key_may_emit_into_its_own_full_mailbox() -> None:
    async with open_event_bus() as bus:

        def key(received: AgentEvent) -> Hashable:
            if received.data["n"]:
                bus.emit(event(received.data["n"] - 1))
            return None

        own = bus.subscribe("custom", noting([]), key=key, buffer=1)
        bus.emit(event(5))
        await at_rest()
        stats = stats_of(bus, own)
        assert stats["errors"] == 0
        assert accounted(stats) == bus.get_stats()["total_events"] == 6


async def test_what_is_emitted_between_a_cancel_and_the_next_checkpoint_is_kept_and_hurts_nobody() -> None:
    """The worker that has nothing to do has been told to go, and has not gone yet."""
    seen: list[int] = []
    kept: list[EventBus] = []
    with trio.CancelScope() as scope:
        async with open_event_bus() as bus:
            kept.append(bus)
            bus.subscribe("custom", noting(seen))
            bus.emit(event(1))
            await at_rest()
            scope.cancel()
            for n in (2, 3):
                bus.emit(event(n))
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert seen == [1]
    assert [item.data["n"] for item in kept[0].get_history()] == [3, 2, 1]


async def test_an_error_of_the_body_is_not_lost_in_a_cancelled_scope() -> None:
    """With a handler at work, so that leaving the block meets the cancellation."""

    async def handler(received: AgentEvent) -> None:
        await trio.sleep_forever()

    async def failing() -> None:
        with trio.CancelScope() as scope:
            async with open_event_bus() as bus:
                bus.subscribe("custom", handler)
                bus.emit(event())
                await at_rest()
                scope.cancel()
                raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        await failing()
