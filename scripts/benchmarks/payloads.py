"""What both pumps carry: a small payload of three scalars. The same class, so the same bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Ball:
    """Goes to and fro until ``left`` is 0."""

    left: int
    text: str = "a few words of text"
    fair: bool = True
