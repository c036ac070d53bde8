"""organism.yaml and the ``.env`` beside it -> a resolved OrganismConfig.

Decides what may be read as a configuration at all, and the order: text, keys, the
environment, then whatever the file imports, which may look at that environment.
The only file of this package that opens one. ``organism`` and ``cli`` call it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any, Final, cast

import dotenv
from dotenv.parser import parse_stream

from phloem.config import PORT, ListenerConfig, OrganismConfig
from phloem.errors import ConfigurationError, ConfigurationFault

from .checks import checked
from .folders import importable, own_modules
from .imports import Importer
from .llm import Dotenv, check_api_keys
from .reading import read_config
from .report import FileReport, PythonReport, Spot, closest, listener_place, quoted
from .tree import Unreadable, read_tree

LONGEST_FILE: Final = 1024 * 1024  # bytes; a thousand listeners are a quarter of it


def load_config(
    path: str | os.PathLike[str],
    *,
    listeners: Sequence[ListenerConfig] = (),
    keys: bool = False,
    backends: Sequence[Any] | None = None,
) -> OrganismConfig:
    """Read, import and check an organism.yaml; the result is resolved.

    ``listeners`` are added to the file's before names and peers are checked. The file's folder
    is importable meanwhile, and the ``.env`` beside it is in the environment from then on,
    wherever the environment did not know better. With ``keys`` a backend of a model whose key no
    variable has is a fault too, unless it is optional. ``backends`` take the place of those that the
    file's ``llm`` section has, which may have none then. Runs user code (imports); never a checkpoint.
    Raises ConfigurationError with every fault at once, each at ``file:line:column``.
    """
    file = os.fspath(path)
    report = FileReport(file)
    try:
        text = _text_of(file, report)
        config = read_config(read_tree(text, report), report)
    except Unreadable:
        report.raise_all()
        raise  # not reached: nothing is unreadable without a fault
    count = len(config.listeners)
    report.names = {count + i: listener_place(entry.name, count + i + 1) for i, entry in enumerate(listeners)}
    config = replace(config, listeners=(*config.listeners, *listeners))
    config = _with_backends(config, backends)
    folder = FilePath(file).absolute().parent.resolve()
    with importable(folder), own_modules(folder):
        beside = _read_environment(FilePath(file).with_name(".env"), report)
        resolved = checked(config, report, Importer(folder))
    if keys and beside is not None:
        check_api_keys(resolved.llm_config, beside, report)
    report.raise_all()
    return resolved


def resolve(config: OrganismConfig, *, backends: Sequence[Any] | None = None) -> OrganismConfig:
    """Import and check a configuration that Python made; once resolved, it stays as it is.

    Where both a class (or handler) and an import path are given, the class is taken. ``backends`` take
    the place of those that the ``llm`` section has. Raises ConfigurationError with every fault at once,
    each naming its listener.
    """
    if not isinstance(config, OrganismConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
        fault = ConfigurationFault("organism", f"a {type(config).__name__}", "an OrganismConfig")
        raise ConfigurationError([fault])
    config = _with_backends(config, backends)
    given = cast("object", config.listeners)
    names = {
        index: listener_place(getattr(listener, "name", None), index + 1)
        for index, listener in enumerate(
            cast("Sequence[object]", given) if isinstance(given, Sequence) else ()
        )
    }
    report = PythonReport(names)
    resolved = checked(config, report, Importer())
    report.raise_all()
    return resolved


def unbuilt(config: OrganismConfig) -> tuple[str, ...]:
    """A sentence for each part that the configuration asks for and this version does not have."""
    asked = config.declared
    sentences: list[str] = []
    if config.identity_path or "identity" in asked:
        sentences.append("identity: checked and kept, not used: signing messages needs a later version")
    if config.port != PORT or "port" in asked:
        sentences.append(
            "port: checked and kept, not used: listening on it needs a later version and phloem[server]"
        )
    return tuple(sentences)


def _with_backends(config: OrganismConfig, backends: Sequence[Any] | None) -> OrganismConfig:
    """The same, with these in the place of the ``llm`` section's."""
    if backends is None:
        return config
    return replace(config, llm_config={**config.llm_config, "backends": list(backends)})


def _text_of(file: str, report: FileReport) -> str:
    try:
        with open(file, "rb") as stream:
            raw = stream.read(LONGEST_FILE + 1)
    except IsADirectoryError:
        report.beside(file, "a folder", "a file, such as organism.yaml in it")
        raise Unreadable from None
    except FileNotFoundError:
        report.beside(file, "no such file", _alternative(FilePath(file)))
        raise Unreadable from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        report.beside(file, f"a file that cannot be read ({why})", "a file that can")
        raise Unreadable from None
    if len(raw) > LONGEST_FILE:
        report.beside(file, f"more than {LONGEST_FILE} bytes", "a configuration: at most that many")
        raise Unreadable
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        spot = _spot_of(raw.removeprefix(b"\xef\xbb\xbf"), error.start)
        report.at(spot, f"the byte 0x{error.object[error.start]:02X}, which is not UTF-8", "a file in UTF-8")
        raise Unreadable from None


def _spot_of(raw: bytes, index: int) -> Spot:
    before = raw[:index].decode("utf-8", "replace")
    return Spot(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _alternative(missing: FilePath) -> str:
    try:
        there = [entry.name for entry in missing.parent.iterdir() if entry.suffix in (".yaml", ".yml")]
    except OSError:
        return "an organism.yaml"
    hit = closest(missing.name, there)
    return "an organism.yaml" if hit is None else f"an organism.yaml; did you mean {quoted(hit)}?"


def _read_environment(file: FilePath, report: FileReport) -> Dotenv | None:
    """Variables of a ``.env`` that the environment does not have yet. A folder of that name is none.

    None once a fault of it is reported: what it should have said is not known.
    """
    if not file.is_file():
        return Dotenv(file.absolute())
    try:
        text = file.read_text("utf-8-sig")
        broken = [binding.original.line for binding in parse_stream(io.StringIO(text)) if binding.error]
        if "\0" in text:
            broken.append(text[: text.index("\0")].count("\n") + 1)
        for line in sorted(set(broken)):
            # Never quoted: what stands in a .env are secrets.
            report.beside(f"{file}:{line}:1", "a line that cannot be read", "NAME=value")
        if broken:
            return None
        dotenv.load_dotenv(stream=io.StringIO(text), override=False)
        values = dotenv.dotenv_values(stream=io.StringIO(text))
        return Dotenv(
            file.absolute(), True, {name: bool(value and value.strip()) for name, value in values.items()}
        )
    except UnicodeDecodeError:
        report.beside(str(file), "bytes that are not UTF-8", "a file in UTF-8")
    except OSError as error:
        report.beside(str(file), f"a file that cannot be read ({error.strerror})", "a file that can")
    return None
