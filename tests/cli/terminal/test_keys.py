"""Bytes become keys, typed text and pastes, however they are cut, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phloem.cli.terminal.keys import Key, KeyReader, Pasted, Typed


def read(*chunks: bytes) -> list[object]:
    reader = KeyReader()
    return [key for chunk in chunks for key in reader.feed(chunk)]


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b"\r", Key.ENTER),
        (b"\n", Key.ENTER),
        (b"\x1b\r", Key.NEW_LINE),
        (b"\t", Key.TAB),
        (b"\x7f", Key.BACKSPACE),
        (b"\x08", Key.BACKSPACE),
        (b"\x04", Key.END_OF_INPUT),
        (b"\x1b[A", Key.UP),
        (b"\x1bOA", Key.UP),
        (b"\x1b[B", Key.DOWN),
        (b"\x1b[C", Key.RIGHT),
        (b"\x1b[D", Key.LEFT),
        (b"\x1b[1;5C", Key.WORD_RIGHT),
        (b"\x1b[1;3D", Key.WORD_LEFT),
        (b"\x1b[1;2D", Key.LEFT),
        (b"\x1bb", Key.WORD_LEFT),
        (b"\x1bf", Key.WORD_RIGHT),
        (b"\x1b[H", Key.HOME),
        (b"\x1bOH", Key.HOME),
        (b"\x1b[1~", Key.HOME),
        (b"\x1b[F", Key.END),
        (b"\x1b[4~", Key.END),
        (b"\x1b[3~", Key.DELETE),
        (b"\x1b[3;5~", Key.CUT_NEXT_WORD),
        (b"\x17", Key.CUT_WORD),
        (b"\x1b\x7f", Key.CUT_WORD),
        (b"\x15", Key.CUT_BEFORE),
        (b"\x0b", Key.CUT_AFTER),
        (b"\x19", Key.YANK),
        (b"\x0c", Key.CLEAR_SCREEN),
    ],
)
def test_a_sequence_is_its_key_even_if_it_comes_byte_by_byte(raw: bytes, key: Key) -> None:
    assert read(raw) == [key]
    assert read(*(bytes([each]) for each in raw)) == [key]
    assert read(b"a" + raw + b"b") == [Typed("a"), key, Typed("b")]


def test_a_character_may_come_in_pieces() -> None:
    raw = "é漢👩".encode()
    assert (
        "".join(key.text for key in read(*(bytes([each]) for each in raw)) if isinstance(key, Typed))
        == "é漢👩"
    )


def test_bytes_that_are_no_character_are_seen_to_be_none() -> None:
    assert read(b"a\xffb") == [Typed("a\ufffdb")]


@pytest.mark.parametrize(
    "raw", [b"\x1b[?1;2c", b"\x1b[24~", b"\x1b[97;5u", b"\x1bP", b"\x1bx", b"\x1b[I", b"\x00", b"\x03"]
)
def test_what_is_not_known_is_dropped_whole(raw: bytes) -> None:
    assert read(raw, b"z") == [Typed("z")]


def test_c1_controls_are_not_typed() -> None:
    assert read("a\x9b31mb".encode()) == [Typed("a"), Typed("31mb")]


def test_a_lone_escape_waits_and_is_given_up() -> None:
    reader = KeyReader()
    assert reader.feed(b"\x1b") == []
    assert reader.waiting
    reader.give_up()
    assert not reader.waiting
    assert reader.feed(b"[A") == [Typed("[A")]


def test_a_sequence_without_end_does_not_hold_what_follows_for_ever() -> None:
    reader = KeyReader()
    taken = [key for _ in range(100) for key in reader.feed(b"\x1b[1;1")]
    assert Key.UP in [*taken, *reader.feed(b"\x1b[A")]
    assert any(isinstance(key, Typed) for key in reader.feed(b"\x1b[" + b"1" * 100 + b" done"))


def test_an_escape_within_a_sequence_begins_another() -> None:
    assert read(b"\x1b[1\x1b[A") == [Key.UP]
    assert read(b"\x1b\x1b[A") == [Key.UP]


def test_a_paste_is_text_and_its_line_ends_are_line_feeds() -> None:
    paste = b"\x1b[200~one\rtwo\r\nthree\x1b[Afour\x03\t\x1b[201~"
    assert read(paste, b"x") == [Pasted("one\ntwo\nthree[Afour\t"), Typed("x")]
    assert read(*(bytes([each]) for each in paste)) == [Pasted("one\ntwo\nthree[Afour\t")]


def test_while_a_paste_comes_no_escape_is_given_up() -> None:
    reader = KeyReader()
    assert reader.feed(b"\x1b[200~abc\x1b[20") == []
    assert not reader.waiting
    assert reader.feed(b"1~") == [Pasted("abc")]


@given(st.binary(max_size=200), st.lists(st.integers(1, 20), max_size=20))
def test_any_bytes_in_any_pieces_give_the_same_keys_and_no_controls(raw: bytes, cuts: list[int]) -> None:
    pieces, rest = [], raw
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    keys, whole = read(*pieces, rest), read(raw)
    assert joined(keys) == joined(whole)
    for key in keys:
        if isinstance(key, Typed):
            assert not any(ord(each) < 32 or 127 <= ord(each) < 160 for each in key.text)
        elif isinstance(key, Pasted):
            assert not any(
                (ord(each) < 32 and each not in "\n\t") or 127 <= ord(each) < 160 for each in key.text
            )


def joined(keys: list[object]) -> list[object]:
    """Typed text as one, for it may come in any pieces."""
    result: list[object] = []
    for key in keys:
        if isinstance(key, Typed) and result and isinstance(result[-1], Typed):
            result[-1] = Typed(result[-1].text + key.text)
        else:
            result.append(key)
    return result
