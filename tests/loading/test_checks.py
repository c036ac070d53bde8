"""Names and peers: what is free, what is taken, who is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from phloem.config import ListenerConfig, OrganismConfig
from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.loading import resolve
from support.listeners import Ping, drop

if TYPE_CHECKING:
    from .conftest import Folder

HELLO = "payload_class: hello.Greeting, handler: hello.greet"


def faults_of(*listeners: ListenerConfig) -> tuple[ConfigurationFault, ...]:
    with pytest.raises(ConfigurationError) as caught:
        resolve(OrganismConfig(listeners=listeners))
    return caught.value.faults


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [
        ("''", "an empty text", "a name"),
        ("'   '", "the text '   '", "a name"),
        ('" a"', "' a', which begins or ends with a space,", "a name such as 'a'"),
        ("n" * 129, f"'{'n' * 59}…' (129 characters)", "a name of at most 128 characters"),
        ('"a\\x07"', "'a\\x07', which has the character U+0007,", "a name of characters that XML allows"),
        ('"a\\tb"', "'a\\tb', which has the character U+0009,", "a name of characters that XML allows"),
        ('"a\\x85"', "'a\\x85', which has the character U+0085,", "a name of characters that XML allows"),
        ('"a\\uFFFE"', "'a\\ufffe', which has the character U+FFFE,", "a name of characters that XML allows"),
        ("system", "'system'", "a name other than system and system.…"),
        ("System.Todo", "'System.Todo'", "a name other than system and system.…"),
        ("'x#2'", "'x#2'", "a name without #"),
    ],
)
def test_a_name_that_cannot_be_is_told_where_it_stands(
    folder: Folder, name: str, found: str, expected: str
) -> None:
    where, said, wanted = folder.one(f"listeners:\n  - {{name: {name}, {HELLO}}}\n")
    assert (where, said) == ("organism.yaml:2:12", f"{found} as name")
    assert wanted.startswith(expected)


@pytest.mark.parametrize("name", ["n" * 128, "a.b.c", "grüßer", "systemic", "two words", "名前", "<&>"])
def test_any_other_name_is_taken(folder: Folder, name: str) -> None:
    assert folder.load(f"listeners:\n  - {{name: '{name}', {HELLO}}}\n").listeners[0].name == name


def test_a_surrogate_in_a_name_from_python_is_a_fault() -> None:
    (fault,) = faults_of(ListenerConfig("a\ud800", Ping, drop))
    assert "U+D800" in fault.found


def test_the_organism_may_be_called_system_but_not_nothing(folder: Folder) -> None:
    assert folder.load("organism: {name: system}\n").name == "system"
    assert folder.one("organism: {name: ' '}\n")[:2] == ("organism.yaml:1:18", "the text ' ' as name")


def test_a_name_is_taken_whatever_its_case(folder: Folder) -> None:
    text = f"""
    listeners:
      - {{name: Greeter, {HELLO}}}
      - {{name: other, {HELLO}}}
      - {{name: greeter, {HELLO}}}
    """
    assert folder.places(text) == [("4:12", "the name 'greeter' a second time (first: listener number 1)")]


def test_broadcast_twins_share_a_name(folder: Folder) -> None:
    text = f"""
    listeners:
      - {{name: twin, {HELLO}, broadcast: true}}
      - {{name: Twin, {HELLO}, broadcast: true}}
    """
    assert [listener.broadcast for listener in folder.load(text).listeners] == [True, True]


@pytest.mark.parametrize(("first", "second"), [("true", "false"), ("false", "true")])
def test_twins_of_which_one_is_no_broadcast_are_a_fault(folder: Folder, first: str, second: str) -> None:
    text = f"""
    listeners:
      - {{name: twin, {HELLO}, broadcast: {first}}}
      - {{name: twin, {HELLO}, broadcast: {second}}}
    """
    (fault,) = folder.faults(text)
    assert fault.where == "organism.yaml:3:12"
    assert fault.expected == "a name of its own, or broadcast: true on all listeners of that name"


def test_a_third_of_one_name_is_a_fault_of_its_own() -> None:
    faults = faults_of(*(ListenerConfig("x", Ping, drop, broadcast=n == 0) for n in range(3)))
    assert [fault.where for fault in faults] == ["listener 'x'"]
    assert faults_of(*(ListenerConfig(name, Ping, drop) for name in "aAbB"))[1].where == "listener 'B'"


def test_an_unknown_peer_comes_with_the_closest_listener(folder: Folder) -> None:
    text = f"""
    listeners:
      - name: greeter
        payload_class: hello.Greeting
        handler: hello.greet
        agent: true
        peers:
          - shouter
          - shuoter
          - nobody-at-all
      - {{name: shouter, {HELLO}}}
    """
    assert folder.faults(text) == [
        ConfigurationFault(
            "organism.yaml:8:9",
            "the unknown peer 'shuoter'",
            "the name of a listener; did you mean 'shouter'?",
        ),
        ConfigurationFault(
            "organism.yaml:9:9",
            "the unknown peer 'nobody-at-all'",
            "the name of a listener, or allow_unknown_peers: true",
        ),
    ]


def agent(peers: str, above: str = "") -> str:
    return (
        f"{above}listeners:\n  - {{name: a, {HELLO}, agent: true, peers: [{peers}]}}\n"
        f"  - {{name: shouter, {HELLO}}}\n"
    )


LENIENT = "allow_unknown_peers: true\n"


@pytest.mark.parametrize("above", ["", LENIENT])
@pytest.mark.parametrize(
    "peer", ["system.todo", "system.todo-complete", "System.TODO", "SYSTEM.Todo-Complete"]
)
def test_the_todo_services_are_peers_that_no_file_declares(folder: Folder, peer: str, above: str) -> None:
    assert folder.load(agent(f"shouter, {peer}", above)).listeners[0].peers == ("shouter", peer)


@pytest.mark.parametrize("peer", ["system", "system.boot", "System.Boot", "system.", "system.todo.complete"])
def test_other_names_of_the_system_are_no_peers_even_where_unknown_ones_are_allowed(
    folder: Folder, peer: str
) -> None:
    (strict,) = folder.faults(agent(peer))
    assert strict.found == f"the unknown peer '{peer}'"
    assert "allow_unknown_peers" not in strict.expected
    (lenient,) = folder.faults(agent(peer, LENIENT))
    assert lenient.found == f"'{peer}' as peers"
    assert lenient.expected.startswith("a name other than system and system.…, which are phloem's own")


def test_a_misspelt_service_comes_with_its_name(folder: Folder) -> None:
    assert folder.one(agent("system.todos"))[2] == "the name of a listener; did you mean 'system.todo'?"
    assert folder.one(agent("system.todo_complete", LENIENT))[2].endswith(
        "did you mean 'system.todo-complete'?"
    )


def test_a_service_twice_is_a_fault_whatever_its_case(folder: Folder) -> None:
    assert folder.one(agent("system.todo, System.Todo"))[1] == "the peer 'System.Todo' a second time"


def test_unknown_peers_are_no_fault_where_they_are_allowed(folder: Folder) -> None:
    config = folder.load(agent("shuoter, nobody-at-all, two words", LENIENT))
    assert config.allow_unknown_peers
    assert config.listeners[0].peers == ("shuoter", "nobody-at-all", "two words")
    assert resolve(config) == config


@pytest.mark.parametrize(
    ("peers", "found", "expected"),
    [
        ("later, Later", "the peer 'Later' a second time", "each peer once"),
        ("shouter, SHOUTER", "the peer 'SHOUTER' a second time", "each peer once"),
        ("' later'", "' later', which begins or ends with a space, as peers", "a name such as 'later'"),
        (
            "'shouter#2'",
            "'shouter#2' as peers",
            "a name without #, which numbers broadcast twins; did you mean 'shouter'?",
        ),
        ("'   '", "the text '   ' as peers", "a name"),
        ("''", "an empty text as peers", "text"),
        (
            "no",
            "no, which YAML 1.1 reads as false, as peers",
            'text; if that text is meant, write "no" in quotes',
        ),
        ("n" * 129, f"'{'n' * 59}…' (129 characters) as peers", "a name of at most 128 characters"),
    ],
)
def test_what_no_listener_could_be_called_is_no_peer_even_if_unknown_ones_are_allowed(
    folder: Folder, peers: str, found: str, expected: str
) -> None:
    assert folder.one(agent(peers, LENIENT))[1:] == (found, expected)


@pytest.mark.parametrize(
    "line", ["allow_unknown_peers: maybe", "allow_unknown_peer: true", "allow_unknown_peers:"]
)
def test_no_peer_is_unknown_where_it_could_not_be_read_whether_that_is_allowed(
    folder: Folder, line: str
) -> None:
    assert len(folder.faults(agent("later", f"{line}\n"))) == 1


def test_unknown_peers_are_allowed_in_python_by_true_and_nothing_like_it() -> None:
    listeners = [ListenerConfig("a", Ping, drop, is_agent=True, peers=["later"])]
    assert resolve(OrganismConfig(listeners=listeners, allow_unknown_peers=True)).listeners[0].peers == (
        "later",
    )
    for given in (False, 1, "true", None):
        with pytest.raises(ConfigurationError) as caught:
            resolve(OrganismConfig(listeners=listeners, allow_unknown_peers=given))  # type: ignore[arg-type]
        assert len(caught.value.faults) == 1


# -- usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["cards", "xsd"])
def test_an_agent_has_a_usage_of_its_own_or_inherits_it(folder: Folder, word: str) -> None:
    config = folder.load(
        f"usage: xsd\nlisteners:\n  - {{name: a, {HELLO}, agent: true, usage: {word}}}\n"
        f"  - {{name: b, {HELLO}, agent: true}}\n"
    )
    assert (config.usage, [listener.usage for listener in config.listeners]) == ("xsd", [word, None])


@pytest.mark.parametrize("rest", ["", ", agent: false"])
def test_usage_on_a_listener_that_is_no_agent_is_a_fault(folder: Folder, rest: str) -> None:
    text = f"listeners:\n  - {{name: a, usage: xsd, {HELLO}{rest}}}\n"
    assert folder.one(text) == ("organism.yaml:2:22", "usage on a listener that is no agent", "agent: true")


@pytest.mark.parametrize(
    "entry", ["usage: all", "usage: xsd, agent: maybe", "usage: xsd, agnet: true", "usge: xsd", "usage: ~"]
)
def test_of_a_usage_with_a_fault_nothing_more_is_said(folder: Folder, entry: str) -> None:
    assert len(folder.faults(f"listeners:\n  - {{name: a, {HELLO}, {entry}}}\n")) == 1


def test_a_peer_given_twice_is_a_fault_at_the_second_whatever_its_case(folder: Folder) -> None:
    text = f"listeners:\n  - {{name: a, {HELLO}, peers: [a, A]}}\n"
    assert folder.places(text) == [("2:79", "the peer 'A' a second time")]


def test_a_peer_may_name_its_own_listener_and_twins_in_any_case() -> None:
    config = OrganismConfig(
        listeners=[
            ListenerConfig("a", Ping, drop, is_agent=True, peers=["A", "TWIN"]),
            ListenerConfig("twin", Ping, drop, broadcast=True),
            ListenerConfig("twin", Ping, drop, broadcast=True),
        ]
    )
    assert resolve(config).listeners[0].peers == ("A", "TWIN")


def test_a_listener_with_a_broken_name_is_still_a_peer(folder: Folder) -> None:
    text = f"listeners:\n  - {{name: 'x#1', {HELLO}, peers: ['x#1']}}\n"
    assert [found for _, found in folder.places(text)] == ["'x#1' as name"]


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("payload_class: hello.Greeting, handler: hello.greet", "no name"),
        ("name: a, handler: hello.greet", "no payload_class"),
        ("name: a, payload_class: hello.Greeting", "no handler"),
    ],
)
def test_a_listener_needs_a_name_a_payload_and_a_handler(folder: Folder, entry: str, found: str) -> None:
    assert folder.places(f"listeners:\n  - {{{entry}}}\n") == [("2:5", found)]


def test_a_misspelt_key_is_not_missing_as_well(folder: Folder) -> None:
    text = "listeners:\n  - {name: a, payload_class: hello.Greeting, handlr: hello.greet}\n"
    assert folder.places(text) == [("2:46", "the unknown key 'handlr'")]


def test_the_same_in_python_is_told_by_listener() -> None:
    faults = faults_of(ListenerConfig(""), ListenerConfig("b"))
    assert [(fault.where, fault.found) for fault in faults] == [
        ("listener number 1", "an empty text as name"),
        ("listener number 1", "no payload_class"),
        ("listener number 1", "no handler"),
        ("listener 'b'", "no payload_class"),
        ("listener 'b'", "no handler"),
    ]
