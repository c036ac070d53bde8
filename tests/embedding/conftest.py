"""Whatever a test of embedding does: its thread can carry a Trio run afterwards, and has its signals."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest
import trio

from phloem.embedding import guests


@pytest.fixture(autouse=True)
def _the_thread_is_free_afterwards() -> Iterator[None]:
    handler, hooks = signal.getsignal(signal.SIGINT), sys.get_asyncgen_hooks()
    yield
    assert not trio.lowlevel.in_trio_run()
    trio.run(trio.sleep, 0)
    assert len(guests._guests) == 0
    assert signal.getsignal(signal.SIGINT) is handler
    assert sys.get_asyncgen_hooks() == hooks
