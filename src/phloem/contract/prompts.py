"""What a model is told of the peers it may call: cards, examples, and what responding does.

Decides every word and the order of them; the same contracts give the same bytes in every
process. A line that begins at the margin or with a dash is ours: what developers wrote (names,
descriptions, documentation) is folded into one line and stands behind words of ours, so that no
description can pose as another peer. Says nothing of envelopes. Called by ``loading`` when an
organism opens, and by the command line.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, final

from .constraints import Facets
from .contract import Contract
from .plans import NO_DEFAULT, Choice, Field, Leaf, Many, Nothing, OneOf, Plan, Record, Row, Table, can_hold
from .types import Refusal

__all__ = ["Peer", "card", "fingerprint", "peer_words", "usage_instructions"]

_PEERS: Final = (
    "You may send payloads to the peers below, and to yourself. A payload's elements stand in the order of "
    "its card; what is indented there stands inside the element above it. In text, & is written &amp; and "
    "< is written &lt;."
)
_ALONE: Final = "You have no peers: you may respond to your caller or send to yourself, and to nobody else."
_RESPONDING: Final = (
    "# Responding\n"
    "A response goes to your caller and ends your part: the call chain is pruned below your caller. All "
    "sub-agents that you called, and those that they called, end there, and their state is gone; what "
    "they have not answered by then never reaches you. So finish all sub-tasks first, then respond."
)
_LONGEST_DEFAULT: Final = 60  # characters: a default is told to be recognised, the example shows more
# what has no place in one line of a prompt: controls, XML's forbidden characters, separators of lines
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One listener that an agent may call, or the name of one that there is not.

    ``contracts``: of the payloads it takes. ``responds_with``: of its answers; None where it does
    not say.
    """

    name: str
    description: str
    contracts: tuple[Contract, ...]
    responds_with: tuple[Contract, ...] | None = None
    registered: bool = True


def usage_instructions(name: str, description: str, peers: Sequence[Peer], *, xsd: bool = False) -> str:
    """All an agent is told of its peers; with ``xsd``, their XSDs as well. Ends with a line feed.

    Raises ``ContractError`` where a payload of a peer has no example.
    """
    told = _line(description)
    parts = [f"You are {_line(name)}{': ' if told else '.'}{told}", _PEERS if peers else _ALONE]
    parts += [peer_words(peer, xsd=xsd) for peer in peers]
    parts.append(_RESPONDING)
    return "\n\n".join(parts) + "\n"


def peer_words(peer: Peer, *, xsd: bool = False) -> str:
    """One peer: what it is, what it takes, what it answers. Raises ``ContractError``."""
    if not peer.registered:
        return f"# {_line(peer.name)} (not registered)"
    told = _line(peer.description)
    lines = [f"# {_line(peer.name)}{': ' if told else ''}{told}"]
    for contract in peer.contracts:
        lines.append(f"Takes {card(contract)}")
        if not contract.brings_xsd:
            lines.append(f"Example: {_inline(contract.example())}")
            if xsd:
                lines.append(f"XSD:\n{_barred(contract.xsd_text)}")
    if peer.responds_with is not None:
        answers = [_signature(contract) for contract in peer.responds_with]
        lines.append(f"Answers with {' or '.join(answers) or 'nothing'}.")
    return "\n".join(lines)


def card(contract: Contract) -> str:
    """A payload's tag and fields, one line each. For a class that brings its own XSD: that XSD."""
    doc = _summary(contract.doc)
    head = f"{contract.tag}{': ' if doc else ''}{doc}"
    if contract.brings_xsd:
        return f"{head}\nXSD:\n{_barred(contract.xsd_text)}"
    if not contract.fields:
        return f"{head}\n(no elements)"
    return "\n".join([head, *_fields(contract.fields, "", {contract.payload_class})])


def fingerprint(text: str) -> str:
    """The sha256 of a text, in hex: tells whether two organisms say the same to their agents."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# -- a card's lines ----------------------------------------------------------------------------


def _fields(fields: Sequence[Field], indent: str, seen: set[type]) -> Iterator[str]:
    for field in fields:
        note = " (required)" if field.required else f" (optional{_default(field)})"
        yield from _element(f"{field.tag}{note}", field.plan, field.doc, indent, seen)


def _element(name: str, plan: Plan, doc: str, indent: str, seen: set[type], said: str = "") -> Iterator[str]:
    """One line for the element, then those for what is inside it; ``said`` is not documented again."""
    again = isinstance(plan, Record) and plan.cls in seen
    docs = [_line(doc), "" if again else _line(_own_doc(plan))]
    told = dict.fromkeys(each for each in docs if each and each != said)
    yield " — ".join([f"{indent}- {name}: {_kind(plan)}{', as said above' if again else ''}", *told])
    if isinstance(plan, Record):
        seen.add(plan.cls)
    if not again:
        yield from _inside(plan, docs[0], f"{indent}  ", seen)


def _inside(plan: Plan, said: str, indent: str, seen: set[type]) -> Iterator[str]:
    match plan:
        case Record():
            yield from _fields(plan.fields, indent, seen)
        case Many():
            yield from _element(plan.item.tag, plan.item, "", indent, seen, said)
        case Table():
            yield f"{indent}- Item: one for each key"
            yield from _element("Key", plan.key, "", f"{indent}  ", seen, said)
            yield from _element("Val", plan.value, "", f"{indent}  ", seen, said)
        case Row():
            for tag, item in zip(plan.tags, plan.items, strict=True):
                yield from _element(tag, item, "", indent, seen, said)
        case OneOf():
            for tag, member in plan.members.items():
                yield from _element(tag, member, "", indent, seen, said)
        case Leaf() | Choice() | Nothing():
            pass


def _kind(plan: Plan) -> str:
    """A type in plain words, with what is asked of the value."""
    match plan:
        case Leaf():
            return ", ".join([plan.scalar.words, *_constraints(plan.facets)])
        case Choice():
            return f"one of {', '.join(map(repr, plan.values))}"
        case Nothing():
            return "empty"
        case Many(kind=kind):
            once = ", none twice" if kind in (set, frozenset) else ""
            return f"{'a set' if once else 'a list'} of {plan.item.tag} elements{_length(plan)}{once}"
        case Table():
            return f"a table of Item elements{_length(plan)}, no key twice"
        case Row():
            return f"{', '.join(plan.tags)}, in this order" if plan.items else "empty"
        case OneOf():
            return f"exactly one of {', '.join(plan.members)}"
        case Record():
            article = "an" if plan.type_name[0] in "AEIOU" else "a"
            return f"{article} {plan.type_name}{'' if plan.fields else ', empty'}"


def _own_doc(plan: Plan) -> str:
    """What is documented of a type, wherever it is used."""
    match plan:
        case Leaf():
            return plan.facets.doc
        case Choice():
            return plan.doc
        case Record():
            return _summary(plan.doc)
        case _:
            return ""


def _constraints(facets: Facets) -> Iterator[str]:
    for word in facets.words():
        if facets.pattern is not None and word == f"matching {facets.pattern}":
            word = f"matching `{facets.pattern}`"  # blanks and full stops at its ends belong to it
        yield _visible(word)


def _length(plan: Many | Table) -> str:
    return "".join(
        f", {word}" for word in Facets(min_length=plan.least or None, max_length=plan.most).words()
    )


def _default(field: Field) -> str:
    """The default of an optional field, where it is a scalar that we know."""
    if field.default is NO_DEFAULT or field.default is None:
        return ""
    members = field.plan.members.values() if isinstance(field.plan, OneOf) else (field.plan,)
    for plan in members:
        if isinstance(plan, Leaf | Choice) and can_hold(plan, field.default):
            try:
                text = (
                    plan.write(field.default)
                    if isinstance(plan, Choice)
                    else plan.scalar.write(field.default)
                )
            except Refusal:
                continue
            quotes = isinstance(plan, Choice) or plan.scalar.python in (str, bytes)
            return f", default {_quoted(text) if quotes else text}"
    return ""


def _signature(contract: Contract) -> str:
    """A payload on its way back: its tag, and the elements in it."""
    tags = ", ".join(field.tag for field in contract.fields)
    return f"{contract.tag} ({tags})" if tags else contract.tag


# -- text of others ----------------------------------------------------------------------------


def _line(text: str) -> str:
    """Words of a developer, in one line, with nothing that cannot be seen or sent."""
    return _visible(" ".join(text.split()))


def _summary(doc: str) -> str:
    """The first paragraph of a class's documentation: what comes after speaks to programmers."""
    return _line(re.split(r"\n\s*\n", doc.strip(), maxsplit=1)[0])


def _visible(text: str) -> str:
    return _UNSEEN.sub(lambda found: _ESCAPES.get(found[0]) or f"\\u{ord(found[0]):04x}", text)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_DEFAULT else f"{text[:_LONGEST_DEFAULT]}…")


def _inline(xml: str) -> str:
    """The same document in one line: line feeds of its texts as references."""
    return _UNSEEN.sub(lambda found: f"&#{ord(found[0])};", xml)


def _barred(xml: str) -> str:
    """An XSD with a bar before each line: its documentation may have lines that look like ours."""
    return "\n".join(f"  | {_visible(line)}" for line in xml.strip().splitlines())
