"""docs/testing.md holds what it says: its tables have the code's own keywords, defaults, points and bugs."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from phloem.testing import Strategy, exhaust, explore, faults, simulate, sweep
from phloem.testing.pytest_marks import RULES, RUNS, SimSettings
from phloem.testing.pytest_plugin import pytest_addoption
from phloem.testing.sim.injecting import Point
from phloem.testing.sim.report import Report
from phloem.testing.sim.strategies import DEPTHS, STREAK
from phloem.testing.sim.telling import SHOWN
from phloem.testing.sim.world import DECADES, SHORTEST
from planted.catalogue import BUGS

PAGE = (Path(__file__).parents[1] / "docs" / "testing.md").read_text("utf-8")
SEARCHES = (simulate, explore, sweep, exhaust)


def rows(head: str) -> dict[str, list[str]]:
    """A table's rows by their first cell, without its backquotes. ``head`` is how its first line begins."""
    lines = PAGE[PAGE.index(f"\n{head}") + 1 :].splitlines()
    found: dict[str, list[str]] = {}
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        first, *rest = (cell.strip() for cell in line[1:-1].split("|"))
        found[first.strip("` ")] = rest
    return found


def words(text: str) -> set[str]:
    return {word.strip() for word in text.split(",")}


def keywords(search: Any) -> dict[str, str]:
    """Its keywords and their defaults, as the table writes them."""
    parameters = inspect.signature(search).parameters.values()
    return {own.name: str(own.default) for own in parameters if own.default is not own.empty}


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search.__name__)
def test_the_table_of_searches_has_each_keyword_with_its_default(search: Any) -> None:
    table = rows("| keyword | `simulate` | ")
    column = SEARCHES.index(search)
    told = {name: cells[column] for name, cells in table.items() if cells[column]}
    assert told == keywords(search)


def test_the_table_of_strategies_has_each_of_them() -> None:
    assert set(rows("| strategy | who runs next |")) == {*map(str, Strategy)}
    assert f"more than {STREAK} steps in a row" in PAGE
    assert (DEPTHS[0] - 1, DEPTHS[-1] - 1) == (1, 4)
    assert "`pct3` has two such changes, `pct` one to four" in PAGE


def test_the_table_of_fault_points_has_each_with_its_kinds() -> None:
    points = {name: words(cells[1]) for name, cells in rows("| point | name | ").items()}
    assert points == {name: {*map(str, point.kinds)} for name, point in faults.POINTS.items()}


def test_the_table_of_kinds_has_each_of_them() -> None:
    assert set(rows("| kind | what a visit meets |")) == {*map(str, faults.FaultKind)}
    point = Point(())
    assert f"{point.per_run:g}, {point.per_visit:g}, {point.slow:g}." in PAGE


def test_the_table_of_the_mark_has_each_keyword_with_its_default() -> None:
    table = rows("| keyword | | |")
    assert set(table) == set(RULES)
    default = SimSettings()
    assert table["runs"][0] == str(RUNS)
    assert table["strategy"][0] == keywords(explore)["strategy"]
    for name in ("sweep", "timeouts", "exhaust", "seed", "faults", "check"):
        assert table[name][0] == str(getattr(default, name))


def test_every_option_of_the_plugin_is_on_the_page() -> None:
    options: list[str] = []

    class Parser:
        def getgroup(self, *_: object) -> Any:
            return self

        def addoption(self, name: str, **_: object) -> None:
            options.append(name)

    pytest_addoption(Parser())  # type: ignore[arg-type]
    assert options
    assert [name for name in options if f"`{name} " not in PAGE] == []


def test_the_numbers_in_its_sentences_are_the_codes() -> None:
    assert SHORTEST == 1e-5
    assert pytest.approx(0.1) == SHORTEST * 10**DECADES
    assert "10 µs to 100 ms" in PAGE
    assert SHOWN == 60
    assert "last sixty lines" in PAGE
    assert Report("").passed is False


def test_what_it_names_of_a_report_is_there() -> None:
    told = re.findall(r"`report\.(\w+)`", PAGE)
    assert told
    assert [name for name in told if not hasattr(Report(""), name)] == []


def test_the_table_of_planted_bugs_has_each_of_them() -> None:
    table = {name.partition(":")[0]: cells for name, cells in rows("| bug | found by | ").items()}
    assert {name: cells[0].strip("`") for name, cells in table.items()} == {bug.name: bug.how for bug in BUGS}
    for bug in BUGS:
        assert float(table[bug.name][1]) <= bug.mean_runs
