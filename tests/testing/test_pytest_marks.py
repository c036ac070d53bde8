"""What the mark, the environment and the command line ask for: who wins, and what is refused."""

from __future__ import annotations

import re

import pytest

from support.inner_pytest import COUNTED, LOST, TOLD, Inner, counted, inner_pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Inner:
    return inner_pytest(pytester, monkeypatch)


# -- how often ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("mark", "runs"),
    [("", 100), ("runs=7", 7), ("runs=7, strategy='calm'", 7), ("runs=1, resources=True", 1)],
)
def test_a_test_is_explored_as_often_as_its_mark_says(inner: Inner, mark: str, runs: int) -> None:
    assert counted(inner, mark) == TOLD.format(runs, 0, runs)


def test_the_environment_wins_over_the_mark_and_the_command_line_over_both(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHLOEM_SIM_RUNS", "5")
    assert counted(inner, "runs=7") == TOLD.format(5, 0, 5)
    assert counted(inner, "runs=7", "--sim-runs=3") == TOLD.format(3, 0, 3)
    monkeypatch.setenv("PHLOEM_SIM_RUNS", " ")
    assert counted(inner, "runs=7") == TOLD.format(7, 0, 7)


def test_the_first_seed_is_the_marks_or_the_command_lines(inner: Inner) -> None:
    assert counted(inner, "runs=3, seed=40") == TOLD.format(3, 40, 3)
    assert counted(inner, "runs=3, seed=40", "--sim-seed", "9") == TOLD.format(3, 9, 3)


def test_a_sweep_cuts_the_test_at_each_of_its_steps(inner: Inner) -> None:
    result = inner(
        """
        import pytest, trio

        runs = []

        @pytest.mark.sim(sweep="every-step")
        async def test_swept():
            ended = []
            runs.append(ended)
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            ended.append(True)

        def test_told():
            assert runs[0] == [True]
            assert 5 <= sum(not ended for ended in runs[1:]) < len(runs) < 12
        """
    )
    result.assert_outcomes(passed=2)


def test_a_sweep_with_runs_explores_before_it_sweeps(inner: Inner) -> None:
    source = COUNTED.format("sweep='every-site', runs=20").replace(
        "len(set(seeds))", "seeds[:20] == [*range(20)]"
    )
    result = inner(source, "-s")
    result.assert_outcomes(passed=2)
    (told,) = re.findall(r"SEEDS (\d+) 0 True", result.stdout.str())
    assert int(told) > 21


def test_a_sweep_alone_is_not_explored_whatever_the_command_line_says(inner: Inner) -> None:
    told = counted(inner, "sweep='every-step'", "--sim-runs=1000")
    assert int(told.split()[1]) < 10


def test_an_exhaustive_search_tries_every_schedule(inner: Inner) -> None:
    inner(LOST.replace("runs=50", "exhaust=0")).assert_outcomes(passed=2)
    result = inner(LOST.replace("runs=50", "exhaust=1"))
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["exhaust of *test_lost failed in run *", "schedule: 1 preemptions*"])


def test_timeouts_are_swept_if_asked_for(inner: Inner) -> None:
    source = """
        import pytest, trio

        fired = []

        @pytest.mark.sim(sweep="every-step"{})
        async def test_swept():
            with trio.move_on_after(1e6) as scope:
                await trio.sleep(1)
            if scope.cancelled_caught:
                fired.append(True)

        def test_told():
            assert bool(fired) is {}
    """
    inner(source.format("", False)).assert_outcomes(passed=2)
    inner(source.format(", timeouts=True", True)).assert_outcomes(passed=2)


def test_marks_of_the_module_and_the_class_are_taken_over_by_nearer_ones(inner: Inner) -> None:
    result = inner(
        """
        import pytest, trio
        from phloem.testing.sim import current_run

        pytestmark = pytest.mark.sim(runs=4, seed=10)
        seen = {}

        async def test_of_the_module():
            seen.setdefault("module", []).append(current_run().seed)

        @pytest.mark.sim(runs=2)
        class TestClass:
            async def test_of_the_class(self):
                seen.setdefault("class", []).append(current_run().seed)

            @pytest.mark.sim(seed=30)
            async def test_of_its_own(self):
                seen.setdefault("own", []).append(current_run().seed)

        def test_plain_ones_stay_as_they_are():
            assert seen == {"module": [10, 11, 12, 13], "class": [10, 11], "own": [30, 31]}
        """
    )
    result.assert_outcomes(passed=4)


# -- what is refused ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("mark", "says"),
    [
        ("rnus=3", "found the keyword 'rnus', expected one of runs, strategy, sweep"),
        ("runs=0", "runs: found 0, expected a whole number from 1"),
        ("runs=True", "runs: found True, expected a whole number from 1"),
        ("runs='many'", "runs: found 'many', expected a whole number from 1"),
        ("strategy='wlak'", "strategy: found 'wlak', expected one of calm, shuffle, walk, pct, portfolio"),
        ("strategy=7", "strategy: found 7, expected a Strategy"),
        ("sweep='every-stop'", "sweep: found 'every-stop', expected None, 'every-step' or 'every-site'"),
        ("exhaust=-1", "exhaust: found -1, expected None, or how many preemptions"),
        ("seed=-1", "seed: found -1, expected a whole number from 0"),
        ("timeouts=True", "found timeouts=True without a sweep"),
        ("sweep='every-step', exhaust=1", "found sweep and exhaust, expected one of them"),
        ("exhaust=1, strategy='walk'", "found strategy beside exhaust"),
        ("check=7", "check: found 7, expected a function of the run's Result"),
        ("faults=7", "faults: found 7, expected a FaultPlan"),
        ("100", "found 100 without a name, expected keywords: runs"),
        ("runs=0, seed=-1", "runs: found 0, expected a whole number from 1; seed: found -1"),
    ],
)
def test_a_mark_that_says_nonsense_is_refused_with_the_tests_name(inner: Inner, mark: str, says: str) -> None:
    result = inner(COUNTED.format(mark).replace("def test_told", "def untold"))
    result.assert_outcomes(errors=1)
    assert f"::test_counted cannot be simulated: {says}" in result.stdout.str()
    assert "During handling" not in result.stdout.str()  # said once


def test_an_environment_that_says_nonsense_is_refused(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLOEM_SIM_RUNS", "lots")
    result = inner(COUNTED.format("runs=3").replace("def test_told", "def untold"))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*PHLOEM_SIM_RUNS: found 'lots', expected a whole number from 1*"])


@pytest.mark.parametrize("option", ["--sim-runs=0", "--sim-runs=x", "--sim-seed=-1"])
def test_so_is_a_command_line_that_does(inner: Inner, option: str) -> None:
    result = inner(COUNTED.format(""), option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*invalid whole number from *"])
