"""YAML as text: what is read of it, and where each fault of it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Folder

HELLO = "payload_class: hello.Greeting, handler: hello.greet"


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("organism:\n\tname: x\n", "2:1", "a tab"),
        ("organism: [1\n", "2:1", "text that is not YAML: while parsing a flow sequence"),
        ("organism: b: c\n", "1:12", "text that is not YAML: mapping values are not allowed here"),
        ("organism: 'x\n\n", "3:1", "text that is not YAML: while scanning a quoted scalar"),
        ("organism: {}\n---\nx: 1\n", "2:1", "a second document"),
        ("organism:\n  name: a\x07b\n", "2:10", "the character U+0007"),
        ("organism: *nowhere\n", "1:11", "the alias *nowhere, which nothing defines"),
        ("llm: &llm\n  backends: [*llm]\n", "2:14", "the alias *llm inside what it stands for"),
        ('organism: {name: "\\UFFFFFFFF"}', "1:21", "a number that is too large"),
        ("%YAML 1." + "1" * 5000 + "\n---\n", "1:9", "a number that is too large"),
        ("a: " + "[" * 40, "1:35", "more than 32 levels of nesting"),
    ],
)
def test_text_that_is_not_yaml_is_told_where_it_breaks(
    folder: Folder, text: str, place: str, found: str
) -> None:
    ((where, said),) = folder.places(text)
    assert where == place
    assert said.startswith(found)


def test_a_quote_that_is_never_closed_is_told_with_the_line_it_was_opened_on(folder: Folder) -> None:
    ((_, found),) = folder.places("max_attempts: 1\norganism: 'x\n\n\n")
    assert found.endswith("(begun at line 2)")


def test_a_key_given_twice_is_a_fault_at_the_second(folder: Folder) -> None:
    text = "max_attempts: 2\norganism:\n  name: x\n  port: 1\n  'name': y\nmax_attempts: 3\n"
    assert folder.places(text) == [
        ("5:3", "the key 'name' a second time (first on line 3)"),
        ("6:1", "the key 'max_attempts' a second time (first on line 1)"),
    ]


def test_a_key_given_twice_deep_in_the_llm_section_is_a_fault(folder: Folder) -> None:
    text = "llm:\n  backends:\n    - provider: xai\n      provider: openai\n"
    assert folder.places(text) == [("4:7", "the key 'provider' a second time (first on line 3)")]


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("on", "on, which YAML 1.1 reads as true"),
        ("NO", "NO, which YAML 1.1 reads as false"),
        ("010", "010, which YAML 1.1 reads as the octal number 8"),
        ("1:30", "1:30, which YAML 1.1 reads as the base 60 number 90"),
        ("2024-01-01", "2024-01-01, which YAML 1.1 reads as a date"),
        ("1.5", "the number 1.5"),
        ("~", "~, which is nothing"),
    ],
)
def test_a_key_that_yaml_takes_for_something_else_is_a_fault(folder: Folder, key: str, found: str) -> None:
    where, said, expected = folder.one(f"organism:\n  {key}: x\n")
    assert (where, said) == ("organism.yaml:2:3", f"{found}, as a key")
    assert expected == f'a word as a key; if that text is meant, write "{key}" in quotes'


def test_a_list_as_a_key_is_a_fault(folder: Folder) -> None:
    assert folder.places("? [a, b]\n: c\n") == [("1:3", "a list as a key")]


def test_a_tag_is_a_fault_and_builds_nothing(folder: Folder) -> None:
    text = "organism:\n  name: !!python/object/apply:os.mkdir [made]\n"
    assert folder.places(text) == [
        ("2:9", "the tag '!!python/object/apply:os.mkdir'"),
        ("2:9", "a list as name"),
    ]
    assert not (folder.path / "made").exists()


def test_the_tag_of_text_makes_text(folder: Folder) -> None:
    assert folder.load("organism: {name: !!str yes}\n").name == "yes"


def test_half_a_character_is_a_fault(folder: Folder) -> None:
    text = f'listeners:\n  - {{name: a, {HELLO}, description: "\\uD800"}}\n'
    assert folder.places(text) == [("2:81", "text with the character U+D800")]


def test_an_alias_repeats_a_value(folder: Folder) -> None:
    config = folder.load(
        f"""
        listeners:
          - {{name: a, {HELLO}, budgets: &small {{messages: 3}}}}
          - {{name: b, {HELLO}, budgets: *small}}
        """
    )
    assert config.listeners[0].budgets == config.listeners[1].budgets


def test_a_merge_fills_in_and_own_keys_win(folder: Folder) -> None:
    first, second = folder.load(
        f"""
        listeners:
          - &base {{name: a, {HELLO}, retries: 2, description: base}}
          - {{<<: *base, name: b, retries: 5}}
        """
    ).listeners
    assert (second.name, second.retries, second.description) == ("b", 5, "base")
    assert first.handler is second.handler


def test_the_earlier_of_several_merges_wins(folder: Folder) -> None:
    (_, _, third) = folder.load(
        f"""
        listeners:
          - &a {{name: a, {HELLO}, retries: 1}}
          - &b {{name: b, {HELLO}, retries: 2, prompt: of b}}
          - {{<<: [*a, *b], name: c}}
        """
    ).listeners
    assert (third.retries, third.prompt) == (1, "of b")


def test_a_merge_of_something_else_is_a_fault(folder: Folder) -> None:
    assert folder.places("organism: {<<: x}\n") == [("1:16", "the text 'x' after <<")]


def test_a_fault_that_merges_repeat_is_told_once(folder: Folder) -> None:
    text = f"""
    listeners:
      - &a {{name: a, {HELLO}, retrys: 1}}
      - {{<<: *a, name: b}}
    """
    assert folder.places(text) == [("2:71", "the unknown key 'retrys'")]


def test_a_bomb_of_aliases_is_refused_before_it_expands(folder: Folder) -> None:
    lines = ["a0: &a0 [" + ", ".join("x" * 9) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, 30)]
    ((where, found),) = folder.places("\n".join(lines))
    assert found == "more than 50000 values, aliases expanded"
    assert where.startswith("5:")


def test_a_bomb_of_merges_is_refused_before_it_expands(folder: Folder) -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [" + ", ".join([f"*a{n - 1}"] * 9) + "]}" for n in range(1, 30)]
    assert [found for _, found in folder.places("\n".join(lines))] == [
        "more than 50000 values, aliases expanded"
    ]
