"""How a message ended, in words for a person: answers, refusals, failures.

Decides the words, and what of a long answer is left out. All of it is harmless on a terminal, whoever
wrote it. Pure. ``console_session`` shows what this gives.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, final

from phloem.contract import encode
from phloem.framing.fields import FieldTable
from phloem.messages import ConversationState, Fault, Huh, Outcome

from .terminal.face import Kind
from .terminal.harmless import harmless

__all__ = ["Part", "cut_short", "in_words", "refused", "words_of"]

MOST_LINES: Final = 60  # of an answer; two screens
MOST_CHARACTERS: Final = 6_000  # of an answer; as much again, if its lines are long
ONE_LINE: Final = 100  # characters of fields that are not spread over several lines
TOLD: Final = 5  # refusals or dead letters told one by one; with more of them something else is wrong


@final
@dataclass(frozen=True, slots=True)
class Part:
    """One thing to show."""

    text: str
    kind: Kind = Kind.ANSWER


def in_words(payload: object, table: FieldTable) -> str:
    """A payload: its text, if it has that field only; else its class and its fields, or its XML."""
    fields = table.write(payload)
    if fields is None:
        return harmless(encode(payload))
    if len(fields) == 1:
        (only,) = fields.values()
        if isinstance(only, str):
            return harmless(only)
    name = type(payload).__name__
    text = json.dumps(fields, ensure_ascii=False)
    if len(text) > ONE_LINE:
        text = json.dumps(fields, ensure_ascii=False, indent=2)
    return harmless(f"{name} {text}")


def cut_short(text: str) -> str | None:
    """The beginning of a text that is too long to be read as it comes, and how to see all; else None."""
    lines = text.split("\n", MOST_LINES)
    if len(text) <= MOST_CHARACTERS and len(lines) <= MOST_LINES:
        return None
    kept = "\n".join(lines[:MOST_LINES])[:MOST_CHARACTERS].rstrip()
    return f"{kept}\n… {len(text) - len(kept):,} more characters; /full shows all"


def words_of(outcome: Outcome) -> Iterator[Part]:
    """What there is to say of a message's end beside what was answered."""
    cause = outcome.cause
    if outcome.state is not ConversationState.COMPLETED and outcome.state is not ConversationState.REJECTED:
        state = outcome.state.value.replace("_", " ")
        yield Part(harmless(f"{state}: {cause.text}" if cause is not None else state), Kind.WRONG)
    yield from _rejections(outcome.rejections, within=outcome.state is not ConversationState.REJECTED)
    letters = [each for each in outcome.dead_letters if each.cause != cause]  # the same is not said twice
    for letter in letters[:TOLD]:
        told = (
            f"a message from {letter.from_listener} to {letter.to_listener} ended undelivered: {letter.cause}"
        )
        yield Part(harmless(told), Kind.WRONG)
    if len(letters) > TOLD:
        yield Part(f"and {len(letters) - TOLD} more undelivered", Kind.WRONG)


def refused(faults: Iterable[Fault]) -> Iterator[Part]:
    """What never became a message, and why."""
    for fault in list(faults)[:TOLD]:
        yield Part(harmless(f"not sent: {fault}"), Kind.WRONG)


def _rejections(huhs: tuple[Huh, ...], *, within: bool) -> Iterator[Part]:
    what = "refused within the conversation" if within else "refused"
    for huh in huhs[:TOLD]:
        told = f"{what} ({huh.code}): {huh.path}: found {huh.found}, expected {huh.expected}"
        yield Part(harmless(told), Kind.NOTICE if within else Kind.WRONG)
    if len(huhs) > TOLD:
        yield Part(f"and {len(huhs) - TOLD} more refused", Kind.NOTICE if within else Kind.WRONG)
