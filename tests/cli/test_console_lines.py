"""What a line means, whatever is written in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.cli.console_lines import COMMANDS, Misread, Plain, Say, Slash, Turn, completions, read_line

NAMES = ("greeter", "greeter two", "Größe", "system.todo")


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("", None),
        ("  \t ", None),
        ("hello", Plain("hello")),
        ("  hello  there ", Plain("hello  there")),
        ("a@b /c", Plain("a@b /c")),
        ("@greeter Ada", Say("greeter", "Ada")),
        ("@GREETER   Ada  Bo ", Say("greeter", "Ada  Bo")),
        ("@greeter two x", Say("greeter two", "x")),
        ("@greeter twofold", Say("greeter", "twofold")),
        ("@greeter\ntwo lines", Say("greeter", "two lines")),
        ("@GRÖSSE x", Misread("found no listener 'GRÖSSE'", False)),
        ("@größe x", Say("Größe", "x")),
        ("@system.todo x", Say("system.todo", "x")),
        ("@greeter", Turn("greeter")),
        ("@greeter two", Turn("greeter two")),
        ("@greeter @other", Say("greeter", "@other")),
        ("@greeter /quit", Say("greeter", "/quit")),
        ("/quit", Slash("quit", "")),
        ("/kill  greeter two ", Slash("kill", "greeter two")),
        ("/kill", Slash("kill", "")),
    ],
)
def test_a_line_means(line: str, meaning: object) -> None:
    found = read_line(line, NAMES)
    if isinstance(meaning, Misread):
        assert isinstance(found, Misread)
        assert found.text.startswith(meaning.text)
    else:
        assert found == meaning


@pytest.mark.parametrize("line", ["@", "@ greeter x", "@greet x", "@greeterx y", "@nobody"])
def test_who_is_not_there_is_told_with_who_is(line: str) -> None:
    found = read_line(line, NAMES)
    assert isinstance(found, Misread)
    assert not found.command
    assert "expected one of greeter, greeter two, Größe, system.todo" in found.text


@pytest.mark.parametrize("line", ["/", "/stat", "/Quit", "/ quit", "/status now", "/quit x"])
def test_what_is_no_command_is_told_with_those_there_are(line: str) -> None:
    found = read_line(line, NAMES)
    assert isinstance(found, Misread)
    assert found.command


def test_without_listeners_there_is_nobody_to_name() -> None:
    found = read_line("@x y", ())
    assert isinstance(found, Misread)
    assert found.text == "found no listener 'x', expected one of none"


@given(st.text())
def test_every_line_means_something(line: str) -> None:
    found = read_line(line, NAMES)
    assert found is not None or not line.strip()
    completions(line, NAMES, ("c1",))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_completed_from_its_first_letters_and_then_read(name: str) -> None:
    assert any(each.strip() == f"/{name}" for each in completions(f"/{name[:2]}", NAMES, ()))
    assert read_line(f"/{name}", NAMES) == Slash(name, "")
