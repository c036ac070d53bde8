"""Whoever has to wait on the way in is told on the bus, and nobody else."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio

from phloem.config import MemoryLimits
from phloem.errors import WouldDeadlock
from phloem.messages import HandlerMetadata, HandlerResponse
from phloem.pump.steps import Checked
from support.auditing import running
from support.gates import free, settled
from support.listeners import BACK, HANG, Ask, Reply, listener
from support.told import data, told


async def test_a_stranger_who_waits_for_a_seat_is_told_and_nobody_else_is() -> None:
    async with running(HANG, max_in_flight=1) as organism:
        await organism.send(Ask("x"), to="hang")
        assert told(organism, "node_input_blocked") == []
        async with trio.open_nursery() as nursery:
            for sender in ("one", "two"):
                nursery.start_soon(partial(organism.send, Ask("x"), to="hang", sender=sender))
                await settled()
            nursery.cancel_scope.cancel()
        waits = told(organism, "node_input_blocked")
        assert data(waits, "sender", "waiting", "reason", "prompt") == [
            ("one", 1, "seat", ""),
            ("two", 2, "seat", ""),
        ]
        assert {(event.node_id, event.execution_id) for event in waits} == {(None, None)}
        with trio.CancelScope() as scope:
            scope.cancel()
            await organism.send(Ask("x"), to="hang")
        assert scope.cancelled_caught
        assert told(organism, "node_input_blocked") == waits, "one that was cancelled never waited"
        await organism.shutdown(0)


async def test_a_block_waits_for_its_seat_as_well_and_a_handler_for_none() -> None:
    async def greedy(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        with pytest.raises(WouldDeadlock):
            await organism.send(Ask("x"), to="hang")
        return HandlerResponse.respond(Reply("x"))

    async with running(listener("greedy", Ask, greedy), HANG, max_in_flight=1) as organism:
        await organism.ask(Ask("x"), to="greedy")
        assert told(organism, "node_input_blocked") == []
        await organism.send(Ask("x"), to="hang")
        with trio.move_on_after(0.01):
            async with organism.open_conversation("console"):
                pytest.fail("there was no seat")
        assert data(told(organism, "node_input_blocked"), "sender") == [("console",)]
        await organism.shutdown(0)


async def test_a_stranger_who_waits_for_threads_to_end_is_told() -> None:
    async with running(HANG, memory=MemoryLimits(max_threads=2)) as organism:
        receipt = await organism.send(Ask("x"), to="hang")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(organism.send, Ask("x"), to="hang", sender="late"))
            await settled()
            waits = told(organism, "node_input_blocked")
            assert data(waits, "sender", "waiting", "reason") == [("late", 1, "threads")]
            await organism.kill(receipt.conversation)
        await organism.shutdown(0)


async def test_one_whose_room_was_taken_while_his_document_was_read_waits_with_his_seat() -> None:
    async with running(HANG, BACK, memory=MemoryLimits(max_threads=2)) as organism:
        door = organism._door

        class Slow:
            """A document that takes its time to be read."""

            origin = None

            async def __call__(self) -> list[Checked]:
                await organism.send(Ask("takes the last room"), to="hang")
                return await door.payload(Ask("comes too late"), "back")()

        examine: Any = Slow()

        before = free(organism)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(door.enter, examine, "late", None, None)
            await settled()
            waits = told(organism, "node_input_blocked")
            assert data(waits, "sender", "waiting", "reason") == [("late", 1, "threads")]
            assert free(organism) == before - 2
            nursery.cancel_scope.cancel()
        assert free(organism) == before - 1
        await organism.shutdown(0)
