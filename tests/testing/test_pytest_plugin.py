"""The plugin: what each run of a simulated test gets, the fixture, and tests that cannot be simulated."""

from __future__ import annotations

import pytest

from support.inner_pytest import ANYIO, OURS, TRIO, Inner, inner_pytest

pytest_plugins = ["pytester"]


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Inner:
    return inner_pytest(pytester, monkeypatch)


# -- what each run gets -------------------------------------------------------------------------
def test_each_run_calls_the_test_anew_with_the_same_fixtures(inner: Inner) -> None:
    result = inner(
        """
        import pytest, trio

        made = []

        @pytest.fixture
        def thing():
            made.append("up")
            yield made
            made.append("down")

        class TestIt:
            @pytest.fixture(autouse=True)
            def mine(self):
                self.number = 7

            @pytest.mark.sim(runs=3)
            @pytest.mark.parametrize("letter", "ab")
            async def test_it(self, thing, letter, monkeypatch):
                assert self.number == 7
                thing.append(letter)

        def test_told():
            assert made == ["up", "a", "a", "a", "down", "up", "b", "b", "b", "down"]
        """
    )
    result.assert_outcomes(passed=3)


def test_what_a_test_returns_is_for_its_check(inner: Inner) -> None:
    result = inner(
        """
        import pytest, trio

        def even(result):
            assert result.value % 2 == 0, f"odd: {result.value}"

        @pytest.mark.sim(runs=3, check=even)
        async def test_even():
            return 2

        @pytest.mark.sim(runs=3, check=even)
        async def test_odd():
            return 3
        """
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*odd: 3*"])


def test_faults_are_injected_from_a_plan_or_its_text(inner: Inner) -> None:
    result = inner(
        """
        import pytest, trio
        from phloem.testing.sim import FaultKind, FaultPlan, Point, current_run

        PLAN = FaultPlan({"disk": Point((FaultKind.RAISE,), 1.0, 1.0)})

        async def read():
            return 1

        @pytest.mark.sim(runs=1, faults=PLAN)
        async def test_planned():
            with pytest.raises(Exception, match="injected"):
                await current_run().faults.visit("disk", "c", read)

        @pytest.mark.sim(runs=1, faults="handler=raise:1:1")
        async def test_told():
            assert list(current_run().faults.plan.points) == ["handler"]

        @pytest.mark.sim(runs=1, faults="handel=raise")
        async def test_misspelt():
            pass
        """
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*test_misspelt cannot be simulated: faults: handel: found*"])


def test_the_fixture_opens_the_production_organism(inner: Inner) -> None:
    result = inner(
        """
        from dataclasses import dataclass
        import pytest, trio
        from phloem import HandlerResponse, ListenerConfig, OrganismConfig

        @dataclass
        class Hello:
            name: str

        async def greet(payload, metadata):
            raise RuntimeError("the real one")

        CONFIG = OrganismConfig("x", [ListenerConfig("greeter", Hello, greet, "Greets.")])

        @pytest.mark.sim(runs=5)
        async def test_greeting(open_simulated_organism):
            script = [HandlerResponse.respond(Hello("scripted"))]
            async with open_simulated_organism(CONFIG, handlers={"greeter": script}) as organism:
                assert await organism.ask(Hello("you")) == Hello("scripted")
        """
    )
    result.assert_outcomes(passed=1)


# -- what cannot be simulated ---------------------------------------------------------------------
@pytest.mark.parametrize(
    ("test", "found"),
    [
        ("def test_it(): pass", "a plain function"),
        ("async def test_it(): yield", "an async generator"),
        ("@given(st.none())\n@pytest.mark.sim\ndef test_it(nothing): pass", "a plain function"),
        (
            "class TestIt(unittest.TestCase):\n  @pytest.mark.sim\n  def test_it(self): pass",
            "a method of a unittest",
        ),
    ],
)
def test_a_mark_on_what_is_no_async_test_is_refused(inner: Inner, test: str, found: str) -> None:
    head = "import pytest, unittest\nfrom hypothesis import given, strategies as st\n"
    mark = "" if "sim" in test else "@pytest.mark.sim\n"
    result = inner(head + mark + test)
    assert f"cannot be simulated: found {found}" in result.stdout.str()
    assert result.ret == pytest.ExitCode.TESTS_FAILED


ASYNC_FIXTURES = """
    import pytest, trio

    @pytest.fixture
    async def number():
        await trio.sleep(0)
        yield 7

    @pytest.fixture
    def twice(number):
        return number

    @pytest.mark.sim
    async def test_direct(number):
        assert 0

    @pytest.mark.sim
    async def test_behind_another(twice):
        assert 0
"""


@pytest.mark.parametrize("order", [(TRIO, OURS), (ANYIO, OURS), (OURS, ANYIO, TRIO)])
def test_async_fixtures_are_refused_by_name(inner: Inner, order: tuple[str, ...]) -> None:
    ini = "trio_mode = true" if TRIO in order else ""
    result = inner(ASYNC_FIXTURES, order=order, ini=ini)
    result.assert_outcomes(errors=2)
    text = result.stdout.str()
    assert "test_direct cannot be simulated: found the async fixture 'number'" in text
    assert "test_behind_another cannot be simulated: found the async fixture 'number'" in text
    assert "Open 'number' inside of the test" in text


def test_fixtures_of_a_running_trio_are_refused_too(inner: Inner) -> None:
    result = inner(
        """
        import pytest

        @pytest.mark.sim
        async def test_nursery(nursery):
            assert 0

        @pytest.mark.sim
        async def test_clock(autojump_clock):
            assert 0
        """,
        order=(TRIO, OURS),
        ini="trio_mode = true",
    )
    result.assert_outcomes(errors=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*found the async fixture 'nursery'*", "*found MockClock as 'autojump_clock'*"]
    )
