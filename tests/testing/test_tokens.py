"""Claims of testing/sim/tokens.py: a token says all of a run, and what is no token is refused in words."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from phloem.errors import InvalidToken
from phloem.testing.sim import Cut, FaultKind
from phloem.testing.sim.tokens import PREFIX, Recipe, decode, encode

words = st.text(st.characters(), max_size=12)  # surrogates and all
cuts = st.builds(Cut, st.integers(0, 10**6), st.sampled_from(["cancel", "timeout"]))
faults = st.tuples(words, words, st.integers(1, 10**6), st.sampled_from(FaultKind).map(str))
schedules = st.lists(st.integers(0, 40), max_size=80).map(lambda each: (*each, 1)) | st.just(())
recipes = st.builds(
    Recipe,
    seed=st.integers(),
    strategy=st.sampled_from(["walk", "calm", "shuffle", "pct3@258"]),
    schedule=st.none() | schedules,
    cuts=st.lists(cuts, max_size=3).map(tuple),
    faults=st.none() | st.lists(faults, max_size=3).map(tuple),
    resources=st.booleans(),
    digest=st.text("0123456789abcdef", max_size=12),
)
RECIPE = Recipe(7, "walk", (0, 0, 2), (Cut(3, "timeout"),), (("p", "n", 1, "hang"),), True, "0123456789ab")
CONTENT: dict[str, Any] = {
    "s": 7, "y": "walk", "d": "0123456789ab", "c": [2, 2],
    "x": [[3, "timeout"]], "f": [["p", "n", 1, "hang"]], "r": 1,
}  # fmt: skip


def token_of(content: object) -> str:
    """A token whose check is right, whatever is in it."""
    return packed(json.dumps(content).encode())


def packed(text: bytes) -> str:
    content = zlib.compress(text)
    raw = zlib.crc32(content).to_bytes(4, "big") + content
    return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


@given(recipes)
def test_a_token_says_all_of_a_recipe(recipe: Recipe) -> None:
    again = decode(encode(recipe))
    assert again == recipe
    assert again.digest == recipe.digest


@given(recipes)
def test_a_token_is_one_word_that_a_shell_and_a_mail_leave_alone(recipe: Recipe) -> None:
    token = encode(recipe)
    assert token.isascii()
    assert not set(token) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@given(recipes)
def test_white_space_around_a_token_is_forgiven(recipe: Recipe) -> None:
    assert decode(f"  {encode(recipe)}\r\n") == recipe


@given(recipes)
def test_the_same_recipe_has_the_same_token(recipe: Recipe) -> None:
    assert encode(recipe) == encode(replace(recipe)) == encode(decode(encode(recipe)))


def test_a_token_of_today_is_read_for_ever() -> None:
    token = (
        "sim1-KQKy9HjaHYzLDkAwFAX_5azvgnqU_krTRb0FJVQQ8e8uuzOZyblRQmlBwhAqKA"
        "ShiOIklVluCxAalhoLLwcKCZ11LQy3KxTjBiUJ5xdFBN9P9bz731_8ddhxwPMCp-IZtA"
    )
    assert decode(token) == decode(token_of(CONTENT)) == RECIPE


def test_a_seed_that_only_acts_like_a_number_is_one() -> None:
    assert decode(encode(Recipe(True))).seed == 1


def test_zeros_at_the_end_of_a_schedule_say_nothing() -> None:
    assert decode(encode(Recipe(schedule=(0, 1, 0, 0)))).schedule == (0, 1)
    assert decode(encode(Recipe(schedule=(0, 0)))).schedule == ()


def test_no_schedule_is_not_an_empty_one_and_no_faults_are_not_none_drawn() -> None:
    for recipe in (Recipe(), Recipe(schedule=()), Recipe(faults=()), Recipe(schedule=(), faults=())):
        again = decode(encode(recipe))
        assert (again.schedule, again.faults) == (recipe.schedule, recipe.faults)


def test_a_long_schedule_of_few_switches_has_a_short_token() -> None:
    schedule = tuple(1 if place in (10, 5_000, 99_999) else 0 for place in range(100_000))
    assert len(encode(Recipe(schedule=schedule))) < 120


def test_of_a_digest_its_beginning_is_kept() -> None:
    assert decode(encode(Recipe(digest="0123456789abcdef" * 2))).digest == "0123456789ab"


def padded(token: str) -> str:
    body = token.removeprefix(PREFIX)
    return body + "=" * (-len(body) % 4)


# -- what is no token --------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", "   ", "sim2-abc", "SIM1-abc", "7", "x" * 10_000, "sim1", "✂sim1-abc"])
def test_another_word_is_refused_with_what_a_token_begins_with(word: str) -> None:
    with pytest.raises(InvalidToken, match="expected one that begins with 'sim1-'") as refused:
        decode(word)
    assert len(str(refused.value)) < 200


@given(recipes, st.data())
def test_a_token_with_one_character_changed_is_refused(recipe: Recipe, data: st.DataObject) -> None:
    token = encode(recipe)
    place = data.draw(st.integers(len(PREFIX), len(token) - 1))
    other = data.draw(st.sampled_from("Aaz09-_").filter(lambda each: each != token[place]))
    changed = token[:place] + other + token[place + 1 :]
    assume(base64.urlsafe_b64decode(padded(changed)) != base64.urlsafe_b64decode(padded(token)))
    with pytest.raises(InvalidToken, match="expected it whole"):
        decode(changed)


@given(recipes, st.data())
def test_a_beginning_of_a_token_is_refused(recipe: Recipe, data: st.DataObject) -> None:
    token = encode(recipe)
    with pytest.raises(InvalidToken, match="expected it whole"):
        decode(token[: data.draw(st.integers(len(PREFIX), len(token) - 1))])


@given(recipes, st.text("abcXYZ019-_", min_size=2, max_size=9))
def test_a_token_with_something_behind_it_is_refused(recipe: Recipe, more: str) -> None:
    with pytest.raises(InvalidToken, match="expected it whole"):
        decode(encode(recipe) + more)


@given(st.text(st.characters()) | st.text("abcABC019-_+/= \n", max_size=60))
def test_whatever_stands_behind_the_prefix_is_read_or_refused(body: str) -> None:
    with pytest.raises(InvalidToken):
        decode(PREFIX + body)


@pytest.mark.parametrize("body", ["ünïcödé", "AAAA AAAA", "AAAA\nAAAA", "\ud800", "\x00"])
def test_what_is_not_of_its_alphabet_is_refused(body: str) -> None:
    with pytest.raises(InvalidToken):
        decode(PREFIX + body)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("s", "7"), ("s", 7.0), ("s", 1.5), ("s", None), ("s", True), ("s", [7]),
        ("s", float("inf")), ("s", float("nan")),
        ("y", 3), ("y", None), ("y", ["walk"]),
        ("d", 5), ("d", None), ("d", []),
        ("c", None), ("c", 3), ("c", "2,2"), ("c", {"0": 1}), ("c", [1]), ("c", [-1, 1]), ("c", [1, -1]),
        ("c", [1.0, 1]), ("c", ["1", "1"]), ("c", [None, 1]), ("c", [True, 1]), ("c", [10**9, 1]),
        ("c", [[1], [1]]),
        ("x", [[3, "cancel", 1, 1]]), ("x", [[3, "timeout", "1"]]),
        ("x", 3), ("x", [3]), ("x", [[3]]), ("x", [["3", "cancel"]]),
        ("x", [[-1, "cancel"]]),
        ("x", [[3, "stop"]]), ("x", [[3, None]]), ("x", [[1.5, "cancel"]]), ("x", [[3, ["cancel"]]]),
        ("f", 3), ("f", ["pnvk"]), ("f", [["p", "n", 1]]), ("f", [["p", "n", "1", "hang"]]),
        ("f", [["p", "n", 1, "dance"]]),
        ("f", [[1, "n", 1, "hang"]]), ("f", [["p", None, 1, "hang"]]), ("f", [["p", "n", -1, "hang"]]),
        ("f", [["p", "n", 1, ["hang"]]]),
    ],
)  # fmt: skip
def test_content_of_another_kind_is_refused(key: str, value: object) -> None:
    with pytest.raises(InvalidToken, match="cannot be read") as refused:
        decode(token_of(CONTENT | {key: value}))
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("key", ["s", "y", "d"])
def test_content_without_what_it_needs_is_refused(key: str) -> None:
    with pytest.raises(InvalidToken, match=f"it lacks '{key}'"):
        decode(token_of({name: value for name, value in CONTENT.items() if name != key}))


@pytest.mark.parametrize("content", [[], "walk", 7, None, True, [[1, 2]], {}])
def test_content_that_is_no_recipe_at_all_is_refused(content: object) -> None:
    with pytest.raises(InvalidToken):
        decode(token_of(content))


@pytest.mark.parametrize("strategy", ["nonsense", "pct", "portfolio", "pct3", "exhaust", ""])
def test_a_strategy_that_decides_no_schedule_needs_one(strategy: str) -> None:
    with pytest.raises(InvalidToken, match="cannot be read"):
        decode(token_of({"s": 7, "y": strategy, "d": ""}))
    assert decode(token_of({"s": 7, "y": strategy, "d": "", "c": [0, 1]})).schedule == (1,)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"{", b"NaN", b"[" * 200_000, b"9" * 10_000])
def test_content_that_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidToken):
        decode(packed(text))


def test_a_token_that_unpacks_to_gigabytes_is_refused_before_it_does() -> None:
    bomb = zlib.compressobj(9)
    body = b"".join(bomb.compress(b"\0" * (1 << 20)) for _ in range(64)) + bomb.flush()
    with pytest.raises(InvalidToken, match="changed or missing"):
        decode(PREFIX + base64.urlsafe_b64encode(b"\0\0\0\0" + body).decode())


def test_a_cut_says_what_was_done_and_when() -> None:
    assert str(Cut(3)) == "the scenario cancelled before step 3"
    assert str(Cut(0, "timeout")) == "the innermost deadline fired before step 0"
