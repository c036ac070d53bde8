"""What the tests of docs/examples share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.kitchens import open_kitchen
from support.servers import Server


@pytest.fixture
def kitchens(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers for one test, with the arguments of ``open_kitchen``; kills what is left of them."""
    numbers = itertools.count()
    with ExitStack() as stack:

        def start(name: str, *more: str, folder: Path | None = None, module: str = "app") -> Server:
            logs = tmp_path / f"logs-{next(numbers)}"
            return stack.enter_context(open_kitchen(name, logs, *more, folder=folder, module=module))

        yield start
