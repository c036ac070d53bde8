"""Small organisms of agents that phloem drives, on scripted models: what their tests share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from phloem.config import ListenerConfig, OrganismConfig
from phloem.contract import xmlify
from phloem.llm.scripted import ScriptedBackend
from phloem.messages import HandlerMetadata, HandlerResponse


@xmlify
@dataclass(frozen=True)
class Question:
    text: str


@xmlify
@dataclass(frozen=True)
class Verdict:
    text: str


@xmlify
@dataclass(frozen=True)
class Search:
    query: str


@xmlify
@dataclass(frozen=True)
class Found:
    text: str


async def search(payload: Search, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(Found(f"all about {payload.query}"))


TOOL = ListenerConfig("search", Search, search, "Looks things up.", responds_with=Found)
ASK = "<Search><Query>trees</Query></Search>"
DONE = "<Verdict><Text>tall</Text></Verdict>"


def agent(name: str = "judge", *peers: str, **settings: Any) -> ListenerConfig:
    """An agent without a handler that takes a Question and responds with a Verdict."""
    asked: dict[str, Any] = {"responds_with": Verdict, "prompt": f"You are {name}.", **settings}
    takes = asked.pop("payload_class", Question)
    return ListenerConfig(name, takes, description=f"The {name}.", is_agent=True, peers=peers, **asked)


def organism_of(*listeners: ListenerConfig, script: Any, **settings: Any) -> OrganismConfig:
    """Listeners on one scripted model: a list of answers, a function of the request, or a backend."""
    backend = script if hasattr(script, "complete") else ScriptedBackend(script)
    llm = {"default_model": "scripted", "retry_base_delay": 0.01, **settings.pop("llm", {})}
    return OrganismConfig("agents", listeners, llm_config={"backends": [backend], **llm}, **settings)


def said(request: Any) -> str:
    """All of a request's messages but those of system, as one text."""
    return "\n".join(each.content for each in request.messages if each.role != "system")


def payloads_in(text: str, tag: str) -> Sequence[str]:
    """Every payload of that tag in a text, as it stands there."""
    return re.findall(rf"<{tag}>.*?</{tag}>", text, re.DOTALL)
