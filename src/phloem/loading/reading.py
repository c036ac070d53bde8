"""A YAML tree -> an OrganismConfig whose import paths are still text.

Decides which attribute each key becomes. Imports nothing of the user's and checks no
range: ``checks`` does, for configurations from Python as well. ``files`` calls it.
"""

from __future__ import annotations

from typing import Any, Final, cast

from phloem.config import (
    Budgets,
    EventLimits,
    ListenerConfig,
    MemoryLimits,
    OrganismConfig,
    SourceConfig,
    WireLimits,
)

from .keys import LISTENER, LISTENER_BUDGETS, SETTINGS, SOURCE, TOP
from .pipeline import read_edit
from .report import FileReport, Path
from .rules import BROKEN, tell
from .sections import Section
from .tree import Value

UNBUILT: Final = ("identity", "port")  # keys whose part is not built yet


def read_config(root: Value, report: FileReport) -> OrganismConfig:
    """The configuration as the file has it; what could not be read stands at its default."""
    report.places[()] = root.spot
    read = TOP.read(root, (), report)
    if read is BROKEN:
        return OrganismConfig()
    top = cast("dict[str, Any]", read)
    organism: dict[str, Any] = top.pop("organism", {})
    fields: dict[str, Any] = {
        SETTINGS[key].field: entry for key, entry in (organism | top).items() if key in SETTINGS
    }
    if "budgets" in top:
        fields["budgets"] = Budgets(**top["budgets"])
    if "limits" in top:
        fields["wire"] = WireLimits(**top["limits"])
    if "memory" in top:
        fields["memory"] = MemoryLimits(**top["memory"])
    if "events" in top:
        fields["events"] = EventLimits(**top["events"])
    if "llm" in top:
        fields["llm_config"] = top["llm"]
    if "egress" in top:
        fields["egress"] = top["egress"]
    fields["pipeline"] = tuple(
        read_edit(entry, ("pipeline", index), report)
        for index, entry in enumerate(cast("list[Any]", top.get("pipeline", [])))
    )
    fields["sources"] = tuple(
        _source(entry, ("sources", index), report)
        for index, entry in enumerate(cast("list[Any]", top.get("sources", [])))
    )
    fields["listeners"] = tuple(
        _listener(entry, ("listeners", index), report)
        for index, entry in enumerate(cast("list[Any]", top.get("listeners", [])))
    )
    fields["declared"] = frozenset(key for key in UNBUILT if key in organism or key in top)
    return OrganismConfig(**fields)


def _listener(read: Any, path: Path, report: FileReport) -> ListenerConfig:
    """One listener. Its name stays known where it is broken: others may speak of it."""
    if read is BROKEN:
        report.broken.update((*path, key) for key in LISTENER)
        return ListenerConfig("")
    entry = cast("dict[str, Any]", read)
    Section(LISTENER, "").missing(entry, path, report)
    report.broken.update((*path, key) for key in LISTENER if LISTENER[key].required and key not in entry)
    if entry.get("handler") == "":  # an agent may do without the key, which an empty one is not
        tell(report, (*path, "handler"), "an empty text", LISTENER["handler"].rule.expected)
    fields: dict[str, Any] = {"name": ""} | {LISTENER[key].field: value for key, value in entry.items()}
    if "budgets" in fields:
        fields["budgets"] = Budgets(
            **{LISTENER_BUDGETS[key].field: n for key, n in fields["budgets"].items()}
        )
    return ListenerConfig(**fields)


def _source(read: Any, path: Path, report: FileReport) -> SourceConfig:
    """One source; broken as a whole where it is no mapping."""
    if read is BROKEN:
        report.broken.add(path)
        return SourceConfig(name="")
    entry = cast("dict[str, Any]", read)
    Section(SOURCE, "").missing(entry, path, report)
    if "name" not in entry:
        report.broken.add((*path, "name"))
    fields: dict[str, Any] = {"name": ""} | {SOURCE[key].field: value for key, value in entry.items()}
    return SourceConfig(**fields)
