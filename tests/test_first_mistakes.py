"""Claims of what a new user's first mistakes are told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import phloem
from phloem import ConfigurationError, ContractError, ConversationFailed, OrganismConfig, Pipeline, tap
from phloem.organism import open_organism
from support.listeners import BACK, Ask, listener

CONFIG = OrganismConfig("mistakes", [BACK])


async def test_what_is_no_pipeline_is_refused_by_its_name() -> None:
    wrong: Any = [tap(print)]
    with pytest.raises(ConfigurationError, match="pipeline: found a list, expected a Pipeline"):
        async with open_organism(CONFIG, pipeline=wrong):
            pytest.fail("opened")


async def test_what_is_no_document_is_told_by_its_type() -> None:
    wrong: Any = {"a": 1}
    async with open_organism(CONFIG) as organism:
        with pytest.raises(ContractError, match="found a dict, expected XML as str or bytes"):
            await organism.inject(wrong)


async def test_a_handler_that_awaits_asyncios_is_told_of_on_host() -> None:
    async def lost(payload: Ask, metadata: Any) -> None:
        class Foreign:
            def __await__(self) -> Any:
                yield asyncio.Future[None](loop=loop)

        await Foreign()

    loop = asyncio.new_event_loop()
    async with open_organism(OrganismConfig("mistakes", [listener("lost", Ask, lost)])) as organism:
        with pytest.raises(ConversationFailed, match="is marked with @on_host, or runs_on: host"):
            await organism.ask(Ask("x"), to="lost")
    loop.close()


def test_an_organism_that_was_never_entered_says_so() -> None:
    unopened: Any = phloem.open_organism(CONFIG)
    with pytest.raises(AttributeError, match=r"has not been opened, asked for 'ask'; expected async with"):
        unopened.ask(Ask("x"))


async def nothing() -> None: ...


@pytest.mark.parametrize("function", [lambda: 0, lambda a, b: 0, nothing])
def test_a_function_that_cannot_take_an_item_is_refused_when_the_step_is_made(function: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a function of one argument, the item"):
        tap(function)
    with pytest.raises(ConfigurationError, match="expected a function of one argument, the item"):
        Pipeline.default().replace("repair", function)


def test_a_dispatch_that_cannot_take_a_call_and_a_name_that_is_none_are_refused() -> None:
    async def alone(message: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="expected a function of two arguments"):
        Pipeline.default().replace("dispatch", alone)
    wrong: Any = 3
    with pytest.raises(ConfigurationError, match="name: found 3, expected a text"):
        Pipeline.default().after("repair", tap(print), name=wrong)


def test_whatever_has_no_signature_may_be_a_step() -> None:
    assert tap(print) == tap(print)
    assert tap(str).fn is str
