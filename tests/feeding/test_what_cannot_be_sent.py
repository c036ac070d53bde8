"""Messages of a stream or a batch that cannot even be made or sent: an end of that one, never of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pytest

from phloem.config import OrganismConfig
from phloem.feeding.batches import BatchResult
from phloem.organism import open_organism
from support.batches import answers, read_into
from support.faulty import Port, raises
from support.feeds import Chunks
from support.listeners import BACK, Ask, Reply, drop, listener

NO_THREADS: Final = Port({"thread": raises(lambda: RuntimeError("can't start new thread"))})
SHORT: Final = b"<Ask><Text>a</Text></Ask>"
LONG: Final = b"<Ask><Text>" + b"x" * 200_000 + b"</Text></Ask>"  # read in a thread


@dataclass
class Fussy:
    text: str

    def __post_init__(self) -> None:
        if self.text == "end":
            raise SystemExit(3)


async def test_a_stream_of_such_ends_its_source_and_nothing_else() -> None:
    fussy = listener("fussy", Fussy, drop)
    async with open_organism(OrganismConfig("fed", [fussy, BACK]), faults=NO_THREADS) as organism:
        made = organism.attach(Chunks(b"a\nend\nb\n"), sender="made", framing="lines", to="fussy")
        await made.wait_done()
        sent = organism.attach(Chunks(SHORT, LONG, SHORT), sender="sent")
        await sent.wait_done()
        assert [each.statistics()["error"] for each in (made, sent)] == [
            "SystemExit: 3",
            "RuntimeError: can't start new thread",
        ]
        assert [each.statistics()["accepted"] for each in (made, sent)] == [1, 1]
        assert organism.sources == {}
        assert await organism.ask(Ask("still here"), "back") == Reply("still here")


async def test_a_batch_raises_it_as_it_is_after_the_results_of_the_others() -> None:
    got: list[BatchResult] = []
    async with open_organism(OrganismConfig("fed", [BACK]), faults=NO_THREADS) as organism:
        async with organism.open_batch([SHORT, LONG]) as results:
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await read_into(got, results)
        assert answers(got) == ["a"]
        assert await organism.ask(Ask("still here"), "back") == Reply("still here")
