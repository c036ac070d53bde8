"""Stands in for a model, so that this folder runs without a key. With one it is there for the test only.

It reads each request as a model would and answers in the same XML, so that all but the wit is real.
"""

import re
from html import unescape
from xml.sax.saxutils import escape

from phloem import LLMRequest


def answer(request: LLMRequest) -> str:
    """An agent's next answer: a function of what it has been told until now."""
    told = "\n".join(message.content for message in request.messages if message.role == "user")
    if not request.agent:
        return "pong"  # to phloem llm ping
    return clerk(told) if request.agent == "clerk" else edit(told)


def clerk(told: str) -> str:
    asked, _, heard = told.rpartition("<Inquiry>")[2].partition("</Inquiry>")
    wanted = list(dict.fromkeys(re.findall(r"\b(teapot|cup|kettle|sofa)s?\b", asked.lower())))
    if replies := re.findall("<Reply>.*?</Reply>", heard, re.DOTALL):
        return f"<respond>{replies[-1]}</respond>"
    articles = re.findall("<Name>(.*?)</Name><Cents>(.*?)</Cents><Left>(.*?)</Left>", heard)
    if len(articles) < len(wanted):
        if articles:
            return "<wait/>"  # the others are still to come
        lookups = [f"<Lookup><Article>{name}</Article></Lookup>" for name in wanted]
        return "\n".join(f'<send to="stock">{lookup}</send>' for lookup in lookups)
    facts = [f"{name}: {int(cents) / 100:.2f} each, {left} left" for name, cents, left in articles]
    text = escape("; ".join(facts) or "we have cups, kettles and teapots")
    return f"<Facts><Text>{text}</Text></Facts>"  # without a frame: only the editor takes it


def edit(told: str) -> str:
    facts = re.findall("<Facts><Text>(.*?)</Text></Facts>", told, re.DOTALL)[-1]
    return f"Thank you for asking! {unescape(facts)}."
