"""pytest within pytest: a test file of its own, run in this process with chosen plugins in a chosen order.

For the tests of the pytest plugin; a module that uses it says
``pytest_plugins = ["pytester"]`` and makes a fixture of ``inner_pytest``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
import pytest
import trio

# Loaded here, so that the inner pytest finds them and does not load, and drop, its own.
import phloem.testing.organisms
import phloem.testing.pytest_items
import phloem.testing.pytest_plugin

LOADED: Final = (anyio, trio, phloem.testing.organisms, phloem.testing.pytest_items)
OURS: Final = phloem.testing.pytest_plugin.__name__
TRIO, ANYIO, HYPOTHESIS = "pytest_trio.plugin", "anyio.pytest_plugin", "_hypothesis_pytestplugin"
# Asserts of plugins are rewritten, save of those that the pytest around has loaded before.
INI: Final = """[pytest]
addopts = --strict-markers -p no:cacheprovider
filterwarnings =
    error
    ignore:Module already imported:pytest.PytestAssertRewriteWarning
"""

# A test that tells how often it was run, from which seed, with how many; its mark is to be filled in.
COUNTED: Final = """
    import pytest, trio
    from phloem.testing.sim import current_run

    seeds = []

    @pytest.mark.sim({})
    async def test_counted():
        seeds.append(current_run().seed)
        await trio.sleep(3600)

    def test_told():
        print("SEEDS", len(seeds), seeds[0], len(set(seeds)))
"""
TOLD: Final = "SEEDS {} {} {}"

# Two tests in which one addition of two may be lost.
LOST: Final = """
    import pytest, trio

    async def add(total):
        seen = total[0]
        await trio.lowlevel.checkpoint()
        total[0] = seen + 1

    @pytest.mark.sim(runs=50)
    @pytest.mark.parametrize("word", ["a b", "it's"])
    async def test_lost(word):
        total = [0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(add, total)
            nursery.start_soon(add, total)
        assert total == [2], "an addition was lost"
"""

Inner = Callable[..., pytest.RunResult]


def inner_pytest(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Inner:
    """Gives ``inner(source, *arguments, order=…, ini=…)``."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name in ("PHLOEM_SIM_RUNS", "CI", "BUILD_NUMBER"):  # where CI is set pytest says a failure twice
        monkeypatch.delenv(name, raising=False)

    def inner(
        source: str = "", *arguments: str, order: Sequence[str] = (OURS,), ini: str = "", **more: Any
    ) -> pytest.RunResult:
        pytester.makeini(INI + ini)
        if source:
            pytester.makepyfile(source)
        plugins = [word for plugin in order for word in ("-p", plugin)]
        return pytester.runpytest_inprocess(*plugins, *arguments, **more)

    return inner


def counted(inner: Inner, mark: str, *arguments: str) -> str:
    """What ``COUNTED`` tells, as ``TOLD``."""
    result = inner(COUNTED.format(mark), "-s", *arguments)
    result.assert_outcomes(passed=2)
    (told,) = re.findall(r"SEEDS \d+ \d+ \d+", result.stdout.str())
    return str(told)
