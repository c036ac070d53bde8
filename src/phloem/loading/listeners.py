"""What a listener names: its payload classes, its answers, its handler.

Decides what is a payload class and what is a handler, and says of each that is none why.
Builds no contract of its own (``phloem.contract`` does) and calls no handler. ``checks``
calls it, once per listener.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

from phloem.config import AnyHandler, ListenerConfig
from phloem.contract import contract_of
from phloem.errors import ContractError
from phloem.pump.calling import has_generator, is_async, wants_host

from .agents import is_driven
from .imports import Importer
from .report import Path, Report, quoted
from .rules import shown

_A_CLASS = "a payload class: a dataclass, or a class with xsd() and xml_value()"
_A_HANDLER = "async def or def handler(payload, metadata)"
_NO_HANDLER = f"{_A_HANDLER}, or agent: true, which lets a model answer"
_FOR_HOST = (
    "async def handler(payload, metadata), which is awaited there; without it, a worker thread runs it"
)


def resolve_payloads(
    listener: ListenerConfig, path: Path, report: Report, importer: Importer
) -> tuple[type, ...] | None:
    """The listener's payload classes; every fault is reported, and None says there were only faults."""
    if path in report.broken:
        return None
    given, path_given = cast("Any", listener.payload_class), cast("Any", listener.payload_class_path)
    if given is None and not path_given:
        report.add(path, "no payload_class", _A_CLASS)
        return None
    classes = _classes(given, path_given, path, report, importer)
    if classes == () and not (given or path_given):
        report.add(path, "an empty list as payload_class", _A_CLASS)
    return classes or None


def resolve_responses(
    listener: ListenerConfig, path: Path, report: Report, importer: Importer
) -> tuple[type, ...] | None:
    """The classes it may answer with at the root, or None: its answer's own class is enough."""
    given, path_given = cast("Any", listener.responds_with), cast("Any", listener.responds_with_path)
    if path in report.broken:
        return None
    if given is None and path_given == "":
        return None
    if (path_given if given is None else given) in ([], ()):
        if listener.is_agent is True and listener.handler is None and not listener.handler_path:
            return ()  # it sends, and leaves responding to others
        report.add(path, "an empty list as responds_with", "a class, or the key left out")
        return None
    return _classes(given, path_given, path, report, importer) or None


def resolve_handler(
    listener: ListenerConfig, path: Path, report: Report, importer: Importer
) -> AnyHandler | None:
    """The listener's handler as it was declared; None for an agent without, or once its fault is reported."""
    if path in report.broken or is_driven(listener):
        return None
    handler: Any = listener.handler
    name = ""
    if handler is None:
        name = cast("Any", listener.handler_path)
        if not isinstance(name, str) or not name:
            if (*path[:-1], "agent") in report.broken:
                return None  # an agent needs none
            report.add(path, "no handler" if name == "" else f"{shown(name)} as handler", _NO_HANDLER)
            return None
        handler = importer.find(name, path, report)
        if handler is None:
            return None
    problem = handler_problem(handler)
    if problem is not None:
        found, expected = problem
        report.add(path, f"{quoted(name or _name_of(handler))}, {found}", expected)
        return None
    if wants_host(handler, listener.runs_on) and not is_async(handler):
        found = f"{quoted(name or _name_of(handler))}, a plain function that is to run on the host"
        report.add(path, found, _FOR_HOST)
        return None
    return cast("AnyHandler", handler)


def handler_problem(handler: Any) -> tuple[str, str] | None:
    """(found, expected) if this is no handler, else None."""
    if isinstance(handler, type):
        return "a class", _A_HANDLER
    if not callable(handler):
        return f"{shown(handler)} that cannot be called", _A_HANDLER
    if generator := has_generator(handler):
        return generator, f"{_A_HANDLER} that returns its responses instead of yielding them"
    try:
        inspect.signature(handler).bind(None, None)
    except TypeError:
        return f"which takes {inspect.signature(handler)}", f"{_A_HANDLER}: two positional arguments"
    except ValueError:  # a callable without a signature to look at: its first call will tell
        return None
    return None


def _name_of(thing: object) -> str:
    return str(getattr(thing, "__qualname__", type(thing).__qualname__))


def _classes(given: Any, paths: Any, path: Path, report: Report, importer: Importer) -> tuple[type, ...]:
    """The classes, given or found by import path, of which none repeats another or its tag."""
    several = paths if given is None else given
    single = not isinstance(several, (list, tuple))
    found: list[type] = []
    for index, item in enumerate(cast("Sequence[object]", [several] if single else several)):
        place = path if single else (*path, index)
        name = ""
        if place in report.broken:
            continue
        if given is None:
            if not isinstance(item, str) or not item:
                report.add(place, f"{shown(item)} as an import path", "text such as handlers.hello.Greeting")
                continue
            name, item = item, importer.find(item, place, report)
            if item is None:
                continue
        problem = _class_problem(item, name, found)
        if problem is None:
            found.append(cast("type", item))
        else:
            report.add(place, *problem)
    return tuple(found)


def _class_problem(item: object, name: str, before: Sequence[type]) -> tuple[str, str] | None:
    label = quoted(name or _name_of(item))
    if not isinstance(item, type):
        what = "a function" if inspect.isroutine(item) else shown(item)
        return (f"{label}, {what}," if name else what), _A_CLASS
    if item in before:
        return f"{label} a second time", "each class once"
    try:
        tag = contract_of(item).tag
    except ContractError as error:
        return f"{label}, which cannot be a payload: {error}", _A_CLASS
    twin = next((other for other in before if contract_of(other).tag.casefold() == tag.casefold()), None)
    if twin is not None:
        found = f"{_full(item)}, which is <{tag}> on the wire, as {_full(twin)} is"
        return found, "classes whose tags differ by more than case"
    return None


def _full(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
