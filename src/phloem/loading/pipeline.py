"""``pipeline:`` -> the edits that a pipeline is changed by, read, resolved and checked.

Decides what an edit may say: one place, one step, that step's own arguments. What fits where
is the pipeline's own table to say: the edits are applied to a default one, one after the
other, and what it refuses is told where the file has it. Runs no step. ``reading`` and
``checks`` call it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from phloem.config import StepConfig
from phloem.errors import ConfigurationError
from phloem.pump.pipeline import STEPS, Pipeline

from .imports import Importer
from .keys import A_STEP, HOOK, PLACES, STEP_KINDS
from .report import FileReport, Path, Report, quoted, suggesting
from .rules import BROKEN, Choice, Rule, Text, shown, tell

__all__ = ["checked_pipeline", "read_edit"]

READY_MADE: Final = tuple(kind for kind in STEP_KINDS if kind != "by")
A_FUNCTION: Final = "a function, or anything else that can be called"


def read_edit(read: Any, path: Path, report: FileReport) -> StepConfig:
    """One edit as the file has it; a placeholder, broken as a whole, where nothing can follow from it."""
    if read is BROKEN:
        report.broken.add(path)
        return StepConfig(edit="", at="")
    entry = cast("dict[str, Any]", read)
    places = _given(PLACES, entry, path, report)
    kinds = _given(tuple(STEP_KINDS), entry, path, report)
    name = str(entry.get("name", ""))
    if not _is_one_edit(places, kinds, name, path, report):
        report.broken.add(path)
        return StepConfig(edit="", at="", name=name)
    kind = kinds[0] if kinds else ""
    arguments: dict[str, Any] = {}
    if kind in entry:
        own = STEP_KINDS[kind]
        arguments = dict(entry[kind]) if len(own) > 1 else {next(iter(own)): entry[kind]}
    hooks = {key for key in arguments if STEP_KINDS[kind][key].rule is HOOK}
    return StepConfig(
        edit=places[0],
        at=entry.get(places[0], ""),
        kind=kind,
        arguments={key: value for key, value in arguments.items() if key not in hooks},
        paths={key: str(arguments[key]) for key in arguments if key in hooks},
        name=name,
    )


def _given(keys: Sequence[str], entry: Mapping[str, Any], path: Path, report: Report) -> list[str]:
    """Which of these stand there; one whose value is broken does too."""
    return [key for key in keys if key in entry or (*path, key) in report.broken]


def _is_one_edit(places: Sequence[str], kinds: Sequence[str], name: str, path: Path, report: Report) -> bool:
    if len(places) != 1:
        report.add(path, _count(places, "a place"), f"one of {', '.join(PLACES)}, with the name of a step")
        return False
    (place,) = places
    if place == "without":
        beside = [*kinds, *(["name"] if name else [])]
        if beside:
            report.add((*path, beside[0]), f"{beside[0]} beside without", "without alone: it puts nothing in")
        return not beside
    expected = "by" if place == "replace" else f"one of {', '.join(READY_MADE)}"
    if len(kinds) != 1:
        report.add(path, _count(kinds, "a step"), f"{expected}, beside {place}")
        return False
    if (kinds[0] == "by") != (place == "replace"):
        report.add((*path, kinds[0]), f"{kinds[0]} beside {place}", expected)
        return False
    return True


def _count(keys: Sequence[str], what: str) -> str:
    return f"{' and '.join(keys)} in one edit" if keys else f"an edit without {what}"


def checked_pipeline(
    steps: object, listeners: Mapping[str, str], report: Report, importer: Importer
) -> tuple[StepConfig, ...]:
    """The edits with their import paths resolved; only worth something if nothing was reported.

    ``listeners``: the names there are, by themselves without case.
    """
    if ("pipeline",) in report.broken:
        return ()
    if isinstance(steps, str) or not isinstance(steps, Sequence):
        tell(report, ("pipeline",), shown(steps), "a list of StepConfig")
        return ()
    resolved: list[StepConfig] = []
    pipeline = Pipeline.default()
    missing: set[str] = set()  # names of edits that came to nothing; nothing is said of what stands on one
    for index, step in enumerate(cast("Sequence[object]", steps)):
        path: Path = ("pipeline", index)
        if not isinstance(step, StepConfig):
            tell(report, path, shown(step), "a StepConfig")
            continue
        found = None if path in report.broken else _checked(step, path, listeners, report, importer)
        applied = None
        if found is not None and found.at not in missing:
            applied = _applied(pipeline, found, path, report)
            resolved.append(found)
        if applied is not None:
            pipeline = applied
        elif step.name:
            missing.add(step.name)
    return tuple(resolved)


def _checked(
    step: StepConfig, path: Path, listeners: Mapping[str, str], report: Report, importer: Importer
) -> StepConfig | None:
    """The same with callables for import paths; None once a fault of it is reported."""
    told: tuple[tuple[str, Rule, object], ...] = (
        ("edit", Choice(PLACES), step.edit),
        (str(step.edit), A_STEP, step.at),
        ("name", Text("a name"), step.name),
    )
    for key, rule, value in told:
        if (*path, key) not in report.broken:
            rule.check(value, (*path, key), report)
    kinds = {"without": ("",), "replace": ("by",)}.get(step.edit, READY_MADE)
    if step.kind not in kinds:
        expected = "nothing" if kinds == ("",) else f"one of {', '.join(kinds)}"
        tell(report, (*path, "kind"), shown(step.kind), suggesting(expected, str(step.kind), kinds))
        return None
    own = STEP_KINDS.get(step.kind, {})
    for key in (*step.arguments, *step.paths):
        if key not in own:
            expected = f"nothing but {', '.join(own)}" if own else "none"
            tell(report, (*path, step.kind), f"the argument {quoted(str(key))}", expected)
    arguments = {
        key: _argument(step, key, row.rule, _place(path, step.kind, key), report, importer)
        for key, row in own.items()
    }
    if "to" in arguments:
        _check_target(arguments["to"], _place(path, step.kind, "to"), listeners, report)
    if any(broken[:2] == path for broken in report.broken):
        return None
    return replace(step, arguments=arguments)


def _place(path: Path, kind: str, key: str) -> Path:
    """Where an argument stands in a file: the only one of its step stands for the step."""
    return (*path, kind) if len(STEP_KINDS[kind]) == 1 else (*path, kind, key)


def _argument(step: StepConfig, key: str, rule: Rule, place: Path, report: Report, importer: Importer) -> Any:
    """One argument, resolved; whatever is wrong with it is reported, and its place is broken then."""
    if place in report.broken or place[:3] in report.broken:
        return None
    given = step.arguments.get(key)
    if given is None and key not in step.paths:
        report.broken.add(place)
        report.add(place, f"{step.kind} without {key}", f"{key}: {rule.expected}")
        return None
    if rule is not HOOK:
        rule.check(given, place, report)
        return given
    label = ""
    if given is None:
        label = step.paths[key]
        HOOK.check(label, place, report)
        if place in report.broken:
            return None
        given = importer.find(label, place, report)
        if given is None:
            report.broken.add(place)
            return None
    if not callable(given) and key != "by":  # which may be a step that Python made
        tell(report, place, f"{f'{quoted(label)}, ' if label else ''}{shown(given)}", A_FUNCTION)
    return given


def _check_target(to: object, place: Path, listeners: Mapping[str, str], report: Report) -> None:
    if isinstance(to, str) and to and to.casefold() not in listeners:
        expected = suggesting("the name of a listener", to, listeners.values())
        tell(report, place, f"the unknown listener {quoted(to)}", expected)


def _applied(pipeline: Pipeline, step: StepConfig, path: Path, report: Report) -> Pipeline | None:
    """The pipeline with this edit; None if it does not fit, which is told in the table's own words."""
    names = {row.name for row in STEPS if row.name not in pipeline.removed}
    names.update(placed.name for placed in pipeline.placed)
    try:
        return pipeline.apply(step)
    except ConfigurationError as error:
        for fault in error.faults:
            key = fault.where.rpartition(": ")[2]
            if step.at not in names:
                report.add((*path, step.edit), fault.found, fault.expected)
            elif key in STEP_KINDS.get(step.kind, {}):
                report.add(_place(path, step.kind, key), f"{fault.found} as {key}", fault.expected)
            else:
                report.add((*path, key) if key == "name" else path, fault.found, fault.expected)
        return None
