"""The promises have teeth: each deliberate fault in the pump or the bus is found by a short search."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from support.mutants import Mutant, mutated, verdicts
from support.pump_mutants import CONTROLS, EVERY, MUTANTS


@pytest.mark.slow
def test_every_mutant_is_killed_and_no_control_is() -> None:
    found = verdicts(EVERY)
    assert set(found) == {mutant.name for mutant in EVERY}
    assert [mutant.name for mutant in MUTANTS if not found[mutant.name].killed] == []
    assert [found[control.name] for control in CONTROLS if found[control.name].killed] == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_has_one_place_and_is_python(mutant: Mutant) -> None:
    spec = importlib.util.find_spec(mutant.module)
    assert spec is not None
    assert spec.origin is not None
    text = Path(spec.origin).read_text("utf-8")
    compile(mutated(mutant, text), spec.origin, "exec")


def test_a_mutant_whose_place_is_gone_is_told() -> None:
    stale = Mutant("a stale one", "phloem.pump.pump", "no such text", "")
    with pytest.raises(LookupError, match="0 times"):
        mutated(stale, "text")
