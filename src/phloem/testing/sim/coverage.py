"""Which awaits of a program nobody has ever waited at. Pure: reads code objects and what was seen.

Decides what the whole is: the lines with an ``await`` (also those of ``async with`` and ``async for``) in
functions that did run. A function that never ran, and a module nobody imported, are not known here.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from typing import Final, final

from .sites import Site

__all__ = ["Awaits", "unreached"]

_AWAITING: Final = (ast.Await, ast.AsyncFor, ast.AsyncWith)


@final
class Awaits(ast.NodeVisitor):
    """The await lines of one file, by function; a line spans what it awaits."""

    def __init__(self) -> None:
        self.found: dict[str, list[tuple[int, int]]] = {}
        self._names: list[str] = []

    def visit(self, node: ast.AST) -> None:
        """Once for the module."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._names += [node.name, "<locals>"]
            self.generic_visit(node)
            del self._names[-2:]
        elif isinstance(node, ast.ClassDef):
            self._names.append(node.name)
            self.generic_visit(node)
            self._names.pop()
        else:
            if isinstance(node, _AWAITING) and self._names:
                name = ".".join(self._names[:-1])
                last = (
                    node.body[0].lineno - 1
                    if isinstance(node, ast.AsyncFor | ast.AsyncWith)
                    else node.end_lineno
                )
                self.found.setdefault(name, []).append((node.lineno, max(last or node.lineno, node.lineno)))
            self.generic_visit(node)


def unreached(stood: Iterable[Site]) -> Iterator[str]:
    """``file:line in function`` of each await that none of the sites is at, in functions that have one."""
    by_file: dict[str, dict[str, set[int]]] = {}
    for site in stood:
        by_file.setdefault(site.file, {}).setdefault(site.function, set()).add(site.line)
    for file, functions in sorted(by_file.items()):
        for name, spans in sorted(_awaits(file).items()):
            lines = functions.get(name)
            if lines is None:
                continue
            for first, last in spans:
                if not any(first <= line <= last for line in lines):
                    yield str(Site(file, first, name).place) + f" in {name}"


def _awaits(file: str) -> dict[str, list[tuple[int, int]]]:
    if not os.path.exists(file):  # typed in, or made by a program
        return {}
    with open(file, "rb") as source:
        try:
            tree = ast.parse(source.read(), file)
        except (SyntaxError, ValueError):  # no Python that this one reads, such as a notebook's
            return {}
    visitor = Awaits()
    visitor.visit(tree)
    return visitor.found
