"""What a model wrote, read as payloads for its peers and its caller.

An answer is prose, then one run of items, then prose. Decides what the items are together: whether
they can be one answer at all. A strict answer is taken as it stands; what else it may be is mended
along the contracts and recorded, or refused, never guessed. Never routes and never decodes. Sync and
linear in the length of the text. Called by the pump.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn, final

from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode

from .around import GAP, Before, after, before, gap_end
from .diagnosis import NAME, unreadable
from .gate import refuse, to_bytes
from .items import Items
from .marks import CONTROL, Marks
from .mending import Mend
from .parsing import Element, Parser
from .shapes import Shapes
from .text import line_column, quoted

__all__ = ["Answer", "AnswerPart", "Way", "read_answer"]

_ESCAPED: Final = re.compile(r"&(amp|lt|gt|quot|apos);")
_ESCAPED_TAG: Final = re.compile(rf"&lt;\s*/?\s*({NAME})")
_CHARACTERS: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


class Way(StrEnum):
    """How a payload was framed."""

    SEND = "send"
    RESPOND = "respond"
    BARE = "bare"


@final
@dataclass(frozen=True, slots=True)
class AnswerPart:
    """One payload element, a root of its own. ``to`` is the peer that ``<send to="…">`` names."""

    element: Element
    way: Way
    to: str | None


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """Everything one answer holds. ``prose`` stood around the payloads; ``waits``: it was ``<wait/>``."""

    parts: tuple[AnswerPart, ...]
    mends: tuple[Mend, ...]
    prose: str
    waits: bool


def read_answer(parser: Parser, text: str, shapes: Shapes, *, start: int = 0) -> Answer:
    """The payloads of an answer of at most ``max_model_bytes``, in order. Never a checkpoint.

    ``shapes`` are those of all that the agent may write. ``start`` is where an ``EarlyReader`` stood
    (``consumed``): what began before it is read again, so that the answer is judged as a whole, but is
    not among the parts; then there may be none. Raises ``InvalidMessage``: what was found, where, and
    what to write instead.
    """
    limits = parser.limits
    fault = unreadable(to_bytes(text, limits.max_model_bytes))
    if fault is not None:  # in anything but characters of XML, nothing is certain
        raise InvalidMessage([fault])
    markup = text.count("<")
    if markup > limits.max_markup:
        refuse(HuhCode.TOO_LARGE, "/", f"{markup:,} pieces of markup", f"at most {limits.max_markup:,}")
    marks = Marks(shapes)
    begun = before(text, marks)
    if begun.start is None:
        return _unescaped(parser, text, shapes, marks) or _refuse_nothing(text, marks, begun)
    if begun.declaration:
        parser.parse(f"{begun.declaration}<x/>")
    items = Items(parser, text, shapes, marks)
    end = begun.start
    while True:
        end = items.read(end)
        following = gap_end(text, end)
        if not items.begins(following):
            break
        end = following
    behind = after(text, end, marks, begun)
    _check_together(items)
    _refuse_escaped(text, begun.clean, 0, marks)
    _refuse_escaped(text, behind, end, marks)
    parts = tuple(
        AnswerPart(item.element, Way(item.frame or "bare"), item.to)
        for item in items.found
        if item.begin >= start
    )
    prose = _prose(text[: begun.start], begun), _bare(behind)
    mends = (*begun.mends, *items.mends)
    return Answer(parts, mends, "\n\n".join(one for one in prose if one), "wait" in items.frames)


def _prose(text: str, begun: Before) -> str:
    if begun.fence is not None:
        text = text[: text.rindex(begun.fence.marker)]
    return _bare(CONTROL.sub("", text.replace(begun.declaration, "") if begun.declaration else text))


def _bare(text: str) -> str:
    return text.strip().strip(GAP).strip()


def _check_together(items: Items) -> None:
    frames = items.frames
    if "wait" in frames and len(frames) > 1:
        _several("<wait/> beside something else", "<wait/> alone, or payloads without it")
    if "respond" in frames and "send" in frames:
        _several(
            "<respond> beside <send>",
            "either: a response ends this thread, so that no answer to what is sent could come",
        )
    if frames.count("respond") > 1:
        _several("<respond> twice", "one <respond> around everything that answers")
    tag, times = max(Counter(_bare_tags(items)).items(), key=lambda one: one[1], default=("", 0))
    if times > 1:
        _several(
            f"{times} payloads <{tag}>, none of them framed",
            f'one, or each framed: <send to="the name of a peer"><{tag}>…</{tag}></send>',
        )


def _bare_tags(items: Items) -> list[str]:
    return [str(item.element.tag) for item in items.found if not item.frame]


def _several(found: str, expected: str) -> NoReturn:
    refuse(HuhCode.AMBIGUOUS_PAYLOAD, "/", found, expected)


def _refuse_escaped(text: str, prose: str, at: int, marks: Marks) -> None:
    """An escaped payload beside a plain one could be the answer, or an example."""
    if "&lt;" not in prose:
        return
    for tag in _ESCAPED_TAG.finditer(prose):
        if marks.is_ours(tag[1]):
            found = f"{quoted(prose[tag.start() : tag.start() + 60])} beside the payloads"
            where = line_column(text, text.find(tag[0], at))
            refuse(HuhCode.AMBIGUOUS_PAYLOAD, where, found, "no other payload, escaped or not")


def _unescaped(parser: Parser, text: str, shapes: Shapes, marks: Marks) -> Answer | None:
    """The answer if all of it is one document that was escaped once too often, and strict but for that."""
    bare = _bare(text)
    if "<" in bare or not (bare.startswith("&lt;") and bare.endswith((">", "&gt;"))):
        return None
    if _ESCAPED.sub("", bare).count("&"):
        return None
    made = _ESCAPED.sub(lambda found: _CHARACTERS[found[1]], bare)
    items = Items(parser, made, shapes, marks)
    try:
        if not items.begins(0) or items.read(0) != len(made) or items.mends:
            return None
        _check_together(items)
    except InvalidMessage:
        return None
    parts = tuple(AnswerPart(item.element, Way(item.frame or "bare"), item.to) for item in items.found)
    return Answer(parts, (Mend("escaped", "/", quoted(bare), quoted(made)),), "", "wait" in items.frames)


def _refuse_nothing(text: str, marks: Marks, begun: Before) -> NoReturn:
    wanted = marks.wanted()
    shown = _bare(text)
    found = f"{quoted(shown)} and no payload" if shown else "nothing"
    if begun.unknown:
        found = f"{quoted(f'<{begun.unknown}>')} and no payload that may be sent"
    if any(marks.is_ours(tag[1]) for tag in _ESCAPED_TAG.finditer(text)):
        found, wanted = "an escaped payload", f"{wanted} as markup: '<' and '>' for '&lt;' and '&gt;' of tags"
    raise InvalidMessage([Fault(HuhCode.NO_PAYLOAD, "/", found, wanted)])
