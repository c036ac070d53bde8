"""Claims of loading on ``sources:``, ``egress:`` and ``service:``, and where their faults are told."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from phloem.config import ListenerConfig, OrganismConfig, SourceConfig
from phloem.errors import ConfigurationError
from phloem.loading import resolve, running_listeners
from phloem.loading.keys import SOURCE

if TYPE_CHECKING:
    from .conftest import Folder

LISTENERS = """
listeners:
  - {name: Greeter, payload_class: hello.Greeting, handler: hello.greet}
  - {name: shouter, payload_class: hello.Reply, handler: hello.shout}
"""


def of_python(**more: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        resolve(OrganismConfig(**more))
    return [(fault.where, fault.found, fault.expected) for fault in caught.value.faults]


# -- sources -------------------------------------------------------------------------------------


def test_every_attribute_of_a_source_has_a_key_of_its_name() -> None:
    assert list(SOURCE) == [row.field for row in SOURCE.values()]
    assert list(SOURCE) == [field.name for field in fields(SourceConfig)]


def test_each_key_of_a_source_becomes_its_attribute(folder: Folder) -> None:
    config = folder.load(
        """
        sources:
          - {name: console, path: "-", framing: lines, to: greeter, priority: yes}
          - name: feed
            command: [tail, -f, my orders.xml]
          - {name: system, path: feed/system.ndjson, framing: ndjson, to: Shouter}
        """.replace("name: system", "name: systems")
        + LISTENERS.replace("\n", "\n        ")
    )
    assert config.sources == (
        SourceConfig(name="console", path="-", framing="lines", to="greeter", priority=True),
        SourceConfig(name="feed", command=("tail", "-f", "my orders.xml")),
        SourceConfig(name="systems", path="feed/system.ndjson", framing="ndjson", to="Shouter"),
    )
    assert resolve(config).sources == config.sources


def test_a_file_without_the_sections_has_none_of_it(folder: Folder) -> None:
    config = folder.load(LISTENERS)
    assert (config.sources, config.egress) == ((), ())
    assert folder.load("sources: []\negress: []\n" + LISTENERS).sources == ()


A_NAME = "a name other than system and system.…, which are phloem's own"
SOURCES = [
    ("{path: a}", "6", "no name", "name: a name"),
    ("{name: a}", "6", "a source without path or command", "either path or command"),
    ("{name: a, path: ''}", "6", "a source without path or command", "either path or command"),
    ("{name: a, command: []}", "6", "a source without path or command", "either path or command"),
    ("{name: a, path: x, command: [y]}", "6", "path and command in one source", "either path or command"),
    ("{name: a, path: x, comand: [y]}", "comand", "the unknown key 'comand'", None),
    ("{name: a, pth: x}", "pth", "the unknown key 'pth'", "a known key; did you mean 'path'?"),
    ("{name: a, path: 3}", "3", "the number 3 as path", None),
    ('{name: a, path: "x\\0y"}', '"', "the character U+0000", "text without it"),
    ('{name: a, command: [x, "y\\0"]}', "[", "the character U+0000", "text without it"),
    (
        "{name: a, command: tail -f x}",
        "tail",
        "the text 'tail -f x' as command",
        "a list of words such as [tail, -f, orders.xml]",
    ),
    ("{name: a, command: [x, 3]}", "3", "the number 3 as command", None),
    ("{name: a, command: [x, '']}", "'", "an empty text as command", "text"),
    (
        "{name: a, path: x, framing: csv}",
        "csv",
        "the text 'csv' as framing",
        "one of xml, ndjson, lines",
    ),
    (
        "{name: a, path: x, framing: lines}",
        "6",
        "no to, with framing lines",
        "to: the name of the listener that lines are for",
    ),
    (
        "{name: a, path: x, framing: xml, to: Greeter}",
        "Greeter",
        "'Greeter' as to, with framing xml",
        "no to: each envelope says itself where it goes",
    ),
    (
        "{name: a, path: x, to: greter}",
        "greter",
        "the unknown listener 'greter'",
        "the name of a listener; did you mean 'Greeter'?",
    ),
    ("{name: a, path: x, to: system.todo}", "system.", "the unknown listener 'system.todo'", None),
    ("{name: a, path: x, priority: 1}", "1}", "the number 1 as priority", "true or false"),
    (
        "{name: GREETER, path: x}",
        "GREETER",
        "'GREETER', which is a listener's name",
        "a name that no listener has",
    ),
    ("{name: System, path: x}", "System", "'System' as name", A_NAME),
    ("{name: system.feed, path: x}", "system.", "'system.feed' as name", A_NAME),
    ("{name: '', path: x}", "'", "an empty text as name", "a name"),
    ("{name: ' a', path: x}", "'", "' a', which begins or ends with a space, as name", "a name such as 'a'"),
    ("{name: 3, path: x}", "3", "the number 3 as name", None),
    ("feed.xml", "6", "the text 'feed.xml' as sources", "a mapping with name, path, framing …"),
]


@pytest.mark.parametrize(("line", "place", "found", "expected"), SOURCES, ids=[row[0] for row in SOURCES])
def test_a_fault_of_a_source_is_told_where_it_stands(
    folder: Folder, line: str, place: str, found: str, expected: str | None
) -> None:
    """``place``: where that first stands in the line; 6: the source itself."""
    where, told, asked = folder.one(f"sources:\n  -  {line}\n{LISTENERS}")
    column = 6 if place == "6" else 6 + line.index(place)
    assert (where, told) == (f"organism.yaml:2:{column}", found)
    assert expected is None or asked == expected


def test_names_are_told_apart_without_case_and_stdin_is_read_once(folder: Folder) -> None:
    text = f"""
sources:
  - {{name: a, path: "-"}}
  - {{name: A, path: x}}
  - {{name: b, path: "-"}}
  - {{name: c, path: x}}
{LISTENERS}"""
    assert folder.places(text) == [
        ("3:12", "the name 'A' a second time (first: source number 1)"),
        ("4:21", "stdin a second time (first: source number 1)"),
    ]


def test_a_twins_mark_is_no_fault_in_a_senders_name(folder: Folder) -> None:
    assert folder.load("sources: [{name: 'feed#2', path: x}]" + LISTENERS).sources[0].name == "feed#2"


def test_faults_of_python_name_the_source() -> None:
    assert of_python(
        sources=[
            "feed.xml",
            SourceConfig(name="a", path="x", to="nobody"),
            SourceConfig(name="b", path="x", framing="lins"),
            SourceConfig(name="c", command="tail -f x"),
            SourceConfig(name="d", path=None),  # type: ignore[arg-type]
            SourceConfig(name=7, path="x"),  # type: ignore[arg-type]
            SourceConfig(name="e", path="x", priority=1),  # type: ignore[arg-type]
        ]
    ) == [
        ("source number 1", "the text 'feed.xml' as sources", "a SourceConfig"),
        ("source number 2", "the unknown listener 'nobody'", "the name of a listener"),
        (
            "source number 3",
            "the text 'lins' as framing",
            "one of xml, ndjson, lines; did you mean 'lines'?",
        ),
        (
            "source number 4",
            "the text 'tail -f x' as command",
            "a list of words such as [tail, -f, orders.xml]",
        ),
        ("source number 5", "None as path", "the path of a file, or - for stdin"),
        ("source number 6", "7 as name", "a name"),
        ("source number 7", "1 as priority", "true or false"),
    ]
    assert of_python(sources="feed.xml") == [
        ("organism", "the text 'feed.xml' as sources", "a list of SourceConfig")
    ]


# -- egress --------------------------------------------------------------------------------------


def test_egress_marks_the_listeners_it_names_in_any_case(folder: Folder) -> None:
    config = folder.load("egress: [greeter]\n" + LISTENERS)
    assert config.egress == ("greeter",)
    running = {each.name: each.egress for each in running_listeners(config)}
    assert running == {"Greeter": True, "shouter": False}


@pytest.mark.parametrize(
    ("line", "faults"),
    [
        (
            "[Greeter, greter, GREETER, '', 3]",
            [
                ("1:19", "the unknown listener 'greter'"),
                ("1:27", "the listener 'GREETER' a second time"),
                ("1:36", "an empty text as egress"),
                ("1:40", "the number 3 as egress"),
            ],
        ),
        ("greeter", [("1:9", "the text 'greeter' as egress")]),
        ("{greeter: true}", [("1:9", "a mapping as egress")]),
        ("[system.todo]", [("1:10", "the unknown listener 'system.todo'")]),
    ],
)
def test_a_fault_of_egress_is_told_where_it_stands(
    folder: Folder, line: str, faults: list[tuple[str, str]]
) -> None:
    assert folder.places(f"egress: {line}\n{LISTENERS}") == faults


def test_egress_on_a_listener_is_told_where_it_belongs(folder: Folder) -> None:
    text = "listeners:\n  - {name: a, payload_class: hello.Reply, handler: hello.greet, egress: true}\n"
    assert folder.one(text)[1:] == (
        "the unknown key 'egress'",
        "it belongs at the top of the file, as a list of listeners' names",
    )


def test_egress_of_python_is_a_list_of_names() -> None:
    expected = "a list of listeners' names"
    assert of_python(egress="out") == [("organism", "the text 'out' as egress", expected)]
    assert of_python(egress=None) == [("organism", "None as egress", expected)]
    assert of_python(egress=["out"]) == [
        ("egress number 1", "the unknown listener 'out'", "the name of a listener")
    ]


# -- services ------------------------------------------------------------------------------------


def test_a_service_is_for_all_and_nothing_else_of_phloems_own(folder: Folder) -> None:
    config = folder.load(LISTENERS.replace("hello.shout}", "hello.shout, service: true}"))
    running = {each.name: (each.for_all, each.service, each.private) for each in running_listeners(config)}
    assert running == {"Greeter": (False, False, False), "shouter": (True, False, False)}


def test_a_service_is_true_or_false(folder: Folder) -> None:
    text = LISTENERS.replace("hello.shout}", "hello.shout, service: all}")
    assert folder.one(text)[1:] == ("the text 'all' as service", "true or false")


def test_twins_are_all_services_or_none_is(folder: Folder) -> None:
    text = """
listeners:
  - {name: a, payload_class: hello.Greeting, handler: hello.greet, broadcast: true, service: true}
  - {name: A, payload_class: hello.Reply, handler: hello.greet, broadcast: true, service: true}
  - {name: a, payload_class: hello.Reply, handler: hello.greet, broadcast: true}
"""
    assert folder.one(text) == (
        "organism.yaml:4:5",
        "service: false on a twin of one that says otherwise (first: listener number 1)",
        "the same on all listeners of that name",
    )


def test_a_service_of_python_is_a_flag() -> None:
    async def handler(payload: object, metadata: object) -> None: ...

    listener = ListenerConfig("a", payload_class_path="builtins:int", handler=handler, service="yes")  # type: ignore[arg-type]
    assert ("listener 'a'", "the text 'yes' as service", "true or false") in of_python(listeners=[listener])
