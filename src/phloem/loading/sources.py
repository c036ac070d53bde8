"""What comes in and goes out beside listeners: ``sources:``, ``egress:``, and who they speak of.

Decides whether a source can be read (from one place, under a name of its own, for somebody) and
whether an egress is a listener. Opens nothing: whoever runs the organism does. ``checks`` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from phloem.config import SourceConfig

from .keys import EGRESS, SOURCE
from .report import Path, Report, quoted, suggesting
from .rules import shown, tell

__all__ = ["check_egress", "check_sources"]

STDIN: Final = "-"
A_LISTENER: Final = "the name of a listener"


def check_sources(sources: object, listeners: Mapping[str, str], report: Report) -> None:
    """Report what is wrong with each. ``listeners``: the names there are, by themselves without case."""
    if ("sources",) in report.broken:
        return
    if isinstance(sources, str) or not isinstance(sources, Sequence):
        tell(report, ("sources",), shown(sources), "a list of SourceConfig")
        return
    names: dict[str, int] = {}
    stdin: list[int] = []
    for index, source in enumerate(cast("Sequence[object]", sources)):
        path: Path = ("sources", index)
        if path in report.broken:
            continue
        if not isinstance(source, SourceConfig):
            tell(report, path, shown(source), "a SourceConfig")
            continue
        for key, row in SOURCE.items():
            if (*path, key) not in report.broken:
                row.rule.check(getattr(source, row.field), (*path, key), report)
        if (*path, "name") not in report.broken:
            _check_name(source.name, (*path, "name"), listeners, names, report)
        _check_origin(source, path, stdin, report)
        _check_target(source, path, listeners, report)


def _check_name(
    name: str, path: Path, listeners: Mapping[str, str], names: dict[str, int], report: Report
) -> None:
    """What a source brings is from its name: of nobody else's."""
    first = names.setdefault(name.casefold(), int(path[1]) + 1)
    if name.casefold() in listeners:
        report.add(path, f"{quoted(name)}, which is a listener's name", "a name that no listener has")
    elif first != int(path[1]) + 1:
        found = f"the name {quoted(name)} a second time (first: source number {first})"
        report.add(path, found, "each source's own name")


def _check_origin(source: SourceConfig, path: Path, stdin: list[int], report: Report) -> None:
    if (*path, "path") in report.broken or any(broken[:3] == (*path, "command") for broken in report.broken):
        return
    if bool(source.path) == bool(source.command):
        found = "path and command in one source" if source.path else "a source without path or command"
        report.add(path, found, "either path or command")
    elif "\0" in source.path or any("\0" in word for word in source.command):
        report.add((*path, "path" if source.path else "command"), "the character U+0000", "text without it")
    elif source.path == STDIN:
        stdin.append(int(path[1]) + 1)
        if len(stdin) > 1:
            report.add((*path, "path"), f"stdin a second time (first: source number {stdin[0]})", "once")


def _check_target(source: SourceConfig, path: Path, listeners: Mapping[str, str], report: Report) -> None:
    if not {(*path, "to"), (*path, "framing")}.isdisjoint(report.broken):
        return
    if source.to and source.to.casefold() not in listeners:
        expected = suggesting(A_LISTENER, source.to, listeners.values())
        report.add((*path, "to"), f"the unknown listener {quoted(source.to)}", expected)
    elif source.framing == "xml" and source.to:
        found = f"{quoted(source.to)} as to, with framing xml"
        report.add((*path, "to"), found, "no to: each envelope says itself where it goes")
    elif source.framing == "lines" and not source.to:
        report.add(path, "no to, with framing lines", "to: the name of the listener that lines are for")


def check_egress(egress: object, listeners: Mapping[str, str], report: Report) -> None:
    """Report each name that no listener has, or that stands there twice."""
    if ("egress",) in report.broken:
        return
    EGRESS.check(egress, ("egress",), report)
    if ("egress",) in report.broken:
        return
    seen: set[str] = set()
    for index, name in enumerate(cast("Sequence[object]", egress)):
        path: Path = ("egress", index)
        if path in report.broken or not isinstance(name, str) or not name:
            continue
        if name.casefold() not in listeners:
            expected = suggesting(A_LISTENER, name, listeners.values())
            report.add(path, f"the unknown listener {quoted(name)}", expected)
        elif name.casefold() in seen:
            report.add(path, f"the listener {quoted(name)} a second time", "each listener once")
        seen.add(name.casefold())
