"""Which awaits of a program nobody has ever waited at. Pure: reads code objects and what was seen.

Decides what the whole is: the lines with an ``await`` (also those of ``async with`` and ``async for``) in
functions that did run. A function that never ran, and a module nobody imported, are not known here; nor
are two awaits of one line told apart.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Final, final

from .sites import Site, is_products

__all__ = ["Awaits", "never", "unreached", "unreached_sites"]

_INNER: Final = re.compile(r"(?:\.<locals>)?\.<(?:listcomp|setcomp|dictcomp|genexpr)>")


@final
class Awaits(ast.NodeVisitor):
    """The await lines of one file, by function; each as the first and last line on which a task may stand."""

    def __init__(self) -> None:
        self.found: dict[str, set[tuple[int, int]]] = {}
        self._names: list[str] = []

    def visit(self, node: ast.AST) -> None:
        """Once for the module."""
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self._within(node, name, "<locals>")
            case ast.Lambda():
                self._within(node, "<lambda>", "<locals>")
            case ast.ClassDef(name=name):
                self._within(node, name)
            case ast.Await(lineno=line):  # and not where its arguments stand: those may wait for themselves
                self._note(line, line)
                self.generic_visit(node)
            case ast.AsyncFor(lineno=line, body=[first, *_]) | ast.AsyncWith(lineno=line, body=[first, *_]):
                self._note(line, first.lineno - 1)
                self.generic_visit(node)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                if any(each.is_async for each in node.generators):
                    self._note(node.lineno, node.end_lineno or node.lineno)
                self.generic_visit(node)
            case _:
                self.generic_visit(node)

    def _within(self, node: ast.AST, *names: str) -> None:
        self._names += names
        self.generic_visit(node)
        del self._names[-len(names) :]

    def _note(self, first: int, last: int) -> None:
        name = ".".join(self._names[:-1])
        self.found.setdefault(name, set()).add((first, max(first, last)))


def never(what: str, sites: Iterable[Site]) -> list[str]:
    """``never …ed at: file:line in function`` for each, and one line for all of phloem's own.

    Whoever tests a program on phloem can do nothing about those.
    """
    told, ours = list[str](), 0
    for site in sorted(set(sites), key=lambda site: (site.file, site.line)):
        if is_products(site.file):
            ours += 1
        else:
            told.append(f"never {what} at: {site.place} in {site.function}")
    if ours:
        told.append(f"never {what} at: {ours} line{'s' if ours > 1 else ''} of phloem's own")
    return told


def unreached(stood: Iterable[Site]) -> Iterator[str]:
    """``file:line in function`` of each await that none of the sites is at, in functions that have one."""
    return (f"{site.place} in {site.function}" for site in unreached_sites(stood))


def unreached_sites(stood: Iterable[Site]) -> Iterator[Site]:
    """As ``unreached``."""
    by_file: dict[str, dict[str, set[int]]] = {}
    for site in stood:
        function = _INNER.sub("", site.function)  # what stands in a comprehension stands in its function
        by_file.setdefault(site.file, {}).setdefault(function, set()).add(site.line)
    for file, functions in sorted(by_file.items()):
        for name, spans in sorted(_awaits(file).items()):
            lines = functions.get(name)
            if lines is None:
                continue
            for first, last in sorted(spans):
                if not any(first <= line <= last for line in lines):
                    yield Site(file, first, name)


def _awaits(file: str) -> dict[str, set[tuple[int, int]]]:
    visitor = Awaits()
    try:
        with open(file, "rb") as source:
            visitor.visit(ast.parse(source.read(), file))
    except (OSError, SyntaxError, ValueError):  # typed in, made by a program; no Python that this one reads
        return {}
    return visitor.found
