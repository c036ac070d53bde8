"""Claims of loading on edits of the pipeline that Python declares: each fault names its edit."""

from __future__ import annotations

from typing import Any

import pytest

from phloem.config import OrganismConfig, StepConfig
from phloem.errors import ConfigurationError
from phloem.loading import resolve

READY_MADE = "tap, reject_if, transform, limit, pace, rate, deadline, sample, drop_if, expand, branch"


def of_python(*steps: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        resolve(OrganismConfig(pipeline=steps))
    return [(fault.where, fault.found, fault.expected) for fault in caught.value.faults]


def test_a_function_is_taken_before_its_import_path() -> None:
    step = StepConfig(
        edit="after", at="repair", kind="tap", arguments={"fn": print}, paths={"fn": "no.such.thing"}
    )
    assert resolve(OrganismConfig(pipeline=[step])).pipeline == (step,)
    path = StepConfig(edit="after", at="repair", kind="tap", paths={"fn": "builtins:print"})
    assert resolve(OrganismConfig(pipeline=[path])).pipeline[0].arguments == {"fn": print}


def test_faults_of_python_name_the_edit() -> None:
    fine = StepConfig(edit="after", at="repair", kind="tap", arguments={"fn": print})
    assert of_python(
        fine,
        "tap",
        StepConfig(edit="afer", at="repair", kind="tap", arguments={"fn": print}),
        StepConfig(edit="after", at="repair", kind="tpa"),
        StepConfig(edit="after", at="repair", kind="tap"),
        StepConfig(edit="after", at="repair", kind="tap", arguments={"fn": 3}),
        StepConfig(edit="after", at="repair", kind="tap", arguments={"fn": print, "code": "x"}),
        StepConfig(edit="before", at="dispatch", kind="limit", arguments={"n": True}),
        StepConfig(edit="without", at="repair", kind="tap", arguments={"fn": print}),
        StepConfig(edit="replace", at="repair", kind="tap", arguments={"fn": print}),
        StepConfig(edit="without", at="decode"),
        StepConfig(edit="after", at=3, kind="tap", arguments={"fn": print}),  # type: ignore[arg-type]
    ) == [
        ("edit number 2", "the text 'tap' as pipeline", "a StepConfig"),
        (
            "edit number 3",
            "the text 'afer' as edit",
            "one of after, before, replace, without; did you mean 'after'?",
        ),
        ("edit number 4", "the text 'tpa' as kind", f"one of {READY_MADE}; did you mean 'tap'?"),
        ("edit number 5", "tap without fn", "fn: an import path such as app.hooks.log"),
        ("edit number 6", "3 as tap", "a function, or anything else that can be called"),
        ("edit number 7", "the argument 'code' as tap", "nothing but fn"),
        ("edit number 8", "True as limit", "a whole number, at least 1"),
        ("edit number 9", "the text 'tap' as kind", "nothing"),
        ("edit number 10", "the text 'tap' as kind", "one of by"),
        (
            "edit number 11",
            "the step decode",
            "it left where it is: a pipeline without validation is not phloem",
        ),
        ("edit number 12", "3 as after", "the name of a step"),
    ]


@pytest.mark.parametrize("given", ["after", 3, None, {"after": "repair"}])
def test_edits_of_python_are_a_list(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a list of StepConfig"):
        resolve(OrganismConfig(pipeline=given))
