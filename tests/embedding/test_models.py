"""Models of an organism that is embedded: asked from the program's own loop."""

from __future__ import annotations

from typing import Any

from phloem.embedding import open_organism
from phloem.llm.requests import LLMMessage, LLMRequest
from phloem.llm.script import Scripted
from phloem.llm.scripted import ScriptedBackend
from support.agents import DONE, TOOL, Question, Verdict, agent, organism_of
from support.embedded import everywhere

HELLO = LLMRequest([LLMMessage("user", "hello")])


@everywhere
async def test_an_agent_answers_a_program_on_any_loop() -> None:
    async with open_organism(organism_of(agent("judge", "search"), TOOL, script=[DONE])) as organism:
        assert await organism.ask(Question("are trees tall?"), "judge") == Verdict("tall")
        assert organism.llm.usage("agent")[0].requests == 1


@everywhere
async def test_a_program_asks_a_model_itself_at_once_or_as_it_comes() -> None:
    script: list[Any] = ["hi", Scripted("hi there", chunks=3)]
    config = organism_of(TOOL, script=[])
    async with open_organism(config, backends=[ScriptedBackend(script)]) as organism:
        assert (await organism.llm.complete(HELLO)).content == "hi"
        async with organism.llm.stream(HELLO) as deltas:
            pieces = [delta.text async for delta in deltas]
            assert deltas.response.content == "hi there"
    assert pieces == ["hi ", "the", "re"]
