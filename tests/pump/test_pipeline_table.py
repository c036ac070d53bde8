"""The table of steps: what may stand where, in which order, and the words for what may not."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

import pytest
import trio

from phloem.config import StepConfig
from phloem.errors import ConfigurationError
from phloem.pump.pipeline import STEPS, Pipeline
from phloem.pump.ready_made import (
    Step,
    branch,
    deadline,
    drop_if,
    expand,
    limit,
    pace,
    rate,
    reject_if,
    sample,
    tap,
    transform,
)
from support.listeners import BACK, Ask, Reply
from support.pipelines import DEFAULT, open_piped

CHECKED: Final = "a pipeline without validation is not phloem"
SEATS: Final = "each message in the books has a seat: that is what bounds memory"
STAMPED: Final = "nobody but the pump says on whose thread a message is"
NAMES: Final = "admit, parse, repair, envelope, extract, thread, route, validate, decode, dispatch, replies"


def see(item: Any) -> None: ...


def also(item: Any) -> None: ...


async def around(message: Any, call: Any) -> Any:
    return await call()


def names(pipeline: Pipeline) -> list[str]:
    return [line.split("  ")[0] for line in str(pipeline).splitlines()]


def between(pipeline: Pipeline, first: str, last: str) -> list[str]:
    found = names(pipeline)
    return found[found.index(first) : found.index(last) + 1]


def refusal(edit: Callable[[], object]) -> tuple[str, str, str]:
    with pytest.raises(ConfigurationError) as refused:
        edit()
    (fault,) = refused.value.faults
    return fault.where, fault.found, fault.expected


def test_the_default_table_has_eleven_steps_that_fit_each_other() -> None:
    assert ", ".join(row.name for row in STEPS) == NAMES
    for row, following in pairwise(STEPS):
        assert row.gives is following.takes
    assert DEFAULT.is_default
    assert Pipeline() == DEFAULT == Pipeline.of([])


def test_a_table_is_shown_in_running_order_with_its_types() -> None:
    edited = (
        DEFAULT.before("admit", pace(0.5))
        .without("repair")
        .replace("parse", see)
        .after("decode", transform(see))
        .replace("dispatch", around)
    )
    assert str(edited) == (
        "pace(0.5)                      Incoming\n"
        "admit                          Incoming  -> Incoming\n"
        "parse (replaced by see)        Incoming  -> Document\n"
        "envelope                       Document  -> Opened\n"
        "extract                        Opened    -> Part\n"
        "thread                         Part      -> Part\n"
        "route                          Part      -> Addressed\n"
        "validate                       Addressed -> Addressed\n"
        "decode                         Addressed -> Message\n"
        "transform(see)                 Message\n"
        "dispatch (replaced by around)  Message   -> Returned\n"
        "replies                        Returned  -> Part"
    )
    assert not edited.is_default


def test_steps_after_one_run_in_the_order_they_were_put() -> None:
    edited = DEFAULT.after("repair", tap(see), name="a").after("repair", tap(see), name="b")
    assert between(edited, "repair", "envelope") == ["repair", "a", "b", "envelope"]


def test_steps_before_one_run_in_the_order_they_were_put() -> None:
    edited = DEFAULT.before("repair", tap(see), name="a").before("repair", tap(see), name="b")
    assert between(edited, "parse", "repair") == ["parse", "a", "b", "repair"]


def test_after_one_comes_before_what_stands_before_the_next() -> None:
    edited = DEFAULT.before("repair", tap(see), name="b").after("parse", tap(see), name="a")
    assert between(edited, "parse", "repair") == ["parse", "a", "b", "repair"]


def test_a_step_is_put_next_to_a_users_own() -> None:
    edited = DEFAULT.after("parse", tap(see), name="a").after("parse", tap(see), name="b")
    edited = edited.after("a", tap(see), name="after a").before("a", tap(see), name="before a")
    edited = edited.after("b", tap(see), name="after b").before("b", tap(see), name="before b")
    wanted = ["parse", "before a", "a", "after a", "before b", "b", "after b", "repair"]
    assert between(edited, "parse", "repair") == wanted


def test_a_users_own_step_is_replaced_in_its_place_and_removed() -> None:
    edited = DEFAULT.after("parse", tap(see), name="a").after("parse", tap(see), name="b")
    replaced = edited.replace("a", drop_if(also))
    assert between(replaced, "parse", "repair") == ["parse", "a", "b", "repair"]
    assert [each.step for each in replaced.placed] == [drop_if(also), tap(see)]
    assert between(edited.without("a"), "parse", "repair") == ["parse", "b", "repair"]
    assert edited.without("a").without("b").is_default


def test_a_step_is_named_after_what_it_does_and_a_second_one_gets_a_number() -> None:
    edited = DEFAULT
    steps: list[Step] = [
        tap(see),
        tap(see),
        tap(also),
        tap(see),
        pace(0.1),
        limit(3),
        rate(2, 5),
        deadline(1.5),
    ]
    more: list[Step] = [sample(0.5, see), reject_if(see, "no"), drop_if(see), transform(see), expand(see)]
    for step in [*steps, *more]:
        edited = edited.before("dispatch", step)
    edited = edited.before("route", branch(see, to="else"))
    assert [each.name for each in edited.placed] == [
        *("tap(see)", "tap(see)#2", "tap(also)", "tap(see)#3", "pace(0.1)", "limit(3)", "rate(2, 5)"),
        *("deadline(1.5)", "sample(see)", "reject_if(see)", "drop_if(see)", "transform(see)", "expand(see)"),
        "branch(see, to='else')",
    ]


def test_an_edit_leaves_the_pipeline_it_was_made_of_as_it_was() -> None:
    first = DEFAULT.after("parse", tap(see), name="a")
    before = (first.placed, first.replaced, first.removed, str(first))
    first.after("a", tap(also))
    first.replace("a", tap(also))
    first.replace("repair", see)
    first.without("repair")
    first.without("a")
    assert (first.placed, first.replaced, first.removed, str(first)) == before
    assert DEFAULT.is_default


async def test_two_organisms_share_one_at_once_and_each_has_its_own_state(
    autojump_clock: trio.testing.MockClock,
) -> None:
    shared = DEFAULT.before("dispatch", pace(1.0)).after("admit", tap(see), name="seen")
    async with open_piped(shared, BACK) as one, open_piped(shared, BACK) as other:
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            for organism in (one, other, one):
                nursery.start_soon(organism.ask, Ask("x"))
        assert trio.current_time() - begun == 1.0  # two of three in one organism, one in the other
        assert [each.statistics()["pipeline"]["seen"]["seen"] for each in (one, other)] == [2, 1]
        assert await other.ask(Ask("y")) == Reply("y")


def test_the_edits_of_a_file_make_the_same_table() -> None:
    edits = [
        StepConfig(edit="after", at="parse", kind="tap", arguments={"fn": see}, name="a"),
        StepConfig(edit="before", at="a", kind="drop_if", arguments={"fn": also}),
        StepConfig(edit="replace", at="repair", kind="by", arguments={"by": see}),
        StepConfig(edit="before", at="dispatch", kind="rate", arguments={"per_second": 2, "burst": 3}),
        StepConfig(edit="before", at="dispatch", kind="pace", arguments={"interval": 2}, name="gone"),
        StepConfig(edit="without", at="gone"),
    ]
    wanted = DEFAULT.after("parse", tap(see), name="a").before("a", drop_if(also)).replace("repair", see)
    assert Pipeline.of(edits) == wanted.before("dispatch", rate(2, 3))


@pytest.mark.parametrize(
    ("edit", "where", "found", "expected"),
    [
        (
            lambda: DEFAULT.after("repair", transform(see)),
            "after repair",
            "transform(see), which takes Message",
            "a step that takes Document",
        ),
        (
            lambda: DEFAULT.before("replies", reject_if(see, "no")),
            "before replies",
            "reject_if(see), which takes Incoming or Document or Opened or Part or Addressed or Message",
            "a step that takes Returned",
        ),
        (
            lambda: DEFAULT.before("thread", transform(see)),
            "before thread",
            "transform(see), which takes Message",
            "a step that takes Part",
        ),
        (
            lambda: DEFAULT.after("route", expand(see)),
            "after route",
            "expand(see), which takes Part or Message",
            "a step that takes Addressed",
        ),
        (
            lambda: DEFAULT.before("admit", branch(see, to="x")),
            "before admit",
            "branch(see, to='x'), which takes Part or DeadLetter",
            "a step that takes Incoming",
        ),
        (
            lambda: DEFAULT.after("dispatch", limit(1)),
            "after dispatch",
            "limit(1), which takes Incoming or Message",
            "a step that takes Returned",
        ),
        (
            lambda: DEFAULT.before("decode", pace(1)),
            "before decode",
            "pace(1), which takes Incoming or Message",
            "a step that takes Addressed",
        ),
        (
            lambda: DEFAULT.after("dispatch", deadline(1)),
            "after dispatch",
            "deadline(1), which takes Incoming or Document or Opened or Part or Addressed or Message",
            "a step that takes Returned",
        ),
        (
            lambda: DEFAULT.after("parse", tap(see), name="a").after("a", transform(see)),
            "after parse",
            "transform(see), which takes Message",
            "a step that takes Document",
        ),
        (
            lambda: DEFAULT.after("parse", tap(see), name="a").replace("a", transform(see)),
            "after parse",
            "transform(see), which takes Message",
            "a step that takes Document",
        ),
        (
            lambda: DEFAULT.without("admit"),
            "without('admit')",
            "the step admit",
            f"it left where it is: {SEATS}",
        ),
        (
            lambda: DEFAULT.without("thread"),
            "without('thread')",
            "the step thread",
            f"it left where it is: {STAMPED}",
        ),
        (
            lambda: DEFAULT.without("parse"),
            "without('parse')",
            "Incoming for repair, which takes Document",
            "a step that gives what it takes",
        ),
        (
            lambda: DEFAULT.without("extract"),
            "without('extract')",
            "Opened for thread, which takes Part",
            "a step that gives what it takes",
        ),
        (
            lambda: DEFAULT.without("dispatch"),
            "without('dispatch')",
            "Message for replies, which takes Returned",
            "a step that gives what it takes",
        ),
        (
            lambda: DEFAULT.replace("dispatch", see),
            "replace('dispatch')",
            "see",
            "async def fn(message, call)",
        ),
        (
            lambda: DEFAULT.replace("parse", 3),  # type: ignore[arg-type] # on purpose
            "replace('parse')",
            "3",
            "a function that does its work: Incoming -> Document",
        ),
        (
            lambda: DEFAULT.after("parse", tap(see), name="a").replace("a", see),
            "replace('a')",
            "see",
            "a step such as tap(fn)",
        ),
        (
            lambda: DEFAULT.after("parse", see),  # type: ignore[arg-type] # on purpose
            "after('parse')",
            "see",
            "a step: tap, sample, reject_if, drop_if, transform, expand, branch, limit, pace, rate, deadline",
        ),
        (
            lambda: DEFAULT.after("parse", tap(see), name="parse"),
            "name",
            "'parse'",
            "a name that no other step has",
        ),
        (
            lambda: DEFAULT.after("parse", tap(see), name="a").before("admit", tap(see), name="a"),
            "name",
            "'a'",
            "a name that no other step has",
        ),
        (
            lambda: DEFAULT.after("repai", tap(see)),
            "after('repai')",
            "no step 'repai'",
            f"one of {NAMES}; did you mean 'repair'?",
        ),
        (lambda: DEFAULT.without("x"), "without('x')", "no step 'x'", f"one of {NAMES}"),
        (
            lambda: DEFAULT.before(7, tap(see)),  # type: ignore[arg-type] # on purpose
            "before(7)",
            "no step '7'",
            f"one of {NAMES}",
        ),
        (
            lambda: DEFAULT.after("parse", tap(see), name="mine").replace("mime", tap(see)),
            "replace('mime')",
            "no step 'mime'",
            f"one of {NAMES}, mine; did you mean 'mine'?",
        ),
        (
            lambda: DEFAULT.apply(StepConfig(edit="above", at="parse")),
            "edit",
            "'above'",
            "after, before, replace or without",
        ),
        (
            lambda: DEFAULT.apply(StepConfig(edit="after", at="parse", kind="tab")),
            "after parse",
            "'tab'",
            "one of tap, sample, reject_if, drop_if, transform, expand, branch, limit, pace, rate, deadline",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_types(
    edit: Callable[[], object], where: str, found: str, expected: str
) -> None:
    assert refusal(edit) == (f"pipeline: {where}", found, expected)


@pytest.mark.parametrize("name", ["envelope", "route", "validate", "decode", "replies"])
def test_what_validates_is_neither_removed_nor_replaced(name: str) -> None:
    step = f"the step {name}"
    removed, replaced = f"it left where it is: {CHECKED}", f"it left as it is: {CHECKED}"
    assert refusal(lambda: DEFAULT.without(name)) == (f"pipeline: without({name!r})", step, removed)
    assert refusal(lambda: DEFAULT.replace(name, see)) == (f"pipeline: replace({name!r})", step, replaced)


def test_a_removed_step_is_no_place_any_more() -> None:
    without = DEFAULT.without("repair")
    _, found, expected = refusal(lambda: without.after("repair", tap(see)))
    assert found == "no step 'repair'"
    assert "repair" not in re.split("[,;] ", expected)
    assert DEFAULT.replace("repair", see).without("repair") == without


@pytest.mark.parametrize("at", ["admit", "parse", "dispatch"])
@pytest.mark.parametrize("step", [limit(1), pace(1), rate(1, 1)])
def test_what_waits_may_stand_where_nothing_is_held_up(at: str, step: Any) -> None:
    assert len(DEFAULT.before(at, step).placed) == 1
    previous = {"parse": "admit", "dispatch": "decode"}
    if at in previous:
        assert len(DEFAULT.after(previous[at], step).placed) == 1
