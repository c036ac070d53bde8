"""Claims of loading on the section ``pipeline:``: what an edit may say, and where each fault is told."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from phloem.config import ListenerConfig
from phloem.loading import load_config, resolve
from phloem.loading.keys import EDIT, STEP_KINDS
from phloem.pump.pipeline import MAKERS, STEPS, Pipeline

if TYPE_CHECKING:
    from .conftest import Folder

HOOKS = """
from phloem.pump.ready_made import tap

def log(item): ...
def bad(item): ...
async def around(message, call): ...
class Hook:
    def __call__(self, item): ...
hook = Hook()
step = tap(log)
number = 3
"""
LISTENER = """
listeners:
  - {name: Audit, payload_class: hello.Greeting, handler: hello.greet}
"""
STEP_NAMES = ", ".join(row.name for row in STEPS)
READY_MADE = "tap, reject_if, transform, limit, pace, rate, deadline, sample, drop_if, expand, branch"


@pytest.fixture
def edits(folder: Folder) -> Any:
    """Writes the edits into a file, one a line from line 2 on, each in braces at column 5."""
    folder.write("app/hooks.py", HOOKS)

    def text(*lines: str) -> str:
        return "pipeline:\n" + "".join(f"  - {{{line}}}\n" for line in lines) + LISTENER

    return text


def test_every_ready_made_step_has_its_key_and_each_key_its_arguments() -> None:
    assert set(STEP_KINDS) == {*MAKERS, "by"} <= set(EDIT)
    for kind, maker in MAKERS.items():
        assert set(STEP_KINDS[kind]) == set(inspect.signature(maker).parameters)


ONE_OF_EACH: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "after: repair, tap: app.hooks.log": ("after", "repair", "tap", {"fn": "log"}),
    "before: dispatch, pace: 0.1": ("before", "dispatch", "pace", {"interval": 0.1}),
    "after: decode, reject_if: {fn: app.hooks.bad, code: spam}": (
        "after",
        "decode",
        "reject_if",
        {"fn": "bad", "code": "spam"},
    ),
    "after: decode, transform: 'app.hooks:log'": ("after", "decode", "transform", {"fn": "log"}),
    "before: dispatch, limit: 3": ("before", "dispatch", "limit", {"n": 3}),
    "before: dispatch, rate: {per_second: 10, burst: 5}": (
        "before",
        "dispatch",
        "rate",
        {"per_second": 10.0, "burst": 5},
    ),
    "before: dispatch, deadline: 5": ("before", "dispatch", "deadline", {"seconds": 5.0}),
    "after: repair, sample: {fraction: 0.1, fn: app.hooks.hook}": (
        "after",
        "repair",
        "sample",
        {"fraction": 0.1, "fn": "hook"},
    ),
    "after: decode, drop_if: app.hooks.bad": ("after", "decode", "drop_if", {"fn": "bad"}),
    "after: decode, expand: app.hooks.log": ("after", "decode", "expand", {"fn": "log"}),
    "before: route, branch: {predicate: app.hooks.bad, to: AUDIT}": (
        "before",
        "route",
        "branch",
        {"predicate": "bad", "to": "AUDIT"},
    ),
    "replace: repair, by: app.hooks.log": ("replace", "repair", "by", {"by": "log"}),
    "replace: dispatch, by: app.hooks.around": ("replace", "dispatch", "by", {"by": "around"}),
    "without: repair": ("without", "repair", "", {}),
}


@pytest.mark.parametrize("line", ONE_OF_EACH)
def test_an_edit_becomes_a_step_with_its_functions_found(folder: Folder, edits: Any, line: str) -> None:
    (step,) = folder.load(edits(line)).pipeline
    edit, at, kind, arguments = ONE_OF_EACH[line]
    assert (step.edit, step.at, step.kind) == (edit, at, kind)
    assert set(step.arguments) == set(arguments)
    for key, value in arguments.items():
        found = step.arguments[key]
        if callable(found):
            assert getattr(found, "__name__", "hook") == value
            assert step.paths[key].endswith(value)
        else:
            assert (found, type(found)) == (value, type(value))
    assert not Pipeline.default().apply(step).is_default


def test_edits_keep_their_order_and_names_that_later_ones_may_say(folder: Folder, edits: Any) -> None:
    config = folder.load(
        edits(
            "after: repair, tap: app.hooks.log, name: seen",
            "before: seen, tap: app.hooks.hook",
            "replace: seen, by: app.hooks.step",
            "without: 'tap(Hook)'",
            "without: seen",
        )
    )
    assert [(step.edit, step.at) for step in config.pipeline] == [
        ("after", "repair"),
        ("before", "seen"),
        ("replace", "seen"),
        ("without", "tap(Hook)"),
        ("without", "seen"),
    ]
    pipeline = Pipeline.default()
    for step in config.pipeline:
        pipeline = pipeline.apply(step)
    assert pipeline.is_default


def test_a_file_without_the_section_has_no_edits(folder: Folder) -> None:
    assert folder.load(LISTENER).pipeline == ()
    assert folder.load("pipeline: []\n" + LISTENER).pipeline == ()


FAULTS = [
    # what an edit says at all
    ("after: repair", "1", "an edit without a step", f"one of {READY_MADE}, beside after"),
    (
        "tap: app.hooks.log",
        "1",
        "an edit without a place",
        "one of after, before, replace, without, with the name of a step",
    ),
    (
        "after: repair, before: route, tap: app.hooks.log",
        "1",
        "after and before in one edit",
        "one of after, before, replace, without, with the name of a step",
    ),
    (
        "after: repair, tap: app.hooks.log, limit: 3",
        "1",
        "tap and limit in one edit",
        f"one of {READY_MADE}, beside after",
    ),
    ("replace: repair, tap: app.hooks.log", "tap: ", "tap beside replace", "by"),
    ("replace: repair", "1", "an edit without a step", "by, beside replace"),
    ("after: repair, by: app.hooks.log", "by: ", "by beside after", f"one of {READY_MADE}"),
    ("without: repair, pace: 1", "pace: ", "pace beside without", "without alone: it puts nothing in"),
    ("without: repair, name: x", "name: ", "name beside without", "without alone: it puts nothing in"),
    ("", "1", "an edit without a place", "one of after, before, replace, without, with the name of a step"),
    # keys
    (
        "after: repair, tpa: app.hooks.log",
        "|tpa",
        "the unknown key 'tpa'",
        "a known key; did you mean 'tap'?",
    ),
    (
        "after: decode, drop_if: app.hooks.bad, code: spam",
        "|code",
        "the unknown key 'code'",
        "it belongs under reject_if:",
    ),
    (
        "before: route, branch: {predicate: app.hooks.bad, too: audit}",
        "|too",
        "the unknown key 'too'",
        "a known key; did you mean 'to'?",
    ),
    # places
    (
        "after: repiar, tap: app.hooks.log",
        "after: ",
        "no step 'repiar'",
        f"one of {STEP_NAMES}; did you mean 'repair'?",
    ),
    ("without: seen", "without: ", "no step 'seen'", f"one of {STEP_NAMES}"),
    ("after: 3, tap: app.hooks.log", "after: ", "the number 3 as after", None),
    ("after: '', tap: app.hooks.log", "after: ", "an empty text as after", "the name of a step"),
    # arguments
    ("after: repair, tap: 3", "tap: ", "the number 3 as tap", None),
    ("after: repair, tap: ", "|tap", "nothing as tap", "an import path such as app.hooks.log"),
    ("after: repair, tap: ''", "tap: ", "an empty text as tap", "an import path such as app.hooks.log"),
    (
        "after: repair, tap: app.hooks.lgo",
        "tap: ",
        "no 'lgo' in module 'app.hooks'",
        "a name that is in it; did you mean 'log'?",
    ),
    ("after: repair, tap: app.hoks.log", "tap: ", "no module 'app.hoks'", None),
    ("after: repair, tap: log", "tap: ", "'log' as an import path", None),
    (
        "after: repair, tap: app.hooks.number",
        "tap: ",
        "'app.hooks.number', 3 as tap",
        "a function, or anything else that can be called",
    ),
    ("before: dispatch, limit: 0", "limit: ", "0 as limit", "a whole number, at least 1"),
    ("before: dispatch, limit: 2.5", "limit: ", "the number 2.5 as limit", "a whole number, at least 1"),
    ("before: dispatch, pace: 0", "pace: ", "0.0 as pace", "seconds, more than 0"),
    ("before: dispatch, pace: .inf", "pace: ", "the number .inf as pace", "seconds, more than 0"),
    ("before: dispatch, deadline: soon", "deadline: ", "the text 'soon' as deadline", "seconds, more than 0"),
    (
        "before: dispatch, rate: {per_second: 0, burst: 5}",
        "per_second: ",
        "0.0 as per_second",
        "a number, more than 0",
    ),
    (
        "before: dispatch, rate: {per_second: -1, burst: 5}",
        "per_second: ",
        "-1.0 as per_second",
        "a number, more than 0",
    ),
    (
        "before: dispatch, rate: {per_second: 1:30, burst: 5}",
        "per_second: ",
        "1:30, which YAML 1.1 reads as the base 60 number 90, as per_second",
        "a number, more than 0; in decimal that is 90",
    ),
    (
        "before: dispatch, rate: {per_second: 1e999, burst: 5}",
        "per_second: ",
        "the text '1e999' as per_second",
        "a number, more than 0",
    ),
    (
        "before: dispatch, rate: {per_second: 3}",
        "rate: ",
        "rate without burst",
        "burst: a whole number, at least 1",
    ),
    ("before: dispatch, rate: 3", "rate: ", "the number 3 as rate", "a mapping with per_second, burst"),
    (
        "after: repair, sample: {fraction: 1.01, fn: app.hooks.log}",
        "fraction: ",
        "1.01 as fraction",
        "a number above 0, at most 1",
    ),
    (
        "after: decode, reject_if: {fn: app.hooks.bad, code: Bad Code}",
        "code: ",
        "'Bad Code' as code",
        "1 to 64 of a-z, 0-9 and -, a letter first",
    ),
    (
        "before: route, branch: {predicate: app.hooks.bad, to: adit}",
        "to: ",
        "the unknown listener 'adit' as to",
        "the name of a listener; did you mean 'Audit'?",
    ),
    (
        "before: route, branch: {predicate: app.hooks.bad, to: system.todo}",
        "to: ",
        "the unknown listener 'system.todo' as to",
        "the name of a listener",
    ),
    (
        "after: decode, tap: app.hooks.log, name: repair",
        "name: ",
        "'repair'",
        "a name that no other step has",
    ),
    # what does not fit: the table's own words
    (
        "after: parse, transform: app.hooks.log",
        "1",
        "transform(log), which takes Message",
        "a step that takes Document",
    ),
    (
        "before: validate, limit: 3",
        "1",
        "limit(3), which takes Incoming or Message",
        "a step that takes Addressed",
    ),
    (
        "without: validate",
        "1",
        "the step validate",
        "it left where it is: a pipeline without validation is not phloem",
    ),
    (
        "replace: route, by: app.hooks.log",
        "1",
        "the step route",
        "it left as it is: a pipeline without validation is not phloem",
    ),
    ("replace: dispatch, by: app.hooks.log", "1", "log", "async def fn(message, call)"),
]


@pytest.mark.parametrize(("line", "place", "found", "expected"), FAULTS, ids=[row[0] for row in FAULTS])
def test_a_fault_is_told_where_it_stands(
    folder: Folder, edits: Any, line: str, place: str, found: str, expected: str | None
) -> None:
    """``place``: the value behind that key; with a bar, the key; 1: the edit itself."""
    where, told, asked = folder.one(edits(line))
    column = 1 if place == "1" else line.rindex(place.strip("|")) + 2 + (0 if "|" in place else len(place))
    assert (where, told) == (f"organism.yaml:2:{4 + column}", found)
    assert expected is None or asked == expected


def test_each_edit_has_its_own_line_and_all_are_told_at_once(folder: Folder, edits: Any) -> None:
    text = edits(
        "after: repair, tap: app.hooks.log",
        "after: nowhere, tap: app.hooks.log",
        "before: dispatch, limit: none",
        "without: decode",
        "before: route, branch: {predicate: app.hooks.nope, to: nobody}",
    )
    assert folder.places(text) == [
        ("3:13", "no step 'nowhere'"),
        ("4:31", "the text 'none' as limit"),
        ("5:5", "the step decode"),
        ("6:41", "no 'nope' in module 'app.hooks'"),
        ("6:61", "the unknown listener 'nobody' as to"),
    ]


def test_nothing_is_said_of_what_stands_on_a_broken_edit(folder: Folder, edits: Any) -> None:
    text = edits(
        "after: repair, tap: app.hooks.nope, name: seen",
        "after: seen, tap: app.hooks.log, name: again",
        "without: again",
        "after: parse, transform: app.hooks.log, name: third",
        "without: third",
        "after: decode, name: fourth",
        "without: fourth",
    )
    assert [place for place, _ in folder.places(text)] == ["2:26", "5:5", "7:5"]


def test_a_module_of_hooks_that_raises_is_told_once_for_each_path(folder: Folder, edits: Any) -> None:
    folder.write("app/hooks.py", "raise ValueError('no')\n")
    text = edits("after: repair, tap: app.hooks.log", "after: parse, tap: app.hooks.bad")
    faults = folder.faults(text)
    assert [fault.where for fault in faults] == ["organism.yaml:2:26", "organism.yaml:3:25"]
    assert all("which raised ValueError: no" in fault.found for fault in faults)


def test_something_else_than_a_list_of_mappings_is_a_fault(folder: Folder) -> None:
    assert folder.places("pipeline: {after: repair}\n" + LISTENER) == [("1:11", "a mapping as pipeline")]
    assert folder.places("pipeline: [tap, 3]\n" + LISTENER) == [
        ("1:12", "the text 'tap' as pipeline"),
        ("1:17", "the number 3 as pipeline"),
    ]


def test_keys_of_edits_elsewhere_are_told_where_they_belong(folder: Folder) -> None:
    faults = folder.faults("after: repair\ntap: app.hooks.log\n" + LISTENER)
    assert {fault.expected for fault in faults} == {"it belongs to an edit in pipeline:"}
    listener = (
        "listeners:\n  - {name: a, payload_class: hello.Greeting, handler: hello.greet, pipeline: []}\n"
    )
    assert folder.one(listener)[2] == "it belongs at the top of the file, not under a listener"


def test_a_branch_may_lead_to_a_listener_that_python_brings(folder: Folder, edits: Any) -> None:
    file = folder.write(
        "organism.yaml", edits("before: route, branch: {predicate: app.hooks.bad, to: later}")
    )

    async def handler(payload: object, metadata: object) -> None: ...

    brought = ListenerConfig("Later", payload_class_path="hello.Greeting", handler=handler)
    (step,) = load_config(file, listeners=[brought]).pipeline
    assert step.arguments["to"] == "later"


def test_a_resolved_step_stays_as_it_is(folder: Folder, edits: Any) -> None:
    config = folder.load(edits(*ONE_OF_EACH))
    assert resolve(config).pipeline == config.pipeline
