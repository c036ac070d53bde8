"""Whose modules an import finds: one organism's, never another's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from phloem.contract import xsd
from phloem.errors import ConfigurationError
from phloem.loading import importable

if TYPE_CHECKING:
    from phloem.config import OrganismConfig

    from .conftest import Folder

ONE = "listeners:\n  - {name: a, payload_class: hello.Greeting, handler: hello.greet}\n"


def payload_of(config: OrganismConfig) -> Any:
    assert isinstance(config.listeners[0].payload_class, tuple)
    return config.listeners[0].payload_class[0]


def test_the_folder_stands_in_front_inside_the_block_only(folder: Folder) -> None:
    before = list(sys.path)
    with importable(folder.path):
        assert sys.path == [str(folder.path), *before]
        assert importlib.import_module("hello").__file__ == str(folder.path / "hello.py")
    assert sys.path == before


def test_the_folder_is_taken_away_when_the_block_raises(folder: Folder) -> None:
    before = list(sys.path)
    with pytest.raises(KeyError), importable(folder.path):
        raise KeyError
    assert sys.path == before


def test_an_equal_entry_of_somebody_else_stays(folder: Folder) -> None:
    with importable(folder.path):
        sys.path.append(str(folder.path))
    assert sys.path[-1] == str(folder.path)
    assert sys.path.count(str(folder.path)) == 1


def test_blocks_may_overlap_in_any_order(new_folder: Callable[[], Folder]) -> None:
    first, second, before = new_folder(), new_folder(), list(sys.path)
    with ExitStack() as one, ExitStack() as two:
        one.enter_context(importable(first.path))
        two.enter_context(importable(second.path))
        one.enter_context(importable(first.path))
        one.close()
        assert sys.path == [str(second.path), *before]
    assert sys.path == before


def test_a_load_leaves_the_path_as_it_was_even_with_faults(folder: Folder) -> None:
    before = list(sys.path)
    folder.load(ONE)
    folder.faults(ONE.replace("greet", "gone"))
    assert sys.path == before


def test_a_load_alone_imports_as_python_does(folder: Folder) -> None:
    first = folder.load(ONE)
    assert payload_of(first) is sys.modules["hello"].Greeting
    assert payload_of(folder.load(ONE)) is payload_of(first)


def test_a_module_of_another_folder_is_never_served(new_folder: Callable[[], Folder]) -> None:
    first, second = new_folder(), new_folder()
    first_class = payload_of(first.load(ONE))
    module = sys.modules["hello"]
    second_class = payload_of(second.load(ONE))
    assert second_class is not first_class
    assert sys.modules["hello"] is module
    assert payload_of(first.load(ONE)) is first_class


def test_the_first_organisms_modules_come_back_after_faults(new_folder: Callable[[], Folder]) -> None:
    first, second = new_folder(), new_folder()
    first.load(ONE)
    module = sys.modules["hello"]
    second.write("hello.py", "raise ValueError\n")
    with pytest.raises(ConfigurationError, match="ValueError"):
        second.load(ONE)
    assert sys.modules["hello"] is module


def test_a_module_made_by_hand_is_not_served_and_comes_back(folder: Folder) -> None:
    sys.modules["hello"] = made = ModuleType("hello")
    assert payload_of(folder.load(ONE)).__module__ == "hello"
    assert sys.modules["hello"] is made


def test_what_handlers_import_beside_them_is_their_own_too(new_folder: Callable[[], Folder]) -> None:
    folders = [new_folder(), new_folder()]
    for number, where in enumerate(folders):
        where.write("tools/__init__.py", "")
        where.write("tools/words.py", f"WORD = {number}\n")
        with (where.path / "hello.py").open("a") as hello:
            hello.write("from tools.words import WORD\nGreeting.word = WORD\n")
    assert [payload_of(where.load(ONE)).word for where in [*folders, folders[0]]] == [0, 1, 0]
    assert sys.modules["tools.words"].WORD == 0


def test_a_module_only_the_second_folder_has_does_not_stay_for_the_first(
    new_folder: Callable[[], Folder],
) -> None:
    first, second = new_folder(), new_folder()
    second.write("only_here.py", "")
    with (second.path / "hello.py").open("a") as hello:
        hello.write("import only_here\n")
    first.load(ONE)
    second.load(ONE)
    assert "only_here" not in sys.modules


def test_folders_without_init_are_not_joined_with_another_organisms(new_folder: Callable[[], Folder]) -> None:
    first, second = new_folder(), new_folder()
    for where in (first, second):
        where.write("parts/shared.py", (where.path / "hello.py").read_text())
    first.write("parts/secret.py", "")
    text = ONE.replace("hello", "parts.shared")
    with importable(first.path):
        one = first.load(text)
        (place, found, _) = second.one(text.replace("greet}", "greet, responds_with: parts.secret.X}"))
        two = second.load(text)
        assert sys.path[0] == str(first.path)
    assert (place, found) == ("organism.yaml:2:97", "no module 'parts.secret'")
    assert payload_of(one) is not payload_of(two)
    assert sys.modules["parts.shared"].Greeting is payload_of(one)


def test_the_ground_we_stand_on_is_never_swapped(folder: Folder) -> None:
    standing = {name: sys.modules[name] for name in ("json", "yaml", "phloem", "phloem.config", "pytest")}
    for name in ("json", "yaml", "phloem", "pytest"):
        folder.write(f"{name}.py", "raise ValueError\n")
    with (folder.path / "hello.py").open("a") as hello:
        hello.write("import json, yaml, phloem\n")
    sys.modules["hello"] = ModuleType("hello")
    folder.load(ONE)
    assert {name: sys.modules[name] for name in standing} == standing


def test_each_organism_keeps_the_contracts_of_its_own_classes(new_folder: Callable[[], Folder]) -> None:
    source = """
    from __future__ import annotations
    from dataclasses import dataclass

    @dataclass
    class Inner:
        {field}: str

    @dataclass
    class Greeting:
        inner: Inner

    async def greet(payload, metadata): ...
    """
    classes: list[Any] = []
    for field in ("first", "second"):
        folder = new_folder()
        folder.write("hello.py", source.format(field=field))
        classes.append(payload_of(folder.load(ONE)))
    assert [("First" in xsd(cls), "Second" in xsd(cls)) for cls in classes] == [(True, False), (False, True)]
