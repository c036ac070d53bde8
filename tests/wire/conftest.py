"""A parser with the usual limits, one for a whole file of tests."""

from __future__ import annotations

import pytest

from phloem.config import WireLimits
from phloem.wire.parsing import Parser


@pytest.fixture(scope="module")
def parser() -> Parser:
    return Parser(WireLimits())
