"""What is drawn is what stands on the screen, in any window; what was said above it stays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phloem.cli.terminal.drawing import Bottom, Prompt, Size, clear_screen
from phloem.cli.terminal.harmless import one_line, width_of
from support.screens import Screen


def drawn(size: Size, prompt: str, text: str, cursor: int) -> Screen:
    screen = Screen(size.columns, size.rows)
    screen.write(Bottom().draw(size, Prompt(prompt), text, cursor))
    return screen


def test_the_cursor_stands_where_the_next_character_goes() -> None:
    screen = drawn(Size(20, 5), "> ", "hello", 3)
    assert screen.everything == ["> hello"]
    assert (screen.row, screen.column) == (0, 5)


def test_a_line_longer_than_the_window_takes_several_rows() -> None:
    screen = drawn(Size(10, 5), "> ", "0123456789abcdef", 4)
    assert screen.everything == ["> 01234567", "89abcdef"]
    assert (screen.row, screen.column) == (0, 6)
    screen = drawn(Size(10, 5), "> ", "0123456789abcdef", 10)
    assert (screen.row, screen.column) == (1, 2)


def test_behind_a_full_row_the_cursor_stands_on_the_next() -> None:
    screen = drawn(Size(10, 5), "> ", "01234567", 8)
    assert (screen.row, screen.column) == (1, 0)


def test_a_wide_character_is_not_cut_in_two() -> None:
    screen = drawn(Size(5, 5), "> ", "漢漢漢", 3)
    assert screen.everything == ["> 漢", "漢漢"]
    assert (screen.row, screen.column) == (1, 4)


def test_line_feeds_and_controls_are_signs_of_the_line() -> None:
    screen = drawn(Size(20, 5), "> ", "a\nb\x1b[31mc\u202e", 3)
    assert screen.everything == ["> a␊b␛[31mc\\u202e"]
    assert screen.column == 5


def test_of_a_line_higher_than_the_window_the_part_with_the_cursor_is_shown() -> None:
    text = "".join(f"{row}........." for row in range(9))
    top, bottom = drawn(Size(10, 4), "", text, 0), drawn(Size(10, 4), "", text, len(text))
    assert top.rows[:3] == ["0.........", "1.........", "2........."]
    assert bottom.rows[:3] == ["7.........", "8.........", ""]
    assert bottom.row == 2


def test_what_is_said_stands_above_and_the_line_below_it() -> None:
    size, bottom = Size(20, 6), Bottom()
    screen = Screen(20, 6)
    screen.write(bottom.draw(size, Prompt("> "), "typing", 6))
    screen.write(bottom.erase(size) + "greeter: Hello\r\n" + bottom.draw(size, Prompt("> "), "typing", 6))
    assert screen.everything == ["greeter: Hello", "> typing"]
    assert (screen.row, screen.column) == (1, 8)


def test_lines_that_are_being_written_stand_between() -> None:
    size, bottom = Size(20, 8), Bottom()
    screen = Screen(20, 8)
    tails = [(Prompt("a: "), "some words"), (Prompt("b: "), "x" * 200)]
    screen.write(bottom.draw(size, Prompt("> "), "t", 1, tails))
    assert screen.everything == ["a: some words", *["x" * 20] * 3, "x" * 3, "> t"]
    screen.write(bottom.erase(size) + bottom.draw(size, Prompt("> "), "t", 1))
    assert screen.everything == ["> t"]


def test_without_room_the_line_that_is_typed_is_what_is_left() -> None:
    size = Size(10, 3)
    screen = Screen(10, 3)
    screen.write(Bottom().draw(size, Prompt("> "), "0123456789", 10, [(Prompt("a: "), "x" * 50)]))
    assert screen.everything == ["> 01234567", "89"]


def test_a_prompt_is_coloured_where_it_stands_on_one_row() -> None:
    prompt = Prompt("greeter> ", "\x1b[36m")
    assert "\x1b[36mgreeter> \x1b[0mabc" in Bottom().draw(Size(20, 5), prompt, "abc", 3)
    assert "\x1b[36m" not in Bottom().draw(Size(5, 5), prompt, "abc", 3)


def test_without_a_prompt_nothing_is_drawn() -> None:
    assert Bottom().draw(Size(), None, "abc", 1) == ""


@pytest.mark.parametrize("columns", [10, 7, 3, 2, 40])
def test_a_window_that_has_changed_loses_no_row_above(columns: int) -> None:
    """As terminals do that move what stood on a row that is too long to the next."""
    bottom = Bottom()
    wide = Screen(20, 30)
    wide.write("kept\r\n" + bottom.draw(Size(20, 30), Prompt("> "), "x" * 25, 25))
    narrow = Screen(columns, 30)
    rows = wide.rows[: wide.row + 1]
    cut = [row[at : at + columns] for row in rows for at in range(0, max(1, len(row)), columns)]
    narrow.write("\r\n".join(cut))
    narrow.write(bottom.erase(Size(columns, 30)))
    assert "".join(narrow.everything) == "kept"


def test_clearing_the_screen_empties_it() -> None:
    screen = drawn(Size(10, 5), "> ", "abc", 3)
    screen.write(clear_screen())
    assert screen.rows == [""] * 5


texts = st.text("ab \n\t\x1b漢\u0301👩\u200d\u202eé", max_size=60)


@settings(max_examples=150)
@given(
    st.integers(2, 30),
    st.integers(2, 10),
    st.lists(st.tuples(texts, st.integers(0, 60), st.booleans()), min_size=1, max_size=6),
)
def test_however_often_it_is_drawn_anew_nothing_is_left_of_it(
    columns: int, rows: int, steps: list[tuple[str, int, bool]]
) -> None:
    size, bottom, screen = Size(columns, rows), Bottom(), Screen(columns, rows)
    said = 0
    for text, cursor, speaks in steps:
        screen.write(bottom.erase(size))
        if speaks:
            screen.write(f"{said % 10}\r\n")
            said += 1
        screen.write(bottom.draw(size, Prompt(">"), text, min(cursor, len(text))))
    text, cursor, _ = steps[-1]
    screen.write(bottom.erase(size))
    assert screen.everything == [str(number % 10) for number in range(said)]
    assert screen.column == 0


@given(texts, st.integers(0, 60), st.integers(2, 30))
def test_the_cursor_is_as_far_as_what_stands_before_it(text: str, cursor: int, columns: int) -> None:
    cursor = min(cursor, len(text))
    screen = drawn(Size(columns, 200), "> ", text, cursor)
    shown = "".join(screen.rows)
    assert shown.rstrip() == f"> {one_line(text)}".rstrip()
    before = "".join(screen.rows[: screen.row])
    assert width_of(before) + screen.column >= width_of(f"> {one_line(text[:cursor])}")
