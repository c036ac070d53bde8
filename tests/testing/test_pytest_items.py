"""What a simulated test says when it fails, how that is had again, and tests that end themselves."""

from __future__ import annotations

import re
import shlex

import pytest

from phloem.testing import pytest_items
from phloem.testing.sim import Report, simulate
from phloem.testing.sim.tokens import decode
from support.inner_pytest import COUNTED, LOST, TOLD, Inner, counted, inner_pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Inner:
    return inner_pytest(pytester, monkeypatch)


# -- what a failure says ------------------------------------------------------------------------
def test_a_failure_says_what_happened_and_how_to_have_it_again(inner: Inner) -> None:
    result = inner(LOST)
    result.assert_outcomes(failed=2)
    out = result.stdout.str()
    for line in (
        "failure: AssertionError: an addition was lost",
        "seed 0",
        "interleaving:",
        "assert [[]1[]] == [[]2[]]",
    ):
        result.stdout.fnmatch_lines([f"*{line}*"])
    assert 'assert total == [2], "an addition was lost"' in out  # the user's own line
    assert "pytest_items.py" not in out
    assert "During handling" not in out
    assert "All traceback entries are hidden" not in out
    assert re.search(r"switch .*test_\w+\.py:\d+ in add", out)


def test_the_line_to_paste_has_the_failure_again(inner: Inner, pytester: pytest.Pytester) -> None:
    first = inner(LOST)
    lines = [line.removeprefix("again: ") for line in first.outlines if line.startswith("again: ")]
    assert len(lines) == 2
    for line, name in zip(lines, ("a b", "it's"), strict=True):
        program, node, option, token = shlex.split(line)
        assert (program, option) == ("pytest", "--sim-replay")
        assert node.endswith(f"::test_lost[{name}]")
        again = inner("", node, option, token)
        again.assert_outcomes(failed=1)
        again.stdout.fnmatch_lines(["*an addition was lost*", f"token {token}"])
        assert "NOT REPRODUCED" not in again.stdout.str()


def test_the_line_to_paste_counts_from_where_pytest_was_started(
    inner: Inner, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = pytester.mkdir("deep")
    (deep / "test_deep.py").write_text("import pytest\n@pytest.mark.sim\nasync def test_bad(): assert 0\n")
    inner("", "deep").stdout.fnmatch_lines(["again: pytest deep/test_deep.py::test_bad --sim-replay sim*"])
    monkeypatch.chdir(deep)
    inner("", "--rootdir=..").stdout.fnmatch_lines(["again: pytest test_deep.py::test_bad --sim-replay sim*"])


def test_a_token_replays_what_a_sweep_found(inner: Inner) -> None:
    source = """
        import pytest, trio

        @pytest.mark.sim(sweep="every-step")
        async def test_leak():
            limiter = trio.CapacityLimiter(1)
            await limiter.acquire()
            await trio.sleep(1)
            limiter.release()
    """
    first = inner(source)
    first.stdout.fnmatch_lines(
        ["failure: ResourceLeft: left behind: 1 token*", "cut: the scenario cancelled*"]
    )
    (token,) = re.findall(r"^token (\S+)$", first.stdout.str(), re.MULTILINE)
    assert decode(token).cuts
    again = inner("", "--sim-replay", token)
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(
        ["*replay of *test_leak failed*", "failure: ResourceLeft: left behind: 1 token*"]
    )


def test_a_token_replays_what_a_check_found(inner: Inner) -> None:
    source = """
        import pytest

        def no(result):
            raise ValueError("the check's own")

        @pytest.mark.sim(runs=2, check=no)
        async def test_checked():
            pass
    """
    (token,) = re.findall(r"^token (\S+)$", inner(source).stdout.str(), re.MULTILINE)
    inner("", "--sim-replay", token).stdout.fnmatch_lines(["failure: ValueError: the check's own"])


def test_a_replay_of_what_is_mended_passes_and_says_that_it_went_otherwise(inner: Inner) -> None:
    (token, _) = re.findall(r"^token (\S+)$", inner(LOST).stdout.str(), re.MULTILINE)
    mended = LOST.replace("await trio.lowlevel.checkpoint()", "pass")
    result = inner(mended, "--sim-replay", token)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::test_lost[[]a b[]]: passed, and did not go as its token says*"])
    assert result.stdout.str().count("as its token says") == 2


def test_a_replay_that_passes_as_its_token_says_is_told_of_nothing(inner: Inner) -> None:
    source = """
        import pytest

        def no(result):
            raise ValueError("the check's own")

        @pytest.mark.sim(runs=2, check=no)
        async def test_checked():
            pass
    """
    (token,) = re.findall(r"^token (\S+)$", inner(source).stdout.str(), re.MULTILINE)
    result = inner(source.replace("raise ValueError", "print"), "--sim-replay", token)
    result.assert_outcomes(passed=1)
    assert "did not go as" not in result.stdout.str()


def test_a_replay_runs_the_test_once(inner: Inner) -> None:
    async def main() -> None:
        pass

    token = simulate(main, seed=5).token
    assert counted(inner, "runs=50, sweep='every-step'", "--sim-replay", token) == TOLD.format(1, 5, 1)


def test_a_report_that_did_not_finish_is_no_pass(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_short(main: object, **settings: object) -> Report:
        return Report("exhaust", finished=False)

    monkeypatch.setattr(pytest_items, "exhaust", cut_short)
    result = inner(COUNTED.format("exhaust=2").replace("def test_told", "def untold"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*not all was tried that was to be tried*"])


def test_a_state_that_is_never_reached_fails_the_test(inner: Inner) -> None:
    result = inner(
        """
        import pytest
        from phloem.testing.sim import sometimes

        @pytest.mark.sim(runs=3)
        async def test_it():
            sometimes(False, "a queue")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*never reached in 3 runs: 'a queue'*"])


def test_what_was_searched_is_told_beside_a_pass(inner: Inner) -> None:
    inner(COUNTED.format("runs=7"), "-rP").stdout.fnmatch_lines(
        ["*simulation call*", "explore: passed; 7 runs*"]
    )


# -- tests that end themselves --------------------------------------------------------------------
def test_skips_and_expected_failures_are_what_they_are(inner: Inner) -> None:
    result = inner(
        """
        import pytest, trio, unittest

        runs = []

        @pytest.mark.sim
        async def test_skips():
            runs.append(1)
            pytest.skip("not here")

        @pytest.mark.sim
        async def test_skips_in_a_child():
            async def child():
                pytest.skip("nor here")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(child)
                await trio.sleep_forever()

        @pytest.mark.sim
        async def test_skips_as_unittest_does():
            raise unittest.SkipTest("there")

        @pytest.mark.sim
        async def test_xfails():
            pytest.xfail("known")

        @pytest.mark.sim(runs=2)
        @pytest.mark.xfail(strict=True)
        async def test_marked():
            assert 0

        @pytest.mark.sim
        @pytest.mark.skip
        async def test_marked_to_be_skipped():
            assert 0

        def test_it_ran_once():
            assert runs == [1]
        """
    )
    result.assert_outcomes(skipped=4, xfailed=2, passed=1)


def test_a_failing_sibling_of_a_skip_is_a_failure(inner: Inner) -> None:
    result = inner(
        """
        import pytest, trio

        @pytest.mark.sim(runs=1, strategy="shuffle")
        async def test_both():
            async def skips():
                try:
                    await trio.sleep_forever()
                finally:
                    pytest.skip("late")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(skips)
                await trio.sleep(1)
                raise ValueError("early")
        """
    )
    result.assert_outcomes(failed=1)


# -- tokens that are refused ----------------------------------------------------------------------
def test_a_replay_without_a_simulated_test_is_a_mistake(inner: Inner) -> None:
    result = inner("def test_plain(): pass", "--sim-replay", "sim1-x")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--sim-replay: found no simulated test among those selected*"])


def test_a_token_that_is_none_is_told(inner: Inner) -> None:
    result = inner(COUNTED.format(""), "-k", "counted", "--sim-replay", "nonsense")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(["InvalidToken: token: found 'nonsense', expected one that begins with*"])
