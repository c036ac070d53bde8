"""Commands for a person to type next: made so that they work as they are printed.

Decides by which name this phloem, and the Python it runs on, can be started again, and how
a path is written that a shell and a command must not misread. For ``demo`` and ``init``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["phloem_name", "python_name", "typed", "typed_path"]


def phloem_name() -> list[str]:
    """However phloem was started."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py" or not started.exists():
        return [*python_name(), "-m", "phloem"]
    found = shutil.which("phloem")
    if found is not None and os.path.samefile(found, started):
        return ["phloem"]
    return [typed_path(str(started))]


def python_name() -> list[str]:
    """A Python that has this phloem: the plain name only where the path leads to this very one."""
    found = shutil.which("python")
    if found is not None and _is_this(found):
        return ["python"]
    return [sys.executable]


def typed_path(path: str) -> str:
    """The path, never to be taken for an option or for stdin."""
    return os.path.join(os.curdir, path) if path.startswith("-") else path


def typed(words: Sequence[str]) -> str:
    """One line for a shell."""
    return shlex.join(words)


def _is_this(python: str) -> bool:
    # Links are followed for the file, never for its folder: every environment's python is the
    # same file, and which packages it has is told by the folder it is started from.
    return os.path.samefile(python, sys.executable) and (
        os.path.realpath(os.path.dirname(python)) == os.path.realpath(os.path.dirname(sys.executable))
    )
