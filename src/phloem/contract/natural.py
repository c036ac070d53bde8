"""What stands in an example where the contract leaves open what to say.

Decides which words a field gets: what its documentation gives as an example or says, else
what such a field is usually filled with, else a phrase made of its name. Decides as well
what nobody wants to see copied: an empty text, three dots, a type's name, the field's own
name. Knows constraints only as lengths to be met. Called by ``example`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from string import ascii_lowercase
from typing import Final, final

__all__ = ["About", "about_field", "about_key", "fitted", "is_placeholder", "short_codes"]

_PEOPLE: Final = ("Ada Lovelace", "Grace Hopper", "Alan Turing")
_SAID: Final = ("The kettle is on.", "The door is open.", "The last train leaves at ten.")
_CODES: Final = ("T-1042", "T-1043", "T-1044")
_TOPICS: Final = ("garden", "harbour", "winter")
_USUAL: Final[Mapping[str, tuple[str, ...]]] = {
    # the last word of a field's name -> what people write there; nothing real, nothing reachable
    **dict.fromkeys(("name", "person", "user", "author", "customer", "owner", "guest", "member"), _PEOPLE),
    **dict.fromkeys(("sender", "recipient", "receiver", "username", "login", "account"), ("ada", "grace")),
    **dict.fromkeys(("text", "message", "body", "content", "note", "comment", "line", "sentence"), _SAID),
    **dict.fromkeys(("listener", "agent", "peer", "handler"), ("greeter", "gardener", "librarian")),
    **dict.fromkeys(("id", "identifier", "reference", "ref", "code", "number"), _CODES),
    **dict.fromkeys(("tag", "label", "category", "topic", "keyword", "theme", "type", "kind"), _TOPICS),
    **dict.fromkeys(("title", "subject", "headline", "heading"), ("A garden in winter", "The old harbour")),
    **dict.fromkeys(("city", "town", "place", "location", "destination", "origin"), ("Lisbon", "Porto")),
    **dict.fromkeys(("email", "mail"), ("ada@harbour.test", "grace@harbour.test")),
    **dict.fromkeys(("url", "uri", "link", "href", "website"), ("https://harbour.test/tides",)),
    **dict.fromkeys(("path", "file", "filename"), ("reports/march.txt", "reports/april.txt")),
    **dict.fromkeys(("language", "lang", "locale"), ("en", "pt", "fr")),
    **dict.fromkeys(("query", "search"), ("trains from Lisbon to Porto",)),
    **dict.fromkeys(("question", "request"), ("When does the last train to Porto leave?",)),
    **dict.fromkeys(("answer", "reply", "response", "result", "output"), ("At 23:10, from platform 4.",)),
    **dict.fromkeys(("reason", "cause", "explanation", "error"), ("The first train was full.",)),
    **dict.fromkeys(("status", "state"), ("open", "closed")),
    **dict.fromkeys(("description", "summary", "abstract", "details"), ("Two seats by the window.",)),
    **dict.fromkeys(("prompt", "instruction", "task", "goal", "todo", "step"), ("Find a later train.",)),
    **dict.fromkeys(("date", "day", "birthday"), ("2031-05-17", "2031-05-18", "2031-05-19")),
    **dict.fromkeys(("timestamp", "datetime"), ("2031-05-17T09:30:00Z", "2031-05-17T10:30:00Z")),
    **dict.fromkeys(("color", "colour"), ("green", "blue", "yellow")),
    **dict.fromkeys(("item", "product", "thing"), ("teapot", "lantern", "umbrella")),
    **dict.fromkeys(("address", "street"), ("12 Mill Lane", "3 Harbour Street")),
    "country": ("Portugal", "Norway", "Kenya"),
    "currency": ("EUR", "NOK"),
    "host": ("harbour.test",),
    "time": ("09:30", "10:30", "11:30"),
    "phone": ("+351 210 000 000",),
    "unit": ("kg", "m", "l"),
    "version": ("2.1", "2.2"),
    "greeting": ("Good morning, Ada.",),
    "company": ("Mill Lane Bakery", "Harbour Boats"),
    "word": _TOPICS,
}  # fmt: skip
_NUMBERS: Final[Mapping[str, str]] = {
    "year": "2031",
    "month": "5",
    "hour": "9",
    "minute": "30",
    "port": "8080",
    "age": "36",
    "percent": "40",
    "price": "19.99",
    "latitude": "38.72",
    "longitude": "-9.14",
    "temperature": "21.5",
}
_ENTRIES: Final = ("first", "second", "third", "fourth")
_SHORT: Final = (  # for narrow fields: the longest that fits; beyond 24 a phrase is cut between words
    "a", "so", "tea", "note", "green", "garden", "harbour", "a garden", "the river", "the garden",
    "a green leaf", "the old mill", "the old garden", "the old harbour", "a garden in June",
    "a garden in winter", "the old garden gate", "a boat in the harbour", "two boats in a harbour",
)  # fmt: skip
_MORE: Final = " The kettle is on, and the garden is quiet."  # fills a text that must be longer
_LONGEST: Final = 80  # characters of a field's documentation as its value: one line
_READ: Final = 1_000  # characters of a documentation that are looked through for its first sentence
_WORDS: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SUCH_AS: Final = re.compile(
    r"[\s,;:(]*\b(?:e\.g\.|for example|for instance|such as)[,:]?\s+"
    r"""(?:["'`“‘](?P<quoted>[^"'`”’]+)["'`”’]|(?P<plain>[^,;()]+?)(?=[,;()]|\.?$|\.\s|\sor\s|\sand\s))""",
    re.IGNORECASE,
)
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s")
_COPIED: Final = frozenset(
    (
        *("bar", "baz", "changeme", "dummy", "example", "examplevalue", "fixme", "foo", "foobar", "insert"),
        *("lorem", "loremipsum", "placeholder", "qux", "sample", "something", "str", "string", "stringvalue"),
        *("tbd", "text", "todo", "value", "xxx"),
    )
)
_HOLES: Final = re.compile(
    r"\.\.\.|…|<[^>]*>|\{[^}]*\}|\[[^\]]*\]|\$[A-Z_]{2,}|%[sd]\b|___"
    r"|^((insert|enter|put) )?your\b|\btodo:|^lorem ipsum",
    re.IGNORECASE,
)


@final
@dataclass(frozen=True, slots=True)
class About:
    """What is known of a value: the name of its field, and phrases for it, the best first."""

    name: str
    phrases: tuple[str, ...]

    def documented(self, doc: str) -> About:
        """The same with a documentation of its own, as an item of a list may have."""
        return About(self.name, tuple(dict.fromkeys((*_told(doc, self.name), *self.phrases))))

    def number(self) -> str | None:
        """What such a number usually is, as text."""
        return _NUMBERS.get(_last_word(self.name))


def about_field(name: str, doc: str, of: str) -> About:
    """A field of the class ``of``."""
    words, whole = _spaced(name), _spaced(of)
    last = _last_word(name)
    usual = _USUAL.get(last) or _USUAL.get(_singular(last)) or ()
    made = f"this {whole}, in plain words" if words == whole else f"the {words} of this {whole}"
    return About(name, (*usual, made)).documented(doc)


def about_key(about: About) -> About:
    """The keys of a table are not what its field is called."""
    return About(f"{about.name}_key", _ENTRIES)


def is_placeholder(text: str, name: str = "") -> bool:
    """Whether a reader may take the text for a hole to fill, and copy it as it is."""
    bare = _squeezed(text)
    return (
        not text.strip()
        or bare in _COPIED
        or bool(_HOLES.search(text))
        or (bare != "" and bare == _squeezed(name))
    )


def fitted(text: str, least: int, most: int | None) -> str:
    """The text, or as much more or less of it as the lengths ask for."""
    if most is not None and least <= most < 24 and not least <= len(text) <= most:
        short = [phrase for phrase in _SHORT if least <= len(phrase) <= most]
        if short:
            return short[-1]
    if len(text) < least:
        text += _MORE * ((least - len(text)) // len(_MORE) + 1)
    if most is None or len(text) <= most:
        return text
    cut = text[:most]
    between = cut.rstrip() if text[most].isspace() else cut.rpartition(" ")[0].rstrip()
    return between if len(between) >= max(least, most // 2, 1) else cut


def short_codes(length: int) -> Iterator[str]:
    """Texts of this length that differ, where no phrase can."""
    yield from map("".join, product(ascii_lowercase, repeat=length))


def _told(doc: str, name: str) -> Iterator[str]:
    """What a documentation gives as an example, then what it says, if they are fit to be copied."""
    line = " ".join(doc[:_READ].split())
    shown = _SUCH_AS.search(line)
    if shown is not None:
        yield from _kept((shown["quoted"] or shown["plain"]).strip(), name)
        line = line[: shown.start()].strip()
    yield from _kept(_SENTENCE.split(line, maxsplit=1)[0], name)


def _kept(text: str, name: str) -> Iterator[str]:
    if _squeezed(text) and text.isprintable() and not is_placeholder(text, name):
        yield fitted(text, 0, _LONGEST).removesuffix(".")


def _spaced(name: str) -> str:
    return " ".join(_WORDS.findall(_CAMEL.sub(" ", name))).lower() or name


def _last_word(name: str) -> str:
    return _spaced(name).rpartition(" ")[2]


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word.removesuffix("s")


def _squeezed(text: str) -> str:
    return "".join(_WORDS.findall(text)).lower()
