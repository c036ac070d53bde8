"""Text in a leaf of a model's answer that is not XML by itself: what it can only have meant.

Decides more strictly than for strangers, whose documents come from programs: a model forgets end
tags, escapes half of a text and leaks what its template holds. So a text is taken as written
only if nothing in it could be structure, a damaged reference, or the end of something else.
Raises ``Doubt`` where two readings are left; never looks outside the leaf. Called by ``mending``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.entities import html5
from typing import Final, final

from .diagnosis import NAME
from .marks import CONTROL, FRAMES, THOUGHTS

__all__ = ["Doubt", "made_of", "refuse_hidden"]

_XML_NAMES: Final = ("amp", "lt", "gt", "quot", "apos")
_REFERENCE: Final = re.compile(r"&(?:#(?:[0-9]+|x[0-9a-fA-F]+)|[a-zA-Z][a-zA-Z0-9]*);")
_BARE_NAME: Final = re.compile(r"&([a-zA-Z][a-zA-Z0-9]*+)(?![;=])")
_LEGACY: Final = tuple(name for name in html5 if name[-1] != ";")  # HTML takes these without: &copy, &nbsp
_NEAR: Final = re.compile(r"&([^&;\n]{0,6});")
_CUT: Final = re.compile(
    r"&[\s\W]?(?:amp|lt|gt|quot|apos)|&.?#|&x?[0-9a-f]{1,8};|;(?:amp|lt|gt|quot|apos)&", re.IGNORECASE
)
_CDATA: Final = re.compile(r"<!\[CDATA\[.*?\]\]>", re.DOTALL)
# &a and &q are somebody's variables, unless nothing follows
_BEGUN: Final = re.compile(r"&(?:l|g|am|ap|apo|qu|quo)(?![a-zA-Z0-9_])|&(?:a|q)?\s*\Z")
_TAG: Final = re.compile(rf"<(/?)({NAME})((?:[^<>\"']++|\"[^<\"]*\"|'[^<']*')*)>")
_OPENED: Final = re.compile(rf"<[\s/\\]*({NAME})")
_LONGEST_NAME: Final = 80  # characters looked at before a ">": a tag is hardly ever longer
_TOKEN_LIKE: Final = re.compile(
    r"(?:^|_)(?:end|start|begin|eos|bos|eot|eom|turn|pad|unk|sep|cls|mask|token|im|fim|tool)(?:_|$)",
    re.IGNORECASE,
)
# Tags that stand in prose and pages, and in no contract: closed, they are text and nothing else.
_HTML: Final = frozenset(
    re.findall(
        r"\S+",
        "a b blockquote body br code dd div dl dt em h1 h2 h3 h4 h5 h6 head hr html i img kbd li ol "
        "p pre q section small span strong sub sup table tbody td th thead tr u ul ",
    )
)
_VOID: Final = frozenset({"br", "hr", "img"})
_VOID_TAG: Final = re.compile(r"<(?:br|hr|img)\b[^<>]*/?>")
_OUR_WORDS: Final = frozenset((*FRAMES, *THOUGHTS, "message", "meta"))


@final
class Doubt(Exception):
    """Why a text could mean two things, as what was found and why."""

    def __init__(self, found: str, why: str) -> None:
        super().__init__(why)
        self.found, self.why = found, why


def made_of(
    text: str, known: frozenset[str], well_formed: Callable[[str], bool]
) -> Iterator[tuple[str, str]]:
    """(What was mended, the text after it), one repair after the other; the last is well-formed.

    ``text`` is not well-formed by itself; ``known`` are the contract's tags, case folded.
    """
    _refuse_markup(text)
    _refuse_names(text, known)
    references = _references(text)
    if references:
        made = _REFERENCE.sub(_from_html, text)
        if made == text or not well_formed(made):
            raise Doubt(references[0], "a reference beside text that is not escaped")
        yield "entity", made
        return
    if "&" in text:
        _refuse_damaged(text)
        text = text.replace("&", "&amp;")
        yield "ampersand", text
    if "<" in text:
        _refuse_tags(text)
        text = text.replace("<", "&lt;")
        yield "less-than", text
    if "]]>" in text:
        text = text.replace("]]>", "]]&gt;")
        yield "cdata-end", text


def refuse_hidden(text: str) -> None:
    """Raise ``Doubt`` at what XML takes out of a text without a word, or a template put into it.

    ``text`` is well-formed. In a CDATA section everything stands on purpose.
    """
    if "<" in text:
        text = _CDATA.sub("", text)
        for piece in ("<!--", "<?"):
            if piece in text:
                raise Doubt(
                    text[text.index(piece) :], "a comment or instruction, which XML leaves out of text"
                )
    token = CONTROL.search(text)
    if token is not None:
        raise Doubt(token[0], "a control token in text")


def _references(text: str) -> list[str]:
    """All that the text may have meant as references: XML's, numbers, and HTML's by name."""
    found = _REFERENCE.findall(text)
    return [one for one in found if one[1] == "#" or one[1:] in html5 or one[1:-1] in _XML_NAMES]


def _from_html(found: re.Match[str]) -> str:
    name = found[0][1:]
    if name[0] == "#" or name[:-1] in _XML_NAMES or name not in html5:
        return found[0]
    if _is_near(name[:-1]):
        raise Doubt(found[0], "a reference that may be a misspelled one")
    return "".join(f"&#{ord(one)};" for one in html5[name])


def _refuse_markup(text: str) -> None:
    token = CONTROL.search(text)
    if token is not None:
        raise Doubt(token[0], "a control token in text")
    for piece in ("<|", "<\uff5c"):
        if piece in text:
            raise Doubt(text[text.index(piece) :], "the beginning of a control token in text")
    for piece in ("<!", "<?"):
        if piece in text:
            why = "a comment, CDATA section or instruction beside unescaped text"
            raise Doubt(text[text.index(piece) :], why)
    if "CDATA" in text or text.rstrip().endswith("]]>"):
        raise Doubt(text[-40:], "a part of a CDATA section in text")


def _refuse_names(text: str, known: frozenset[str]) -> None:
    """A name of the contract next to an angle bracket may be the writer's structure, or the text's."""
    ours = known | _OUR_WORDS
    endings = tuple(ours)
    long = [one for one in ours if len(one) > 2]  # of shorter names nearly everything is a misspelling
    fine: set[str] = set()
    for found in _OPENED.finditer(text):
        name = found[1].rpartition(":")[2].casefold()
        if name in fine:
            continue
        fine.add(name)
        if name in ours or any(name.startswith(one) or _one_slip(name, one) for one in long):
            raise Doubt(text[found.start() :], "a tag of the contract in text")
    at = text.find(">")
    while at >= 0:  # what lost its "<", too
        before = text[max(0, at - _LONGEST_NAME) : at].rstrip().casefold()
        if before.endswith(endings) and _last_name(before) in ours:
            raise Doubt(text[max(0, at - 40) : at + 1], "a tag of the contract in text")
        at = text.find(">", at + 1)


def _last_name(text: str) -> str:
    """The letters at the end of the text, as long as they could be a name."""
    at = len(text)
    while at and (text[at - 1].isalnum() or text[at - 1] in "_-."):
        at -= 1
    return text[at:].lstrip("0123456789-.")


def _refuse_damaged(text: str) -> None:
    """An ampersand that may be what is left of a reference."""
    for found in _BARE_NAME.finditer(text):
        if found[1].startswith(_LEGACY):
            raise Doubt(found[0], "what may be a reference without its ';'")
    cut = _CUT.search(text)
    if cut is not None:
        raise Doubt(text[cut.start() :], "what may be left of a reference")
    for found in _NEAR.finditer(text):
        if _is_near(found[1]) or any(_is_left_of(found[1], one) for one in _XML_NAMES):
            raise Doubt(found[0], "what may be a misspelled reference")
    begun = _BEGUN.search(text)
    if begun is not None:
        raise Doubt(begun[0], "what may be the beginning of a reference")


def _is_left_of(name: str, meant: str) -> bool:
    """Whether only letters are missing."""
    letters = iter(meant)
    return all(letter in letters for letter in name)


def _is_near(name: str) -> bool:
    return any(_one_slip(name, one) for one in _XML_NAMES)


def _one_slip(name: str, meant: str) -> bool:
    """Whether one letter too many, too few, another, or two changed over make one into the other."""
    if abs(len(name) - len(meant)) > 1:
        return False
    if len(name) == len(meant):
        wrong = [at for at in range(len(name)) if name[at] != meant[at]]
        return len(wrong) <= 1 or (
            len(wrong) == 2
            and wrong[1] == wrong[0] + 1
            and name[wrong[0]] == meant[wrong[1]]
            and name[wrong[1]] == meant[wrong[0]]
        )
    short, long = sorted((name, meant), key=len)
    return any(long[:at] + long[at + 1 :] == short for at in range(len(long)))


def _refuse_tags(text: str) -> None:
    """Generics are text, and so is HTML that is closed. An end tag of anything else ends something."""
    open_: list[str] = []
    ends = 0
    for tag in _TAG.finditer(text):
        name, attributes = tag[2], tag[3]
        if tag[1]:
            ends += 1
            if name not in _HTML or not open_ or name not in open_:
                raise Doubt(tag[0], "an end tag in text")
            while open_.pop() != name:
                pass
        elif name in _HTML and name not in _VOID:
            open_.append(name)
        elif attributes.endswith("/") and name not in _HTML:
            raise Doubt(tag[0], "an empty element in text")
        elif _TOKEN_LIKE.search(name):
            raise Doubt(tag[0], "what may be a control token in text")
        elif "=" in attributes and name not in _HTML:
            raise Doubt(tag[0], "a tag with attributes in text")
    if text.count("</") != ends:
        raise Doubt(text[text.index("</") :], "what may be an end tag in text")
    for piece in ("/>", "><"):
        if piece in _VOID_TAG.sub("", text):
            raise Doubt(text[text.index(piece) :], "what may be structure in text")
