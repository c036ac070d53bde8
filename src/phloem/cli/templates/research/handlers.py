"""What each listener takes and answers, and the search."""

from dataclasses import dataclass
from typing import Annotated

from phloem import Doc, HandlerMetadata, HandlerResponse, Pattern

Line = Annotated[str, Pattern(r"\S.{0,299}"), Doc("one line of at most 300 characters")]


@dataclass
class Topic:
    text: Line


@dataclass
class Task:
    question: Line


@dataclass
class Search:
    words: Annotated[str, Pattern(r"\S{1,40}( \S{1,40})?"), Doc("one or two words, such as honey storage")]


@dataclass
class Page:
    title: str
    text: str


@dataclass
class Pages:
    words: Annotated[str, Doc("what was searched for")]
    pages: Annotated[list[Page], Doc("none: nothing was found")]


@dataclass
class Finding:
    question: Line
    answer: Annotated[str, Doc("in at most three sentences")]
    sources: Annotated[list[str], Doc("titles of the pages that were used")]


@dataclass
class Report:
    title: Line
    text: str
    sources: Annotated[list[str], Doc("titles of pages, each once")]


async def search(payload: Search, metadata: HandlerMetadata) -> HandlerResponse:
    """Put your own search here: a database, or a call of some service."""
    words = payload.words.lower().split()
    found = [page for page in LIBRARY if all(word in f"{page.title} {page.text}".lower() for word in words)]
    return HandlerResponse.respond(Pages(payload.words, found[:5]))


LIBRARY = (
    Page(
        "Bees and winter", "Honey bees do not sleep in winter. They form a cluster and live on stored honey."
    ),
    Page(
        "Keeping honey",
        "Honey keeps for years in a closed jar. It crystallises in the cold, which is no fault.",
    ),
    Page(
        "A year with bees", "In spring the queen lays 2,000 eggs a day. In autumn the drones are driven out."
    ),
    Page("Wax", "Bees build their combs of wax, and need some six grams of honey for one gram of it."),
)
