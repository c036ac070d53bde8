"""The ``llm`` section as a whole: its import paths resolved, its names unique, its keys there.

Decides which backends need a key and what is told where one is missing; the key itself is never quoted,
kept or handed on. Which model a backend takes is the router's to say, not known here. Opens nothing.
``checks`` and ``files`` call it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, Final, cast, final
from urllib.parse import urlsplit

from .imports import Importer
from .llm_keys import LLM_SECTION, is_backend, is_path
from .report import Path, Report, quoted
from .rules import BROKEN, shown

__all__ = ["Dotenv", "Models", "check_api_keys", "checked_llm"]

KEY_VARIABLES: Final[Mapping[str, str]] = {  # of providers of ours that need a key, unless api_key_env says
    "xai": "XAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
}
OPENAI: Final = "api.openai.com"
A_MAKER: Final = "a function that makes a backend, or an object with async complete(request)"
A_SCRIPT: Final = "a function of the request"

_BACKENDS: Final[Path] = ("llm", "backends")


@final
@dataclass(frozen=True, slots=True)
class Dotenv:
    """A ``.env`` as it was read, without its values. ``names``: whether there is one to each."""

    file: FilePath
    found: bool = False
    names: Mapping[str, bool] = field(default_factory=dict[str, bool])


@final
@dataclass(frozen=True, slots=True)
class Models:
    """What listeners need to know of the section. A part that was reported is None: nothing follows."""

    backends: int | None
    default: str | None
    prices: frozenset[str] | None

    def has_price(self, model: str) -> bool:
        """Whether it is priced, by its name or by what stands behind a backend's; ``*`` is any text."""
        names = [name.casefold() for name in (model, model.partition("/")[2]) if name]
        patterns = [
            re.compile(".*".join(map(re.escape, each.casefold().split("*")))) for each in self.prices or ()
        ]
        return self.prices is None or any(each.fullmatch(name) for each in patterns for name in names)


def checked_llm(section: Any, report: Report, importer: Importer) -> tuple[Any, Models]:
    """The section with factories and functions for their import paths, and what listeners need of it."""
    if ("llm",) in report.broken:
        return section, Models(None, None, None)
    LLM_SECTION.check(section, ("llm",), report)
    if not isinstance(section, Mapping):
        return section, Models(None, None, None)
    given = cast("Mapping[str, Any]", section)
    entries = [] if _BACKENDS in report.broken else list(_entries(given))
    resolved = {index: _resolved(entry, (*_BACKENDS, index), report, importer) for index, entry in entries}
    _check_names(entries, report)
    count = len(given.get("backends", ())) if _BACKENDS not in report.broken else None
    default = given.get("default_model", "")
    if ("llm", "default_model") in report.broken:
        default = None
    elif default and count == 0:
        report.add(("llm", "default_model"), f"{quoted(default)} without a backend", "backends: that take it")
    prices = None if ("llm", "prices") in report.broken else frozenset(given.get("prices", ()))
    if any(resolved[index] is not entry for index, entry in entries):
        given = {**given, "backends": [resolved.get(i, each) for i, each in enumerate(given["backends"])]}
    return given, Models(count, default, prices)


def _entries(section: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    """The backends by their numbers; those are left out of which nothing could be read."""
    backends = section.get("backends", ())
    if isinstance(backends, (list, tuple)):
        for index, entry in enumerate(cast("list[object]", backends)):
            if entry is not BROKEN:
                yield index, entry


def _resolved(entry: Any, path: Path, report: Report, importer: Importer) -> Any:
    """The same backend with what its import paths name; itself if it has none."""
    if not isinstance(entry, Mapping):
        return entry
    keys = cast("Mapping[str, Any]", entry)
    provider, script = keys.get("provider"), keys.get("script")
    found: dict[str, Any] = {}
    if is_path(provider) and (*path, "provider") not in report.broken:
        thing = importer.find(provider, (*path, "provider"), report)
        if thing is not None and not callable(thing) and not is_backend(thing):
            said = f"{quoted(provider)}, {shown(thing)} that cannot be called"
            report.add((*path, "provider"), said, A_MAKER)
        found["provider"] = thing
    if (
        provider == "scripted"
        and isinstance(script, str)
        and script
        and (*path, "script") not in report.broken
    ):
        thing = importer.find(script, (*path, "script"), report)
        if thing is not None and (not callable(thing) or isinstance(thing, type)):
            what = "a class" if isinstance(thing, type) else f"{shown(thing)} that cannot be called"
            report.add((*path, "script"), f"{quoted(script)}, {what}", A_SCRIPT)
        found["script"] = thing
    return {**keys, **found} if found else keys


def _check_names(entries: list[tuple[int, Any]], report: Report) -> None:
    first: dict[str, int] = {}
    for index, entry in entries:
        name = cast("Mapping[str, Any]", entry).get("name") if isinstance(entry, Mapping) else None
        path = (*_BACKENDS, index, "name")
        if not isinstance(name, str) or not name or path in report.broken:
            continue
        before = first.setdefault(name.casefold(), index)
        if before != index:
            found = f"the name {quoted(name)} a second time (first: backend number {before + 1})"
            report.add(path, found, "each backend's own name")


# -- keys of providers -------------------------------------------------------------------------


def check_api_keys(section: Any, dotenv: Dotenv, report: Report) -> None:
    """Report each backend whose key is in no variable, save optional ones, and where it was looked for."""
    if not isinstance(section, Mapping) or _BACKENDS in report.broken:
        return
    for index, entry in _entries(cast("Mapping[str, Any]", section)):
        path = (*_BACKENDS, index)
        if not isinstance(entry, Mapping) or any(broken[:3] == path for broken in report.broken):
            continue
        keys = cast("Mapping[str, Any]", entry)
        variable = _variable(keys)
        if (
            not variable
            or "api_key" in keys
            or keys.get("optional") is True
            or os.environ.get(variable, "").strip()
        ):
            continue
        provider = keys["provider"] if isinstance(keys["provider"], str) else "the backend"
        state = "set to nothing" if variable in os.environ else "not set"
        found = f"{variable}, which is {state}, for the key of {keys.get('name') or provider}"
        place = (*path, "api_key_env" if "api_key_env" in keys else "provider")
        report.add(place, found, _where_to_set(variable, dotenv))


def _variable(backend: Mapping[str, Any]) -> str:
    """The variable that its key must be in; empty if it needs none."""
    if named := backend.get("api_key_env"):
        return str(named)
    provider = backend.get("provider")
    if not isinstance(provider, str):
        return ""
    if provider == "openai" and urlsplit(backend.get("base_url") or f"https://{OPENAI}").hostname != OPENAI:
        return ""  # a compatible server, which mostly is one's own
    return KEY_VARIABLES.get(provider, "")


def _where_to_set(variable: str, dotenv: Dotenv) -> str:
    if not dotenv.found:
        state = "no such file"
    elif variable not in dotenv.names:
        state = "found, without it"
    elif not dotenv.names[variable]:
        state = "found, and empty there"
    else:
        state = "found, with it, but the environment goes first and has it empty"
    return f"{variable} in the environment or in {dotenv.file} ({state}), or optional: true"
