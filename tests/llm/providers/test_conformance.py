"""Both wire formats, on a real server, do what every backend must do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.backend_conformance import CASES, Case
from support.llm_provided import FORMATS, Provided, open_provided


@pytest.fixture(params=FORMATS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[Provided]:
    async with open_provided(request.param) as provided:
        yield provided


@pytest.mark.parametrize("case", CASES, ids=[case.__name__ for case in CASES])
async def test_conforms(case: Case, world: Provided) -> None:
    await case(world)
