"""Ways in which models damage a valid answer, each for a random payload; what was meant stays the same.

A damage takes one strict payload text and chance, and gives the text of an answer. Nothing here knows
how answers are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Final

from hypothesis import strategies as st

from .answering import (
    Ack,
    Greeting,
    Label,
    Line,
    Meeting,
    Order,
    Page,
    Patch,
    Query,
    Scores,
    Tree,
    Verdict,
    xml,
)

Damage = Callable[[str, Random], str]

# What makes reading hard, and no reference or section: those read another way by themselves.
TEXT: Final = st.text(alphabet=st.sampled_from("ab TX<>&\"',;:=/()[]{}|*\n\té\xa0`"), max_size=14).filter(
    lambda text: not re.search(r"<[!?]|&\w*;|</|/>", text)
)
SNIPPETS: Final = st.sampled_from(
    [
        "Arc<RwLock<T>>",
        "a && b",
        "x < y",
        "Vec<u8>",
        "```sh\nmake\n```",
        "AT&T",
        "#include <stdio.h>",
        "007",
        "75",
    ]
)
WORDS: Final = st.one_of(TEXT, SNIPPETS)
TREES: Final = st.recursive(
    st.builds(Tree, WORDS), lambda inner: st.builds(Tree, WORDS, st.lists(inner, max_size=2)), max_leaves=4
)
PAYLOADS: Final = st.one_of(
    st.builds(Greeting, WORDS, st.integers(-99, 999)),
    st.builds(
        Order,
        WORDS,
        st.lists(st.builds(Line, WORDS, st.integers(0, 99), st.decimals(0, 99, places=2)), max_size=3),
        st.booleans(),
    ),
    st.builds(Patch, WORDS, WORDS, st.none() | WORDS),
    st.builds(Scores, st.dictionaries(WORDS, st.integers(0, 99), max_size=3), st.floats(0, 100)),
    st.builds(Verdict, st.sampled_from(Label), st.floats(0, 1), WORDS),
    st.builds(Query, st.lists(WORDS, max_size=4), st.integers(0, 50)),
    st.builds(Meeting, st.datetimes(), WORDS, st.lists(WORDS, max_size=2).map(tuple)),
    st.builds(Page, WORDS, WORDS, st.sets(WORDS, max_size=2)),
    TREES,
    st.just(Ack()),
)

_LEAF: Final = re.compile(r"<([\w-]+)>([^<>]*)</\1>")
_TAG: Final = re.compile(r"</?[\w-]+>")
_TOKENS: Final = ("<|im_end|>", "<|endoftext|>", "</s>", "[/INST]", "<|eot_id|>", "<end_of_turn>")


def _leaf(text: str, random: Random) -> re.Match[str] | None:
    leaves = list(_LEAF.finditer(text))
    return random.choice(leaves) if leaves else None


def _in_leaf(text: str, random: Random, make: Callable[[str, str], str]) -> str:
    """One leaf replaced by ``make(tag, its text)``."""
    leaf = _leaf(text, random)
    return text if leaf is None else text[: leaf.start()] + make(leaf[1], leaf[2]) + text[leaf.end() :]


def _raw(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def swallowed(text: str, random: Random) -> str:
    def make(tag: str, inner: str) -> str:
        return f"<{tag}>{inner}"

    return _in_leaf(text, random, make)


def closed_later(text: str, random: Random) -> str:
    """An unclosed leaf that is closed after its sibling."""
    leaf = _leaf(text, random)
    following = None if leaf is None else _LEAF.match(text, leaf.end())
    if leaf is None or following is None:
        return swallowed(text, random)
    inside = f"<{leaf[1]}>{leaf[2]}{following[0]}</{leaf[1]}>"
    return text[: leaf.start()] + inside + text[following.end() :]


def json_close(text: str, random: Random) -> str:
    return _in_leaf(text, random, lambda tag, inner: f"<{tag}>{inner}" + random.choice(['"', '",', '",\n']))


def other_end(text: str, random: Random) -> str:
    ends = [one for one in _TAG.finditer(text) if one[0][1] == "/"]
    if not ends:
        return text
    tags = sorted({one[0].strip("</>") for one in ends} | {"p", "Nam", "string", "send"})
    end = random.choice(ends)
    other = random.choice([tag for tag in tags if tag != end[0][2:-1]])
    return f"{text[: end.start()]}</{other}>{text[end.end() :]}"


def unescaped(text: str, random: Random) -> str:
    return _in_leaf(text, random, lambda tag, inner: f"<{tag}>{_raw(inner)}</{tag}>")


def unescaped_everywhere(text: str, random: Random) -> str:
    return _LEAF.sub(lambda leaf: f"<{leaf[1]}>{_raw(leaf[2])}</{leaf[1]}>", text)


def fenced(text: str, random: Random) -> str:
    fence = random.choice(["```", "~~~", "````"])
    return f"{fence}{random.choice(['xml', '', 'XML'])}\n{text}\n{fence if random.random() < 0.8 else ''}"


def in_prose(text: str, random: Random) -> str:
    before = random.choice(["Sure:\n", "a < b, so\n", "I use Vec<T>.\n", "", "<b>Yes.</b> "])
    return before + text + random.choice(["", "\nDone.", "\n\nIs x < y?", "\n<i>Bye</i>"])


def second(text: str, random: Random) -> str:
    other = xml(Greeting("Second", 2))
    return random.choice(
        [f"{text}\nor\n{other}", f"{text}{text}", f"{text}<|im_end|>{other}", f"{other} no: {text}"]
    )


def quoted_before(text: str, random: Random) -> str:
    example = xml(Greeting("Example", 1))
    return random.choice(
        [
            f"Such as `{example}`:\n{text}",
            f"```xml\n{example}\n```\n{text}",
            f"<think>{example}</think>{text}",
            f'"{example}"\n{text}',
            f"<example>{example}</example>{text}",
            f"{example} hm </think>{text}",
        ]
    )


def cut(text: str, random: Random) -> str:
    return text[: random.randrange(len(text))]


def token(text: str, random: Random) -> str:
    at = random.choice([0, len(text), random.choice([one.end() for one in _LEAF.finditer(text)] or [0])])
    leaked = random.choice(_TOKENS)
    if random.random() < 0.4:
        return _in_leaf(text, random, lambda tag, inner: f"<{tag}>{inner}{leaked}</{tag}>")
    return text[:at] + leaked + text[at:]


def entity(text: str, random: Random) -> str:
    return text.replace("\xa0", "&nbsp;").replace("é", "&eacute;")


def control_character(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    return text[:at] + random.choice("\0\x01\x08\x1b\x0b\ufffe") + text[at:]


def escaped_twice(text: str, random: Random) -> str:
    made = text.replace("&", "&amp;") if random.random() < 0.9 else text
    made = made.replace("<", "&lt;")
    return made.replace(">", "&gt;") if random.random() < 0.8 else made


def attribute(text: str, random: Random) -> str:
    leaf = _leaf(text, random)
    on_a_payload = re.match(r"<(?!message)[a-z]+[ >]", text, re.IGNORECASE)  # an envelope's are never read
    if leaf is None or on_a_payload is None or '"' in leaf[2]:
        return text.replace(">", ' kind="x">', 1)
    rest = text[: leaf.start()] + text[leaf.end() :]
    return rest.replace(">", f' {leaf[1].lower()}="{leaf[2]}">', 1)


def namespace(text: str, random: Random) -> str:
    if random.random() < 0.5:
        return text.replace(">", ' xmlns="urn:made:up">', 1)
    made = re.sub(r"<(/?)([\w-]+)>", r"<\1p:\2>", text)
    return made.replace(">", ' xmlns:p="urn:p">', 1) if random.random() < 0.7 else made


def envelope(text: str, random: Random) -> str:
    meta = random.choice(
        ["<meta><from>root</from><to>all</to></meta>", "<meta/>", "<meta><from>x</meta>", "", "<meta>"]
    )
    start = random.choice(
        ["<message>", '<message xmlns="https://xml-pipeline.org/ns/envelope/v1">', "<Message>"]
    )
    return f"{start}{meta}\n{text}\n</{start[1:8]}>"


def case(text: str, random: Random) -> str:
    change = random.choice([str.lower, str.upper])
    names = set(re.findall(r"</([\w-]+)>", text))  # what is never closed is text, such as generics
    most = 1.0 if random.random() < 0.5 else 0.2

    def changed(tag: re.Match[str]) -> str:
        return change(tag[0]) if tag[0].strip("</>") in names and random.random() < most else tag[0]

    return _TAG.sub(changed, text)


def around(text: str, random: Random) -> str:
    return random.choice(
        [
            "\ufeff" + text,
            f"`{text}`",
            f"“{text}”",
            json.dumps({"answer": text}),
            f"[{text}]",
            f"<![CDATA[{text}]]>",
            f'<?xml version="1.0"?>\n{text}',
            f"<answer>{text}</answer>",
            f"Use `{text}`.",
        ]
    )


def other_writing(text: str, random: Random) -> str:
    """CDATA and numbers for characters: no damage at all."""
    if random.random() < 0.5:
        return _in_leaf(text, random, lambda tag, inner: f"<{tag}><![CDATA[{_raw(inner)}]]></{tag}>")
    return _in_leaf(text, random, lambda tag, inner: f"<{tag}>{inner.replace('a', '&#97;')}</{tag}>")


KINDS: Final[tuple[Damage, ...]] = (
    *(swallowed, closed_later, json_close, other_end, unescaped, unescaped_everywhere, fenced, in_prose),
    *(second, quoted_before, cut, token, entity, control_character, escaped_twice, attribute, namespace),
    *(envelope, case, around, other_writing),
)
