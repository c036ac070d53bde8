"""Beside other plugins: who runs an async test, in whatever order the plugins were loaded."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.inner_pytest import ANYIO, HYPOTHESIS, OURS, TRIO, Inner, inner_pytest

pytest_plugins = ["pytester"]

ORDERS = list(itertools.permutations((TRIO, ANYIO, OURS)))
MODES = ["trio_mode = true", "trio_mode = false"]


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Inner:
    return inner_pytest(pytester, monkeypatch)


def orders(function: Callable[..., None]) -> Any:
    ids = ["-".join(plugin.partition(".")[0] for plugin in order) for order in ORDERS]
    return pytest.mark.parametrize("order", ORDERS, ids=ids)(function)


BACKENDS = """
    import anyio, pytest, sniffio

    @pytest.fixture
    async def library():
        await anyio.sleep(0)
        yield sniffio.current_async_library()

    @pytest.mark.anyio
    async def test_marked(anyio_backend_name):
        assert sniffio.current_async_library() == anyio_backend_name
        await anyio.sleep(0)

    @pytest.mark.anyio
    async def test_with_a_fixture(anyio_backend_name, library):
        assert sniffio.current_async_library() == library == anyio_backend_name

    class TestClass:
        pytestmark = pytest.mark.anyio

        async def test_method(self, anyio_backend_name):
            assert sniffio.current_async_library() == anyio_backend_name

    @pytest.mark.usefixtures("anyio_backend")
    async def test_unmarked(anyio_backend_name):
        assert sniffio.current_async_library() == anyio_backend_name
"""


@orders
@pytest.mark.parametrize("mode", MODES)
def test_a_test_of_anyios_runs_on_the_backend_of_its_parameter(
    inner: Inner, order: tuple[str, ...], mode: str
) -> None:
    result = inner(BACKENDS, "-v", order=order, ini=mode)
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["*test_marked?asyncio? PASSED*"])


def test_without_the_plugin_trio_mode_runs_it_on_trio(inner: Inner) -> None:
    result = inner(BACKENDS, "-k", "marked and asyncio", order=(TRIO, ANYIO), ini="trio_mode = true")
    result.stdout.fnmatch_lines(["*assert 'trio' == 'asyncio'*"])


@orders
def test_anyio_with_hypothesis_stays_on_its_backend(inner: Inner, order: tuple[str, ...]) -> None:
    result = inner(
        """
        import pytest, sniffio
        from hypothesis import given, settings, strategies as st

        @pytest.mark.anyio
        @settings(max_examples=3)
        @given(number=st.integers())
        async def test_drawn(anyio_backend, number):
            assert sniffio.current_async_library() == anyio_backend
        """,
        order=(*order, HYPOTHESIS),
        ini="trio_mode = true",
    )
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("order", [(TRIO, OURS), (OURS, TRIO)])
def test_what_trio_mode_is_for_still_works(inner: Inner, order: tuple[str, ...]) -> None:
    result = inner(
        """
        import pytest, trio

        @pytest.fixture
        async def number():
            await trio.lowlevel.checkpoint()
            yield 7

        async def test_of_trio(number, nursery, autojump_clock):
            assert number == 7
            nursery.start_soon(trio.sleep, 100)
            await trio.sleep(1000)
            assert trio.current_time() == 1000

        @pytest.mark.trio
        async def test_marked(number):
            assert number == 7
        """,
        order=order,
        ini="trio_mode = true",
    )
    result.assert_outcomes(passed=2)


def test_a_mark_that_somebody_wrote_is_left(inner: Inner) -> None:
    result = inner(
        """
        import pytest, sniffio, trio

        @pytest.mark.trio(run=trio.run)
        async def test_written(anyio_backend_name):
            assert sniffio.current_async_library() == "trio"
        """,
        order=(TRIO, ANYIO, OURS),
        ini="trio_mode = true",
    )
    result.assert_outcomes(passed=2)


def test_so_is_one_that_a_conftest_put_there(inner: Inner, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest

        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.trio)
        """
    )
    result = inner(
        """
        import sniffio

        async def test_put(anyio_backend_name):
            assert sniffio.current_async_library() == "trio"
        """,
        order=(TRIO, ANYIO, OURS),
        ini="trio_mode = false",
    )
    result.assert_outcomes(passed=2)


SIMULATED = """
    import pytest, trio

    runs = []

    @pytest.mark.sim(runs=7)
    async def test_simulated():
        runs.append(trio.current_time())
        await trio.sleep(1000)
        assert type(trio.lowlevel.current_clock()).__name__ == "MockClock"

    def test_it_ran_so_often():
        assert runs == [0.0] * 7
"""
WITH_A_MODULES_MARK = SIMULATED + "\n    pytestmark = pytest.mark.{}\n"


@orders
@pytest.mark.parametrize("mode", MODES)
def test_a_simulated_test_is_run_by_the_simulation(inner: Inner, order: tuple[str, ...], mode: str) -> None:
    inner(SIMULATED, order=order, ini=mode).assert_outcomes(passed=2)


@orders
def test_so_it_is_in_anyios_auto_mode(inner: Inner, order: tuple[str, ...]) -> None:
    result = inner(SIMULATED, "--anyio-mode=auto", "-k", "not asyncio", order=order)
    result.assert_outcomes(passed=2, deselected=1)


@orders
def test_a_trio_mark_on_the_module_does_not_come_between(inner: Inner, order: tuple[str, ...]) -> None:
    source = (
        SIMULATED.replace("def test_it_ran", "async def test_it_ran")
        + "\n    pytestmark = pytest.mark.trio\n"
    )
    inner(source, order=order).assert_outcomes(passed=2)


@orders
def test_nor_does_anyios_and_its_asyncio_case_is_skipped_aloud(inner: Inner, order: tuple[str, ...]) -> None:
    source = SIMULATED + "\n    pytestmark = pytest.mark.anyio\n"
    result = inner(source, "-rs", order=order)
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*simulation runs on Trio, not on asyncio*"])


def test_without_other_plugins_it_runs_as_well(inner: Inner) -> None:
    inner(SIMULATED, order=(OURS,)).assert_outcomes(passed=2)


UNUSED = """
import sys, pytest

class Look:
    def pytest_collection_finish(self, session):
        loaded = set(sys.modules)
        heavy = {"trio", "anyio", "lxml", "lxml.etree", "yaml", "phloem.testing.sim", "phloem.organism"}
        print("LOADED", "phloem.testing.pytest_plugin" in loaded, sorted(heavy & loaded))

plugins = ["-p", "no:cacheprovider", "-p", "phloem.testing.pytest_plugin"]
sys.exit(pytest.main(["-q", "-s", *plugins, "test_plain.py"], [Look()]))
"""


def test_until_it_is_used_it_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "test_plain.py").write_text("def test_plain(): pass\n")
    done = subprocess.run(
        [sys.executable, "-c", UNUSED], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "LOADED True []" in done.stdout


def test_it_is_an_entry_point() -> None:
    from importlib.metadata import entry_points

    assert entry_points(group="pytest11")["phloem"].value == OURS
