"""What a host sees of an organism: everything with something to await has a face, and the rest passes."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
from typing import Any

import pytest
import trio

from phloem import Organism, OrganismConfig, open_organism
from phloem.embedding.facing import FACES, Face
from support.embedded import everywhere, in_loops, opened
from support.listeners import BACK, Ask, Reply


def awaits(cls: type[Any]) -> list[str]:
    """The public names of a class that one awaits, reads with ``async for``, or enters."""
    found = [name for name in ("__await__", "__anext__", "__aenter__") if hasattr(cls, name)]
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        inner = inspect.unwrap(member) if callable(member) else member
        if not name.startswith("_") and (
            inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)
        ):
            found.append(name)
    return found


def names_in(annotation: object) -> set[str]:
    return set(re.findall(r"\w+", str(annotation)))


def given_by(cls: type[Any]) -> set[type[Any]]:
    """phloem's classes that its public methods and properties give back, by their annotations."""
    namespace = vars(sys.modules[cls.__module__])
    found: set[type[Any]] = set()
    for name in dir(cls):
        if name.startswith("_"):
            continue
        member = inspect.getattr_static(cls, name)
        function = member.fget if isinstance(member, property) else member
        annotations: dict[str, Any] = (
            getattr(inspect.unwrap(function), "__annotations__", {}) if function else {}
        )
        for word in names_in(annotations.get("return", "")):
            known = namespace.get(word) or next((face for face in FACES if face.__name__ == word), None)
            if inspect.isclass(known) and known.__module__.startswith("phloem."):
                found.add(known)
    return found


def test_every_class_that_a_host_comes_to_hold_has_a_face_if_it_has_something_to_await() -> None:
    seen: set[type[Any]] = set()
    rest: list[type[Any]] = [Organism, *FACES]
    while rest:
        cls = rest.pop()
        if cls not in seen:
            seen.add(cls)
            rest += given_by(cls)
    faceless = {cls.__name__: awaits(cls) for cls in seen if cls not in FACES and awaits(cls)}
    assert faceless == {}
    assert {"Outcome", "Receipt", "ShutdownReport"} <= {cls.__name__ for cls in seen}, "the walk gets around"


def test_a_face_can_do_what_its_class_is_used_for() -> None:
    for cls, face in FACES.items():
        for special in ("__await__", "__anext__", "__aiter__", "__enter__", "__exit__"):
            assert hasattr(face, special) == hasattr(cls, special), (cls, special)


@everywhere
async def test_plain_names_pass_through() -> None:
    async with opened(BACK) as organism:
        assert organism.config.name == "embedded"
        assert "back" in organism.listeners
        assert organism.report.in_flight == 0
        assert "messages" in organism.statistics()
        assert (organism.threads, organism.todos) == ((), ())
        assert "ask" in dir(organism)
        assert "Organism" in repr(organism)
        with pytest.raises(AttributeError, match="aks"):
            _ = organism.aks  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


@in_loops
async def test_its_functions_keep_their_names_and_words() -> None:
    async with opened(BACK) as organism:
        assert inspect.iscoroutinefunction(organism.ask)
        assert organism.ask.__name__ == "ask"
        assert organism.ask.__doc__ == Organism.ask.__doc__
        assert isinstance(organism, Organism)
        assert isinstance(organism, Face)


@everywhere
async def test_an_emit_may_be_awaited_or_not() -> None:
    async with opened(BACK) as organism:
        committed = organism.events.emit_node_stalled("stream", "node", "why")
        await committed
        await committed
        organism.events.emit_node_stalled("stream", "node", "why")
        assert len(organism.events.get_history("node_stalled")) == 2


async def test_on_trio_it_is_the_organism_itself() -> None:
    async with open_organism(OrganismConfig("on trio", (BACK,))) as organism:
        assert type(organism) is Organism
        assert await organism.ask(Ask("x"), to="back") == Reply("x")


def test_on_trio_nothing_of_asyncio_is_loaded() -> None:
    program = (
        "import sys, trio, phloem\n"
        "async def main():\n"
        "    async with phloem.open_organism(phloem.OrganismConfig('x')): pass\n"
        "trio.run(main)\n"
        "print('asyncio' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@in_loops
async def test_what_a_host_holds_is_used_by_a_task_of_trios_too() -> None:
    async def inside() -> Any:
        async with organism.open_conversation() as conversation, organism.events.open_stream() as events:
            answer = await conversation.ask(Ask("x"), to="back")
            assert await anext(events) is not None
            bus = organism.events
            bus.register_type("mine")
            await bus.emit_node_stalled("stream", "node", "why")
            return answer

    async with opened(BACK) as organism:
        done = asyncio.Event()
        answers: list[Any] = []

        async def run() -> None:
            answers.append(await inside())
            done.set()

        organism._guest.spawn(run)  # type: ignore[attr-defined]
        await done.wait()
        assert answers == [Reply("x")]
        assert not trio.lowlevel.in_trio_task()
