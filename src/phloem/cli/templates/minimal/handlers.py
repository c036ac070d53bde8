"""What the greeter takes, does and answers."""

from dataclasses import dataclass
from typing import Annotated

from phloem import Doc, HandlerMetadata, HandlerResponse, Pattern

Name = Annotated[str, Pattern(r"\S.{0,59}"), Doc("who is greeted, in at most 60 characters")]


@dataclass
class Greeting:
    name: Name


@dataclass
class Reply:
    text: str


async def greet(payload: Greeting, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Reply(f"Hello, {payload.name}!"))
