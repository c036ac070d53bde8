"""What each listener takes and answers, the tool, and the handler of the agent that has one."""

from dataclasses import dataclass
from typing import Annotated

from phloem import Doc, HandlerMetadata, HandlerResponse, Pattern, complete

Name = Annotated[
    str, Pattern(r"[a-z][a-z ]{0,39}"), Doc("an article in lower case and singular, such as teapot")
]


@dataclass
class Inquiry:
    text: Annotated[str, Pattern(r"\S(.|\n){0,999}"), Doc("what a customer wants to know")]


@dataclass
class Lookup:
    article: Name


@dataclass
class Article:
    name: Name
    cents: Annotated[int, Doc("what one costs")]
    left: Annotated[int, Doc("how many there are; 0 also where the shop has never had one")]


@dataclass
class Facts:
    text: Annotated[str, Doc("what the customer is to be told: every number, and what it means")]


@dataclass
class Reply:
    text: str


async def look_up(payload: Lookup, metadata: HandlerMetadata) -> HandlerResponse:
    """The tool. Without ``async`` it would run in a thread, for what must block."""
    unknown = Article(payload.article, cents=0, left=0)
    return HandlerResponse.respond(next((each for each in STOCK if each.name == payload.article), unknown))


async def edit(payload: Facts, metadata: HandlerMetadata) -> HandlerResponse:
    """The model is told the agent's prompt and what was sent to it, and then what is asked here."""
    text = await complete("Say this to the customer. Answer with your words alone.", temperature=0.3)
    return HandlerResponse.respond(Reply(text.strip()))


STOCK = (Article("teapot", 2450, 3), Article("cup", 600, 40), Article("kettle", 3900, 0))
