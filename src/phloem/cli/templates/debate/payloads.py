"""What the three say to each other. Nobody here has a handler: a model reads and writes these."""

from dataclasses import dataclass
from typing import Annotated, Literal

from phloem import Doc, Pattern

Claim = Annotated[str, Pattern(r"\S.{0,299}"), Doc("a claim, in one line of at most 300 characters")]


@dataclass
class Motion:
    text: Claim


@dataclass
class Side:
    motion: Claim
    other_side: Annotated[str, Doc("what the other side has said; empty in the first round")]


@dataclass
class Argument:
    text: Annotated[str, Doc("at most three sentences")]


@dataclass
class Verdict:
    winner: Literal["optimist", "skeptic"]
    why: Annotated[str, Doc("what decided, in at most three sentences")]
