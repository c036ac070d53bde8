"""What each key does to the line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.cli.terminal.editor import LONGEST_LINE, Choices, Entered, LineEditor, Signal, common_start
from phloem.cli.terminal.history import History
from phloem.cli.terminal.keys import Key, Pasted, Typed


def editor(*lines: str, words: tuple[str, ...] = ()) -> LineEditor:
    history = History()
    for line in lines:
        history.add(line)
    return LineEditor(history, lambda before: [word for word in words if word.startswith(before)])


def after(*keys: Key | str, lines: tuple[str, ...] = ()) -> str:
    """The line with a bar for its cursor."""
    edited = editor(*lines)
    for key in keys:
        edited.press(key if isinstance(key, Key) else Typed(key))
    return f"{edited.text[: edited.cursor]}|{edited.text[edited.cursor :]}"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["abc"], "abc|"),
        (["abc", Key.LEFT, "x"], "abx|c"),
        (["abc", Key.HOME, "x", Key.END, "y"], "xabcy|"),
        (["abc", Key.LEFT, Key.RIGHT, Key.RIGHT], "abc|"),
        (["abc", Key.HOME, Key.LEFT], "|abc"),
        (["abc", Key.BACKSPACE], "ab|"),
        (["abc", Key.LEFT, Key.DELETE], "ab|"),
        (["abc", Key.HOME, Key.END_OF_INPUT], "|bc"),
        (["one two-three  ", Key.CUT_WORD], "one |"),
        (["one two-three", Key.WORD_LEFT], "one two-|three"),
        (["one two", Key.WORD_LEFT, Key.WORD_LEFT, Key.WORD_RIGHT], "one| two"),
        (["one two", Key.HOME, Key.CUT_NEXT_WORD], "| two"),
        (["one two", Key.WORD_LEFT, Key.CUT_BEFORE], "|two"),
        (["one two", Key.WORD_LEFT, Key.CUT_AFTER, Key.HOME, Key.YANK], "two|one "),
        (["a", Key.NEW_LINE, "b", Key.LEFT, Key.LEFT], "a|\nb"),
    ],
)
def test_the_keys_edit_as_in_readline(keys: list[Key | str], line: str) -> None:
    assert after(*keys) == line


@pytest.mark.parametrize("character", ["é", "漢", "e\u0301", "👩\u200d💻", "❤\ufe0f"])
def test_the_cursor_never_stands_within_what_is_drawn_as_one(character: str) -> None:
    assert after(f"a{character}b", Key.LEFT, Key.LEFT) == f"a|{character}b"
    assert after(f"a{character}b", Key.HOME, Key.RIGHT, Key.RIGHT) == f"a{character}|b"
    assert after(f"a{character}", Key.BACKSPACE) == "a|"
    assert after(f"{character}b", Key.HOME, Key.DELETE) == "|b"


def test_a_line_feed_is_a_character_of_its_own() -> None:
    assert after("a", Key.NEW_LINE, Key.NEW_LINE, Key.BACKSPACE) == "a\n|"


def test_enter_gives_the_line_and_begins_another() -> None:
    edited = editor()
    edited.press(Typed("abc"))
    edited.press(Key.LEFT)
    assert edited.press(Key.ENTER) == Entered("abc")
    assert (edited.text, edited.cursor) == ("", 0)


def test_a_paste_with_several_lines_is_one_line_until_it_is_entered() -> None:
    edited = editor()
    assert edited.press(Pasted("one\ntwo")) is None
    assert edited.press(Key.ENTER) == Entered("one\ntwo")


def test_control_d_ends_an_empty_line_only() -> None:
    edited = editor()
    assert edited.press(Key.END_OF_INPUT) is Signal.END_OF_INPUT
    edited.press(Typed("a"))
    assert edited.press(Key.END_OF_INPUT) is Signal.BELL
    assert edited.text == "a"


@pytest.mark.parametrize(
    "key",
    [
        Key.BACKSPACE,
        Key.DELETE,
        Key.CUT_WORD,
        Key.CUT_AFTER,
        Key.CUT_BEFORE,
        Key.YANK,
        Key.UP,
        Key.DOWN,
        Key.TAB,
    ],
)
def test_what_cannot_be_done_rings(key: Key) -> None:
    assert editor().press(key) is Signal.BELL


def test_a_line_takes_no_more_than_a_field_does() -> None:
    edited = editor()
    assert edited.press(Pasted("x" * LONGEST_LINE)) is None
    assert edited.press(Typed("y")) is Signal.BELL
    assert len(edited.text) == LONGEST_LINE


def test_up_and_down_go_through_what_was_typed_and_back_to_the_line() -> None:
    assert after("new", Key.UP, lines=("old", "older")) == "older|"
    assert after("new", Key.UP, Key.UP, lines=("oldest", "old")) == "oldest|"
    assert after("new", Key.UP, Key.UP, Key.UP, Key.DOWN, lines=("oldest", "old")) == "old|"
    assert after("new", Key.UP, Key.DOWN, lines=("old",)) == "new|"
    assert after("new", Key.UP, "er", Key.DOWN, Key.UP, lines=("old",)) == "old|"


def test_after_a_line_was_entered_the_newest_comes_first_again() -> None:
    edited = editor("a", "b")
    edited.press(Key.UP)
    edited.press(Key.UP)
    assert edited.press(Key.ENTER) == Entered("a")
    edited.press(Key.UP)
    assert edited.text == "b"


def test_tab_completes_what_is_common_and_then_tells_the_choices() -> None:
    edited = editor(words=("@greeter ", "@grower ", "@shop "))
    edited.press(Typed("@g"))
    assert edited.press(Key.TAB) is None
    assert edited.text == "@gr"
    assert edited.press(Key.TAB) == Choices(("@greeter ", "@grower "))
    edited.press(Typed("e"))
    assert edited.press(Key.TAB) is None
    assert edited.text == "@greeter "
    assert edited.press(Key.TAB) is Signal.BELL


def test_tab_keeps_what_stands_behind_the_cursor() -> None:
    edited = editor(words=("@greeter ",))
    edited.press(Typed("@grAda"))
    for _ in range(3):
        edited.press(Key.LEFT)
    edited.press(Key.TAB)
    assert (edited.text, edited.cursor) == ("@greeter Ada", 9)


def test_tab_corrects_the_case_of_a_name() -> None:
    edited = LineEditor(History(), lambda before: ["@Greeter "])
    edited.press(Typed("@gREE"))
    edited.press(Key.TAB)
    assert edited.text == "@Greeter "


@given(st.lists(st.text(max_size=5), min_size=1, max_size=5))
def test_what_words_begin_with_is_common_to_all(words: list[str]) -> None:
    start = common_start(words)
    assert all(word.startswith(start) for word in words)
    longer = {word[: len(start) + 1] for word in words}
    assert len(longer) > 1 or start in words


keys = st.one_of(
    st.sampled_from([key for key in Key if key is not Key.ENTER]),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=5).map(Typed),
    st.text("ab \n漢\u0301\u200d👩", min_size=1, max_size=8).map(Pasted),
)


@given(st.lists(keys, max_size=40))
def test_whatever_is_pressed_the_cursor_stays_within_the_line(pressed: list[Key | Typed | Pasted]) -> None:
    edited = editor("one", "two three")
    for key in pressed:
        edited.press(key)
        assert 0 <= edited.cursor <= len(edited.text)
