"""Stands in for a model, so that this folder runs without a key. With one it is there for the test only.

It reads each request as a model would and answers in the same XML, so that all but the wit is real.
"""

import re
from html import unescape
from xml.sax.saxutils import escape

from phloem import LLMRequest

SIDES = ("optimist", "skeptic")


def answer(request: LLMRequest) -> str:
    """An agent's next answer: a function of what it has been told until now."""
    told = "\n".join(message.content for message in request.messages if message.role == "user")
    if not request.agent:
        return "pong"  # to phloem llm ping
    return judge(told) if request.agent == "judge" else argue(request.agent, told)


def judge(told: str) -> str:
    motion, *arguments = texts(told, "Text")
    speakers = re.findall(f'from: "({"|".join(SIDES)})" ===', told)
    if len(arguments) > len(SIDES):
        best = max(range(len(arguments)), key=lambda place: len(arguments[place]))
        why = f"{len(arguments)} arguments were heard, and this one says most: {arguments[best]}"
        return f"<Verdict><Winner>{speakers[best]}</Winner><Why>{escape(why)}</Why></Verdict>"
    said = dict(zip(speakers, arguments, strict=True))
    sends = [
        f'<send to="{side}"><Side><Motion>{escape(motion)}</Motion>'
        f"<OtherSide>{escape(said.get(other, ''))}</OtherSide></Side></send>"
        for side, other in (SIDES, reversed(SIDES))
    ]
    return "\n".join(["Both sides are to be heard first.", *sends])


def argue(side: str, told: str) -> str:
    motion, other_side = texts(told, "Motion")[-1], texts(told, "OtherSide")[-1]
    if other_side:
        words = f"They say: “{other_side}” Have they looked closely?"
    elif side == "optimist":
        words = f"{motion} It has worked wherever it was tried."
    else:
        words = f"{motion} Who has counted?"
    return f"<Argument><Text>{escape(words)}</Text></Argument>"


def texts(told: str, tag: str) -> list[str]:
    """What stands in each element of that name."""
    return [unescape(text) for text in re.findall(f"<{tag}>([^<]*)</{tag}>", told)]
