"""Types that an application brings."""

from __future__ import annotations

import pytest
from trio.testing import wait_all_tasks_blocked

from phloem.errors import InvalidEvent
from phloem.events import open_event_bus
from support.buses import event, noting


async def test_an_application_registers_types_of_its_own() -> None:
    seen: list[str] = []
    async with open_event_bus(types=["order_shipped"]) as bus:
        bus.register_type("order_lost")
        bus.register_type("order_lost")
        bus.subscribe(["order_shipped", "order_lost"], lambda e: seen.append(e.type))
        bus.emit(event(type="order_shipped"))
        bus.emit(event(type="order_lost"))
        with pytest.raises(InvalidEvent, match="order_found"):
            bus.emit(event(type="order_found"))
        await wait_all_tasks_blocked()
        assert bus.types[-2:] == ("order_shipped", "order_lost")
        for bad in ("", "two words", "x" * 129, 7):
            with pytest.raises(InvalidEvent, match="type: found"):
                bus.register_type(bad)  # type: ignore[arg-type]
    assert seen == ["order_shipped", "order_lost"]


async def test_types_of_one_bus_are_unknown_to_another() -> None:
    async with open_event_bus(types=["mine"]), open_event_bus() as other:
        with pytest.raises(InvalidEvent, match="register_type"):
            other.subscribe("mine", noting([]))
