"""Import paths -> the objects they name, and what to say where there is none.

Decides how ``pkg.module.Name`` and ``pkg.module:Name`` are read, and tells a module that
is missing from a name that is missing and from a module that raises. Decides nothing
about which folder is searched: ``folders`` does. For the files of this package only.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import traceback
from pathlib import Path as FilePath
from types import ModuleType
from typing import Any, Final, cast, final

from phloem.guarding import Raised, attempted, said

from .report import Path, Report, quoted, suggesting

_SHAPE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?")
_EXPECTED: Final = "an import path such as handlers.hello.Greeting"


@final
class _Missing(Exception):
    """A part of the path is not there."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found)
        self.found, self.expected = found, expected


@final
class Importer:
    """Finds objects by import path; a module that raises is run once, however many paths name it."""

    def __init__(self, folder: FilePath | None = None) -> None:
        self._folder = folder
        self._raised: dict[str, str] = {}

    def find(self, text: str, path: Path, report: Report) -> Any | None:
        """The object, or None once its fault is reported."""
        if not _SHAPE.fullmatch(text) or ("." not in text and ":" not in text):
            report.add(path, f"{quoted(text)} as an import path", _EXPECTED)
            return None
        try:
            return self._find(text)
        except _Missing as missing:
            report.add(path, missing.found, missing.expected)
            return None

    def _find(self, text: str) -> Any:
        dotted, colon, inner = text.partition(":")
        parts = dotted.split(".")
        # Without a colon the last part is no module; with one, all before it are.
        last_module = len(parts) if colon else len(parts) - 1
        module = self._module(parts[0], None)
        used = 1
        while used < last_module:
            following = self._submodule(module, ".".join(parts[: used + 1]), must=bool(colon))
            if following is None:
                break
            module, used = following, used + 1
        names = inner.split(".") if colon else parts[used:]
        return _attribute(module, names)

    def _submodule(self, parent: ModuleType, dotted: str, *, must: bool) -> ModuleType | None:
        if not must and hasattr(parent, "__path__") is False and hasattr(parent, dotted.rpartition(".")[2]):
            return None  # a class within the module: what follows are attributes
        return self._module(dotted, parent)

    def _module(self, dotted: str, parent: ModuleType | None) -> ModuleType:
        if dotted in self._raised:
            raise _Missing(self._raised[dotted], "a module that imports")
        module = attempted(importlib.import_module, dotted)
        if not isinstance(module, Raised):
            return cast("ModuleType", module)
        error = module.error  # a module may raise anything, and SystemExit is a frequent one
        if isinstance(error, ModuleNotFoundError) and error.name == dotted:
            known = self._neighbours(parent)
            raise _Missing(f"no module {quoted(dotted)}", suggesting("a module that is there", dotted, known))
        self._remember(dotted, error)
        raise _Missing(self._raised[dotted], "a module that imports")

    def _remember(self, dotted: str, error: BaseException) -> None:
        text = " ".join(said(error).split())
        what = f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
        place = self._place(dotted.partition(".")[0], error)
        self._raised[dotted] = f"module {quoted(dotted)}, which raised {what}{place}"

    def _place(self, top: str, error: BaseException) -> str:
        """`` at file:line``: the innermost line that is the user's own."""
        if isinstance(error, SyntaxError) and error.filename is not None:
            return f" at {error.filename}:{error.lineno}"
        own = [
            f"{frame.f_code.co_filename}:{line}"
            for frame, line in traceback.walk_tb(error.__traceback__)
            if self._is_own(str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename, top)
        ]
        return f" at {own[-1]}" if own else ""

    def _is_own(self, module: str, file: str, top: str) -> bool:
        if module == top or module.startswith(f"{top}."):
            return True
        if self._folder is None or "site-packages" in file:
            return False
        return FilePath(file).is_relative_to(self._folder)

    def _neighbours(self, parent: ModuleType | None) -> list[str]:
        """Modules one may have meant; those of the folder stand first."""
        if parent is not None:
            where = getattr(parent, "__path__", None)
            return [f"{parent.__name__}.{info.name}" for info in pkgutil.iter_modules(where)] if where else []
        if self._folder is not None:
            return [info.name for info in pkgutil.iter_modules([str(self._folder)])] + _folders_in(
                self._folder
            )
        return [info.name for info in pkgutil.iter_modules()]


def _folders_in(folder: FilePath) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name.isidentifier()]


def _attribute(module: ModuleType, names: list[str]) -> Any:
    thing: Any = module
    label = f"module {quoted(module.__name__)}"
    for name in names:
        try:
            thing = getattr(thing, name)
        except AttributeError:
            known = [word for word in dir(thing) if not word.startswith("__")]
            expected = suggesting("a name that is in it", name, known)
            raise _Missing(f"no {quoted(name)} in {label}", expected) from None
        label = quoted(name)
    return thing
