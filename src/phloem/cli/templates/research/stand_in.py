"""Stands in for a model, so that this folder runs without a key. With one it is there for the test only.

It reads each request as a model would and answers in the same XML, so that all but the wit is real.
"""

import re
from collections.abc import Sequence
from html import unescape
from xml.sax.saxutils import escape

from phloem import LLMRequest


def answer(request: LLMRequest) -> str:
    """An agent's next answer: a function of what it has been told until now."""
    told = "\n".join(message.content for message in request.messages if message.role == "user")
    if not request.agent:
        return "pong"  # to phloem llm ping
    return edit(told) if request.agent == "editor" else research(told)


def edit(told: str) -> str:
    topic, _, heard = told.rpartition("<Topic>")[2].partition("</Topic>")
    subjects = [
        word for word in re.findall(r"\w+", texts(topic, "Text")[0].lower()) if word not in SMALL.split()
    ]
    if "=== begin" not in heard:  # nobody has said anything but the topic
        tasks = [f"What is there to know of {word}?" for word in subjects[:5]]
        return "\n".join(
            f'<send to="researcher"><Task><Question>{escape(task)}</Question></Task></send>' for task in tasks
        )
    sources = list(dict.fromkeys(texts(heard, "Str")))
    text = " ".join(texts(heard, "Answer")) or "Nothing could be found."
    title = f"On {' and '.join(subjects)}"
    said = element("Title", title) + element("Text", text) + listed("Sources", sources)
    return f"<Report>{said}</Report>"


def research(told: str) -> str:
    task, _, heard = told.rpartition("<Task>")[2].partition("</Task>")
    question = texts(task, "Question")[0]
    if "<Pages>" not in heard:
        word = question.rstrip("?").split()[-1]
        words = dict.fromkeys([word, word.removesuffix("s")])
        return "\n".join(
            f'<send to="library"><Search>{element("Words", each)}</Search></send>' for each in words
        )
    titles = list(dict.fromkeys(texts(heard, "Title")))
    text = texts(heard, "Text")[0] if titles else f"The library has no answer to “{question}”"
    said = element("Question", question) + element("Answer", text) + listed("Sources", titles)
    return f"<Finding>{said}</Finding>"


def texts(told: str, tag: str) -> list[str]:
    """What stands in each element of that name."""
    return [unescape(text) for text in re.findall(f"<{tag}>([^<]*)</{tag}>", told)]


def element(tag: str, text: str) -> str:
    return f"<{tag}>{escape(text)}</{tag}>"


def listed(tag: str, every: Sequence[str]) -> str:
    return f"<{tag}>{''.join(element('Str', text) for text in every)}</{tag}>"


SMALL = "a an and do for how in is of on or the their to what why"
