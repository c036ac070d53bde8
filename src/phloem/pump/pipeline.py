"""The pipeline as its users see and edit it: a table of steps in running order.

Decides what may stand where: a step fits if it takes what the step before it gives, and what makes
phloem phloem cannot be taken out. Refuses when the table is built, with the types. Runs nothing:
``flow`` and ``gates`` carry out what was put in. Immutable; one may serve any number of organisms.

    admit     Incoming  -> Incoming     a seat for whoever comes from outside
    parse     Incoming  -> Document     strict XML
    repair    Document  -> Document     what reads one way only is mended, and told
    envelope  Document  -> Opened       the envelope's XSD; claims are set aside
    extract   Opened    -> Part         one for each payload
    thread    Part      -> Part         what handlers and objects send enters here
    route     Part      -> Addressed    one for each listener
    validate  Addressed -> Addressed    the listener's XSD
    decode    Addressed -> Message      a fresh object; from here on it is in the books
    dispatch  Message   -> Returned     the handler, within its limits
    replies   Returned  -> Part         what it sends, from ``thread`` on
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, cast, final

from phloem.config import StepConfig
from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.messages import DeadLetter
from phloem.wire.parsing import quoted
from phloem.wire.text import shown

from .items import Addressed, Document, Incoming, Message, Opened, Part, Returned
from .ready_made import (
    Branch,
    Limit,
    Pace,
    Rate,
    Step,
    branch,
    deadline,
    drop_if,
    expand,
    limit,
    name_of,
    pace,
    rate,
    reject_if,
    sample,
    takes,
    tap,
    transform,
)

__all__ = ["STEPS", "Pipeline", "Placed", "Row"]


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One of phloem's own steps. ``fixed``: why it stays as it is; "" for one that may be replaced."""

    name: str
    takes: type
    gives: type
    fixed: str = ""


_SEATS: Final = "each message in the books has a seat: that is what bounds memory"
_CHECKED: Final = "a pipeline without validation is not phloem"
_STAMPED: Final = "nobody but the pump says on whose thread a message is"

STEPS: Final = (
    Row("admit", Incoming, Incoming, _SEATS),
    Row("parse", Incoming, Document),
    Row("repair", Document, Document),
    Row("envelope", Document, Opened, _CHECKED),
    Row("extract", Opened, Part),
    Row("thread", Part, Part, _STAMPED),
    Row("route", Part, Addressed, _CHECKED),
    Row("validate", Addressed, Addressed, _CHECKED),
    Row("decode", Addressed, Message, _CHECKED),
    Row("dispatch", Message, Returned),
    Row("replies", Returned, Part, _CHECKED),
)
_NAMES: Final = tuple(row.name for row in STEPS)
_ROWS: Final = MappingProxyType({row.name: row for row in STEPS})
_WAITING: Final = ("admit", "parse", "dispatch")  # before these one may wait: nothing is held up there
MAKERS: Final[MappingProxyType[str, Callable[..., Step]]] = MappingProxyType(
    {
        maker.__name__: maker
        for maker in (
            tap,
            sample,
            reject_if,
            drop_if,
            transform,
            expand,
            branch,
            limit,
            pace,
            rate,
            deadline,
        )
    }
)


@final
@dataclass(frozen=True, slots=True)
class Placed:
    """A user's step in its place: on one side of one of phloem's own. ``name`` is unique."""

    step: Step
    at: str
    before: bool
    name: str

    @property
    def place(self) -> str:
        """As a sentence has it."""
        return f"{'before' if self.before else 'after'} {self.at}"


@final
@dataclass(frozen=True, slots=True)
class Pipeline:
    """The steps of an organism, edited. ``str()`` is the table.

    Each edit gives a new pipeline and raises ConfigurationError for one that does not fit.
    """

    placed: tuple[Placed, ...] = ()  # in running order
    replaced: tuple[tuple[str, Callable[..., Any]], ...] = ()
    removed: frozenset[str] = frozenset()

    @classmethod
    def default(cls) -> Pipeline:
        """phloem's own steps and nothing else."""
        return cls()

    @classmethod
    def of(cls, edits: Sequence[StepConfig]) -> Pipeline:
        """The default one with these edits, in their order."""
        pipeline = cls()
        for edit in edits:
            pipeline = pipeline.apply(edit)
        return pipeline

    def after(self, at: str, step: Step, *, name: str = "") -> Pipeline:
        """The same with ``step`` behind the step ``at`` (and what was put there before)."""
        return self._put(at, step, name, before=False)

    def before(self, at: str, step: Step, *, name: str = "") -> Pipeline:
        """The same with ``step`` right before the step ``at``."""
        return self._put(at, step, name, before=True)

    def replace(self, at: str, function: Callable[..., Any] | Step) -> Pipeline:
        """The same with another step in the place of ``at``.

        A user's own step is replaced by another. Of phloem's: ``parse`` by ``fn(incoming)``, which gives
        XML as text or bytes; ``repair`` by ``fn(document)``, which gives the mended text or, where there
        is nothing to mend, None; ``extract`` by ``fn(opened)``, which gives the XML of each payload;
        ``dispatch`` by ``async fn(message, call)``, which awaits ``call()`` for what the handler returns.
        What they give passes everything that follows, strict parser and contract included.
        """
        own = self._own(at)
        if own is not None:
            if not isinstance(function, Step):
                raise _fault(f"replace({at!r})", _shown(function), "a step such as tap(fn)")
            _check_fits(function, own.at, own.before)
            rows = tuple(replace(each, step=function) if each is own else each for each in self.placed)
            return replace(self, placed=rows)
        row = self._row(at, "replace")
        if row.fixed:
            raise _fault(f"replace({at!r})", f"the step {at}", f"it left as it is: {row.fixed}")
        if isinstance(function, Step) or not callable(cast("object", function)):
            types = f"{row.takes.__name__} -> {row.gives.__name__}"
            raise _fault(f"replace({at!r})", _shown(function), f"a function that does its work: {types}")
        if at == "dispatch" and not inspect.iscoroutinefunction(function):
            raise _fault(f"replace({at!r})", _shown(function), "async def fn(message, call)")
        count = 2 if at == "dispatch" else 1
        if not takes(function, count):
            arguments = "two arguments, the message and call" if count == 2 else "one argument, the item"
            raise _fault(f"replace({at!r})", _shown(function), f"a function of {arguments}")
        kept = tuple(each for each in self.replaced if each[0] != at)
        return replace(self, replaced=(*kept, (at, function)), removed=self.removed - {at})

    def without(self, at: str) -> Pipeline:
        """The same without the step ``at``: a user's own, or one of phloem's that nothing rests on.

        Without ``repair``, what is not strict is refused.
        """
        own = self._own(at)
        if own is not None:
            return replace(self, placed=tuple(each for each in self.placed if each is not own))
        row = self._row(at, "without")
        if row.fixed:
            raise _fault(f"without({at!r})", f"the step {at}", f"it left where it is: {row.fixed}")
        if row.takes is not row.gives:
            following = _NAMES[_NAMES.index(at) + 1]
            takes = _ROWS[following].takes.__name__
            found = f"{row.takes.__name__} for {following}, which takes {takes}"
            raise _fault(f"without({at!r})", found, "a step that gives what it takes")
        kept = tuple(each for each in self.replaced if each[0] != at)
        return replace(self, removed=self.removed | {at}, replaced=kept)

    def apply(self, edit: StepConfig) -> Pipeline:
        """The same with an edit as a file declares it, its functions found."""
        if edit.edit == "without":
            return self.without(edit.at)
        if edit.edit == "replace":
            return self.replace(edit.at, edit.arguments["by"])
        if edit.edit not in ("after", "before"):
            raise _fault("edit", quoted(edit.edit), "after, before, replace or without")
        maker = MAKERS.get(edit.kind)
        if maker is None:
            raise _fault(f"{edit.edit} {edit.at}", quoted(edit.kind), f"one of {', '.join(MAKERS)}")
        step = maker(**edit.arguments)
        return self._put(edit.at, step, edit.name, before=edit.edit == "before")

    def at(self, name: str, *, before: bool) -> tuple[Placed, ...]:
        """The users' steps on one side of one of phloem's, in running order."""
        return tuple(each for each in self.placed if each.at == name and each.before is before)

    def replacement(self, name: str) -> Callable[..., Any] | None:
        """What stands in the place of one of phloem's steps, if anything does."""
        return dict(self.replaced).get(name)

    @property
    def is_default(self) -> bool:
        """Nothing was edited."""
        return not (self.placed or self.replaced or self.removed)

    def __str__(self) -> str:
        lines: list[tuple[str, str, str]] = []
        for row in STEPS:
            lines += [(each.name, row.takes.__name__, "") for each in self.at(row.name, before=True)]
            by = self.replacement(row.name)
            if row.name not in self.removed:
                name = row.name if by is None else f"{row.name} (replaced by {_shown(by)})"
                lines.append((name, row.takes.__name__, row.gives.__name__))
            lines += [(each.name, row.gives.__name__, "") for each in self.at(row.name, before=False)]
        wide = max(len(name) for name, _, _ in lines)
        return "\n".join(
            f"{name:<{wide}}  {takes:<9}{f' -> {gives}' if gives else ''}".rstrip()
            for name, takes, gives in lines
        )

    def _put(self, at: str, step: Step, name: str, *, before: bool) -> Pipeline:
        if not isinstance(cast("object", step), Step):
            where = f"{'before' if before else 'after'}({at!r})"
            raise _fault(where, _shown(step), f"a step: {', '.join(MAKERS)}")
        neighbour = self._own(at)
        own_at, own_before = at, before
        if neighbour is not None:
            own_at, own_before = neighbour.at, neighbour.before
        else:
            self._row(at, "before" if before else "after")
        _check_fits(step, own_at, own_before)
        placed = Placed(step, own_at, own_before, self._free_name(name, step))
        rows = list(self.placed)
        if neighbour is not None:
            rows.insert(rows.index(neighbour) + (not before), placed)
        else:
            rows.append(placed)
        return replace(self, placed=tuple(rows))

    def _free_name(self, name: str, step: Step) -> str:
        taken = {*_NAMES, *(each.name for each in self.placed)}
        if not isinstance(cast("object", name), str):
            raise _fault("name", _shown(name), "a text")
        if name:
            if name in taken:
                raise _fault("name", quoted(name), "a name that no other step has")
            return name
        name = name_of(step)
        numbers = (f"{name}#{number}" for number in range(2, len(taken) + 2))
        return name if name not in taken else next(each for each in numbers if each not in taken)

    def _own(self, name: str) -> Placed | None:
        return next((each for each in self.placed if each.name == name), None)

    def _row(self, name: str, edit: str) -> Row:
        row = _ROWS.get(name) if isinstance(cast("object", name), str) else None
        if row is None or name in self.removed:
            names = [*(each for each in _NAMES if each not in self.removed), *(p.name for p in self.placed)]
            near = get_close_matches(str(name), names, n=1)
            more = f"; did you mean {quoted(near[0])}?" if near else ""
            raise _fault(
                f"{edit}({name!r})", f"no step {quoted(str(name))}", f"one of {', '.join(names)}{more}"
            )
        return row


def _check_fits(step: Step, at: str, before: bool) -> None:
    """Raise for a step that does not take what passes there."""
    row = _ROWS[at]
    there = row.takes if before else row.gives
    side = "before" if before else "after"
    takes: Sequence[type] = step.takes
    if isinstance(step, Branch):
        dead = (at, before) in (("dispatch", False), ("replies", True))
        there = DeadLetter if dead else there
    if there not in takes:
        names = " or ".join(each.__name__ for each in takes)
        found = f"{name_of(step)}, which takes {names}"
        raise _fault(f"{side} {at}", found, f"a step that takes {there.__name__}")
    if isinstance(step, Limit | Pace | Rate):
        index = _NAMES.index(at) + (not before)
        if _NAMES[index] not in _WAITING:
            found = f"{name_of(step)}, which may wait"
            raise _fault(
                f"{side} {at}", found, f"it before {', '.join(_WAITING)}: {_NAMES[index]} never waits"
            )


def _shown(thing: object) -> str:
    name = getattr(thing, "__qualname__", None)
    return name if isinstance(name, str) else shown(thing)


def _fault(where: str, found: str, expected: str) -> ConfigurationError:
    return ConfigurationError([ConfigurationFault(f"pipeline: {where}", found, expected)])
