"""Which folder an organism's modules come from, and how two organisms keep theirs apart.

Decides what stands at the front of ``sys.path``, and whose ``handlers`` a load gets when
another folder's is imported already. Never leaves another organism's modules changed.
``files`` uses both; whoever runs an organism from a file holds ``importable``.

Decision: as long as nothing is in the way, a load imports as Python does: modules stay in
``sys.modules``, and a second load from the same folder gets the same classes. If a name
this folder provides is taken by a module from elsewhere, then every name the folder
provides is set aside for the load, imported afresh, and put back afterwards. Known limit:
an ``import`` inside a handler, at run time, finds what ``sys.modules`` then has.
Not for several threads at once: ``sys.path`` and ``sys.modules`` are the process's.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path as FilePath
from types import ModuleType
from typing import Final, final

_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})


@final
class _Entry(str):
    """A folder that ``importable`` put in ``sys.path``: told from an equal one of somebody else's."""

    __slots__ = ()


@contextmanager
def importable(folder: str | os.PathLike[str]) -> Generator[None]:
    """The folder stands at the front of ``sys.path`` inside the block; then exactly that entry goes.

    Blocks may overlap in any order. Never a checkpoint.
    """
    entry = _Entry(str(FilePath(folder).resolve()))
    sys.path.insert(0, entry)
    importlib.invalidate_caches()  # a file written a moment ago is found as well
    try:
        yield
    finally:
        sys.path[:] = [other for other in sys.path if other is not entry]


@contextmanager
def own_modules(folder: FilePath) -> Generator[None]:
    """Inside the block, imports find the modules of this folder, whatever was imported before.

    Entered within ``importable(folder)``. Other organisms' folders are out of sight meanwhile.
    """
    folder = folder.resolve()
    hidden = [
        (place, entry)
        for place, entry in enumerate(sys.path)
        if isinstance(entry, _Entry) and entry != str(folder)
    ]
    sys.path[:] = [entry for entry in sys.path if all(entry is not other for _, other in hidden)]
    names = _provided(folder)
    foreign = any(not _is_from(name, folder) for name in names)
    aside = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}
    before = set(sys.modules)
    if foreign:
        for name in aside:
            del sys.modules[name]
    try:
        yield
    finally:
        for place, entry in hidden:
            sys.path.insert(place, entry)
        if foreign:
            fresh = [name for name in sys.modules if name in aside or name not in before]
            for name in [name for name in fresh if name in aside or _is_from(name.partition(".")[0], folder)]:
                del sys.modules[name]
            sys.modules.update(aside)


def _provided(folder: FilePath) -> set[str]:
    """Names of imported top-level modules that a fresh process would take from this folder."""
    try:
        there = {entry.name.partition(".")[0] for entry in os.scandir(folder)}
    except OSError:
        return set()
    found: set[str] = set()
    for name in there & sys.modules.keys():
        # Never the ground we stand on: the standard library, phloem, and what is installed.
        if (
            name in sys.stdlib_module_names
            or name in ("phloem", "__main__")
            or _is_installed(sys.modules[name])
        ):
            continue
        spec = importlib.machinery.PathFinder.find_spec(name)
        places = (
            [spec.origin] if spec and spec.origin else list((spec and spec.submodule_search_locations) or [])
        )
        if any(FilePath(place).resolve().is_relative_to(folder) for place in places if place):
            found.add(name)
    return found


def _places(module: ModuleType | None) -> list[FilePath]:
    """The file of a top-level module, or the folders of a namespace package."""
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        return [FilePath(file).resolve()]
    return [FilePath(place).resolve() for place in list(getattr(module, "__path__", []))]


def _is_installed(module: ModuleType | None) -> bool:
    return any(_INSTALLED & set(place.parts) for place in _places(module))


def _is_from(name: str, folder: FilePath) -> bool:
    """Whether an imported top-level name is this folder's: a file or a package directly in it."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if isinstance(file, str):
        place = FilePath(file).resolve()
        return (place.parent.parent if place.stem == "__init__" else place.parent) == folder
    # The path of a package without __init__ follows sys.path, so what it holds is asked instead.
    held = [
        getattr(other, "__file__", None) for key, other in sys.modules.items() if key.startswith(f"{name}.")
    ]
    files = [FilePath(file).resolve() for file in held if isinstance(file, str)]
    return hasattr(module, "__path__") and all(place.is_relative_to(folder / name) for place in files)
