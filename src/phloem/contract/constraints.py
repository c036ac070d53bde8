"""What ``Annotated`` says about a field: bounds, lengths, a pattern, a line of documentation.

Decides which metadata is understood, by its attributes and never by importing its
library: annotated-types' ``Ge``, ``Interval``, ``Len`` …, ``typing_extensions.Doc``, and
phloem's own ``Pattern`` and ``Doc``. A constraint that no XSD facet can say is refused;
metadata that is no constraint at all is somebody else's and left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, final

from .patterns import BadPattern, translate

__all__ = ["NO_FACETS", "Doc", "Facets", "Pattern", "Unsupported", "read_metadata"]


@final
@dataclass(frozen=True, slots=True)
class Doc:
    """``Annotated[str, Doc("The city, in English")]``: reaches the XSD and the words for a model."""

    documentation: str


@final
@dataclass(frozen=True, slots=True)
class Pattern:
    """``Annotated[str, Pattern("[A-Z]{3}")]``: the full text must match; see ``patterns`` for the subset."""

    pattern: str


@final
class Unsupported(Exception):
    """A type or constraint no payload can have. ``instead`` says what to use."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(f"{what}; {instead}")


@final
@dataclass(frozen=True, slots=True)
class Facets:
    """All constraints of one type together. None: not constrained."""

    ge: Any = None
    gt: Any = None
    le: Any = None
    lt: Any = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None  # as written
    regex: re.Pattern[str] | None = None
    xsd_pattern: str | None = None
    doc: str = ""

    @property
    def bounded(self) -> bool:
        return not (self.ge is None and self.gt is None and self.le is None and self.lt is None)

    @property
    def sized(self) -> bool:
        return not (self.min_length is None and self.max_length is None)

    @property
    def any(self) -> bool:
        return self.bounded or self.sized or self.pattern is not None

    def words(self) -> tuple[str, ...]:
        """What is asked of a value, as words a reader can follow."""
        said = [
            f"{text} {bound}"
            for text, bound in (
                ("at least", self.ge),
                ("more than", self.gt),
                ("at most", self.le),
                ("less than", self.lt),
                ("length at least", self.min_length),
                ("length at most", self.max_length),
                ("matching", self.pattern),
            )
            if bound is not None
        ]
        return tuple(said)


NO_FACETS: Final = Facets()

_UNSAYABLE: Final = {  # attribute of a constraint that XSD cannot say -> its name
    "multiple_of": "MultipleOf",
    "func": "Predicate",
    "tz": "Timezone",
}
_BOUNDS: Final = ("ge", "gt", "le", "lt")


def read_metadata(metadata: Iterable[object], base: Facets = NO_FACETS) -> Facets:
    """The facets of ``base`` narrowed by the metadata of one ``Annotated``; raises ``Unsupported``."""
    facets = base
    for item in metadata:
        if isinstance(getattr(item, "metadata", None), list):  # pydantic's Field(...) keeps its parts there
            facets = read_metadata(item.metadata, facets)  # type: ignore[attr-defined] # duck typing
        facets = _narrowed(facets, item)
    return facets


def _narrowed(facets: Facets, item: Any) -> Facets:
    for attribute, name in _UNSAYABLE.items():
        if getattr(item, attribute, None) is not None and type(item).__name__ in (name, "Not"):
            raise Unsupported(f"the constraint {name}", "check it in __post_init__ by raising ValueError")
    for bound in _BOUNDS:
        wanted = getattr(item, bound, None)
        if wanted is not None:
            facets = replace(facets, **{bound: _stricter(bound, getattr(facets, bound), wanted)})
    for length, bound in (("min_length", "ge"), ("max_length", "le")):
        wanted = getattr(item, length, None)
        if wanted is None or (length == "min_length" and wanted == 0):
            continue
        if type(wanted) is not int or wanted < 0:
            raise Unsupported(f"a {length} of {wanted!r}", "use a whole number from 0")
        facets = replace(facets, **{length: _stricter(bound, getattr(facets, length), wanted)})
    held: Any = getattr(item, "pattern", None)
    pattern = getattr(held, "pattern", held)  # some keep it compiled
    if isinstance(pattern, str):
        if any(getattr(each, "flags", 0) & ~re.UNICODE for each in (item, held)):
            raise Unsupported("a compiled pattern with flags", "use Pattern(...) and spell both cases out")
        if facets.pattern is not None:
            raise Unsupported("a second pattern", "join both into one")
        try:
            regex, xsd_pattern = translate(pattern)
        except BadPattern as error:
            raise Unsupported(
                f"the pattern {pattern[:60]!r}: {error}", "see phloem.contract.patterns"
            ) from None
        facets = replace(facets, pattern=pattern, regex=regex, xsd_pattern=xsd_pattern)
    documentation = getattr(item, "documentation", None)
    if isinstance(documentation, str):
        facets = replace(facets, doc=documentation)
    return facets


def _stricter(bound: str, known: Any, wanted: Any) -> Any:
    if known is None:
        return wanted
    return max(known, wanted) if bound.startswith("g") else min(known, wanted)
