"""Ctrl-C around an embedded organism: the loop owns it, and nothing is lost of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
import trio

from phloem import (
    OrganismConfig,
    open_organism,
)
from support.embedded import CONFIG, Place, each_loop, new_loop, until
from support.listeners import Ask, listener

# -- signals ---------------------------------------------------------------------------------------------


@each_loop
def test_the_guest_leaves_sigint_to_a_host_with_a_handler(backend: str) -> None:
    place = Place(turns=2)

    async def main() -> None:
        before = signal.getsignal(signal.SIGINT)
        async with open_organism(OrganismConfig("x", (place.listener(Ask),))) as organism:
            assert signal.getsignal(signal.SIGINT) is before
            await organism.send(Ask("x"), to="place")
            await until(lambda: place.entered)
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(1_000)

    with pytest.raises(KeyboardInterrupt), asyncio.Runner(loop_factory=lambda: new_loop(backend)) as runner:
        runner.run(main())  # its handler cancels main, which leaves in good order
    assert place.left == 1


@each_loop
def test_the_guest_leaves_sigint_to_a_host_without_a_handler(backend: str) -> None:
    loop = new_loop(backend)

    async def main() -> None:
        async with open_organism(CONFIG):
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(1_000)

    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()


BROKEN = """
import asyncio, signal, trio
from dataclasses import dataclass
from phloem import ListenerConfig, OrganismConfig, open_organism

@dataclass
class Ask:
    text: str

class Strikes(trio.abc.Clock):  # read by the scheduler, between two tasks
    def start_clock(self): ...
    def current_time(self):
        signal.raise_signal(signal.SIGINT)
    def deadline_to_sleep_time(self, deadline):
        return 0.0

async def handler(payload, metadata):
    trio.lowlevel.current_task()._runner.clock = Strikes()
    await trio.sleep_forever()

async def main():
    config = OrganismConfig("x", (ListenerConfig("struck", Ask, handler, "Is struck."),))
    async with open_organism(config) as organism:
        await organism.ask(Ask("x"), to="struck")

try:
    asyncio.new_event_loop().run_until_complete(main())
except KeyboardInterrupt:
    print("interrupted", trio.lowlevel.in_trio_run())
"""


def test_ctrl_c_within_the_scheduler_of_the_guest_reaches_the_hosts_body() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "interrupted False\n"


def test_ctrl_c_within_a_handler_reaches_the_hosts_body() -> None:
    async def handler(payload: Any, metadata: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    async def main() -> None:
        async with open_organism(OrganismConfig("x", (listener("struck", Ask, handler),))) as organism:
            await organism.ask(Ask("x"), to="struck")

    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(main())
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.close()
