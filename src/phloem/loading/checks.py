"""An OrganismConfig -> the same one, checked as a whole and with its import paths resolved.

Decides what makes an organism that can be opened: every value in range, every name free,
every peer there, every class a payload, every handler callable. Reads no file; where a
fault is said to be is the report's business. ``resolve`` and ``load_config`` call it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from typing import Any, Final, cast

from phloem.config import (
    Budgets,
    EventLimits,
    ListenerConfig,
    MemoryLimits,
    OrganismConfig,
    WireLimits,
)
from phloem.messages import SERVICES

from .agents import check_agent, check_costs
from .imports import Importer
from .keys import (
    BUDGETS,
    EVENTS,
    LIMITS,
    LISTENER,
    LISTENER_BUDGETS,
    MEMORY,
    ORGANISM,
    SETTINGS,
)
from .listeners import resolve_handler, resolve_payloads, resolve_responses
from .llm import checked_llm
from .names import listener_name_problem
from .pipeline import checked_pipeline
from .report import Path, Report, closest, quoted, suggesting
from .rules import shown, tell
from .sections import Keys
from .sources import check_egress, check_sources

_PATHS: Final = frozenset({"payload_class", "handler", "responds_with"})  # resolved, not only checked


def checked(config: OrganismConfig, report: Report, importer: Importer) -> OrganismConfig:
    """The resolved configuration; only worth something if nothing was reported."""
    for key, row in SETTINGS.items():
        path: Path = ("organism", key) if key in ORGANISM else (key,)
        value = getattr(config, row.field)
        left_out = key == "identity" and value == "" and key not in config.declared
        if left_out or path in report.broken:
            continue
        row.rule.check(value, path, report)
    _check_attributes(config.budgets, Budgets, BUDGETS, ("budgets",), report)
    _check_attributes(config.wire, WireLimits, LIMITS, ("limits",), report)
    _check_attributes(config.memory, MemoryLimits, MEMORY, ("memory",), report)
    _check_attributes(config.events, EventLimits, EVENTS, ("events",), report)
    llm_config, models = checked_llm(config.llm_config, report, importer)
    listeners = _listeners_of(config, report)
    egress = _folded_names(config.egress)
    resolved: list[ListenerConfig] = []
    for index, listener in listeners:
        place: Path = ("listeners", index)
        resolved.append(_listener(listener, place, report, importer))
        check_agent(listener, place, models, egress, report)
    check_costs(config.budgets, listeners, models, report)
    _check_names(listeners, report)
    # Whether they are allowed is not known where that key is broken, and nothing follows from it.
    lenient = config.allow_unknown_peers is True or ("allow_unknown_peers",) in report.broken
    _check_peers(listeners, lenient, report)
    names = {name: listener.name for _, listener in listeners if (name := _folded(listener))}
    check_sources(config.sources, names, report)
    check_egress(config.egress, names, report)
    return replace(
        config,
        listeners=tuple(resolved),
        llm_config=llm_config,
        pipeline=checked_pipeline(config.pipeline, names, report, importer),
    )


def _listeners_of(config: OrganismConfig, report: Report) -> list[tuple[int, ListenerConfig]]:
    given: Any = config.listeners
    if isinstance(given, str) or not isinstance(given, Sequence):
        report.add(("listeners",), f"{shown(given)} as listeners", "a list of ListenerConfig")
        return []
    found: list[tuple[int, ListenerConfig]] = []
    for index, listener in enumerate(cast("Sequence[object]", given)):
        if isinstance(listener, ListenerConfig):
            found.append((index, listener))
        else:
            report.add(("listeners", index), f"{shown(listener)} as a listener", "a ListenerConfig")
    return found


def _folded_names(names: object) -> frozenset[str]:
    """Those of a list that may still be none: its own check tells that."""
    given = cast("Sequence[object]", names) if isinstance(names, (list, tuple)) else ()
    return frozenset(name.casefold() for name in given if isinstance(name, str))


def _check_attributes(value: object, kind: type, keys: Keys, path: Path, report: Report) -> None:
    if not isinstance(value, kind):
        tell(report, path, shown(value), f"a {kind.__name__}")
        return
    for key, row in keys.items():
        if (*path, key) not in report.broken:
            row.rule.check(getattr(value, row.field), (*path, key), report)


def _listener(listener: ListenerConfig, path: Path, report: Report, importer: Importer) -> ListenerConfig:
    for key, row in LISTENER.items():
        place = (*path, key)
        if key not in _PATHS and key != "budgets" and place not in report.broken:
            row.rule.check(getattr(listener, row.field), place, report)
    if listener.budgets is not None:
        _check_attributes(listener.budgets, Budgets, LISTENER_BUDGETS, (*path, "budgets"), report)
        _check_only_own_budgets(listener.budgets, (*path, "budgets"), report)
    _check_usage(listener, path, report)
    peers: Any = listener.peers
    return replace(
        listener,
        payload_class=resolve_payloads(listener, (*path, "payload_class"), report, importer),
        handler=resolve_handler(listener, (*path, "handler"), report, importer),
        responds_with=resolve_responses(listener, (*path, "responds_with"), report, importer),
        peers=tuple(cast("Sequence[str]", peers)) if isinstance(peers, (list, tuple)) else peers,
    )


def _check_only_own_budgets(budgets: object, path: Path, report: Report) -> None:
    if isinstance(budgets, Budgets):
        for field in fields(Budgets):
            if field.name not in LISTENER_BUDGETS and getattr(budgets, field.name) is not None:
                known = ", ".join(LISTENER_BUDGETS)
                report.add(path, f"{field.name} in a listener's budgets", f"nothing but {known}")


def _check_usage(listener: ListenerConfig, path: Path, report: Report) -> None:
    """Only agents are told how to use their peers: from others the key would do nothing, unseen."""
    broken = not report.broken.isdisjoint(((*path, "usage"), (*path, "agent")))
    if listener.usage is not None and not listener.is_agent and not broken:
        report.add((*path, "usage"), "usage on a listener that is no agent", "agent: true")


def _folded(listener: ListenerConfig) -> str:
    """The name without case; empty if there is none to speak of."""
    name = cast("object", listener.name)
    return name.casefold() if isinstance(name, str) else ""


def _check_names(listeners: Sequence[tuple[int, ListenerConfig]], report: Report) -> None:
    """Each name once, case aside; broadcast twins share one if all of them say so."""
    by_name: dict[str, list[tuple[int, ListenerConfig]]] = {}
    for index, listener in listeners:
        if name := _folded(listener):
            by_name.setdefault(name, []).append((index, listener))
    for twins in by_name.values():
        if all(listener.broadcast is True for _, listener in twins):
            _check_services(twins, report)
            continue
        for index, listener in twins[1:]:
            report.add(
                ("listeners", index, "name"),
                f"the name {quoted(listener.name)} a second time (first: listener number {twins[0][0] + 1})",
                "a name of its own, or broadcast: true on all listeners of that name",
            )


def _check_services(twins: Sequence[tuple[int, ListenerConfig]], report: Report) -> None:
    """Twins are addressed by one name: all of them are for everyone, or none is."""
    for index, listener in twins[1:]:
        path: Path = ("listeners", index, "service")
        if listener.service != twins[0][1].service and path not in report.broken:
            first = f"(first: listener number {twins[0][0] + 1})"
            found = f"service: {str(listener.service).lower()} on a twin of one that says otherwise {first}"
            report.add(path, found, "the same on all listeners of that name")


def _check_peers(listeners: Sequence[tuple[int, ListenerConfig]], lenient: bool, report: Report) -> None:
    """Each peer a listener or a service, once; ``lenient`` takes any name that a listener could have."""
    names = {name: listener.name for _, listener in listeners if (name := _folded(listener))}
    names |= {service.casefold(): service for service in SERVICES}
    for index, listener in listeners:
        path: Path = ("listeners", index, "peers")
        peers: Any = listener.peers
        if path in report.broken or not isinstance(peers, (list, tuple)):
            continue
        seen: set[str] = set()
        for number, peer in enumerate(cast("Sequence[object]", peers)):
            if not isinstance(peer, str) or not peer:
                continue  # reported as no text
            place = (*path, number)
            if peer.casefold() not in names and (not lenient or listener_name_problem(peer) is not None):
                _tell_unknown(peer, place, lenient, names.values(), report)
            elif peer.casefold() in seen:
                report.add(place, f"the peer {quoted(peer)} a second time", "each peer once")
            seen.add(peer.casefold())


def _tell_unknown(peer: str, path: Path, lenient: bool, known: Collection[str], report: Report) -> None:
    wrong = listener_name_problem(peer)
    if lenient and wrong is not None:
        found, expected = wrong
        tell(report, path, found, suggesting(expected, peer, known))
        return
    expected = "the name of a listener"
    if closest(peer, known) is None and wrong is None:  # nothing near it: perhaps no slip
        expected += ", or allow_unknown_peers: true"
    report.add(path, f"the unknown peer {quoted(peer)}", suggesting(expected, peer, known))
