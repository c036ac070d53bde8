"""Import paths: what is missing, what raises, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Folder


def organism(payload: str, handler: str = "hello.greet") -> str:
    return f"listeners:\n  - name: a\n    payload_class: {payload}\n    handler: {handler}\n"


@pytest.mark.parametrize(
    ("path", "found", "expected"),
    [
        ("hello.Greting", "no 'Greting' in module 'hello'", "a name that is in it; did you mean 'Greeting'?"),
        ("hello:Greting", "no 'Greting' in module 'hello'", "a name that is in it; did you mean 'Greeting'?"),
        ("hello.Greeting.Inner", "no 'Inner' in 'Greeting'", "a name that is in it"),
        ("helo.Greeting", "no module 'helo'", "a module that is there; did you mean 'hello'?"),
        ("packge.inner.Thing", "no module 'packge'", "a module that is there; did you mean 'package'?"),
        (
            "package.iner.Thing",
            "no module 'package.iner'",
            "a module that is there; did you mean 'package.inner'?",
        ),
        (
            "package.iner:Thing",
            "no module 'package.iner'",
            "a module that is there; did you mean 'package.inner'?",
        ),
        ("package.inner.Thong", "no 'Thong' in module 'package.inner'", "did you mean 'Thing'?"),
        ("Greeting", "'Greeting' as an import path", "an import path such as handlers.hello.Greeting"),
        ("'hello:'", "'hello:' as an import path", "an import path such as handlers.hello.Greeting"),
        (".hello.Greeting", "'.hello.Greeting' as an import path", "an import path such as"),
        ("hello/Greeting", "'hello/Greeting' as an import path", "an import path such as"),
        ("'a b.c'", "'a b.c' as an import path", "an import path such as"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_where_it_ends(
    folder: Folder, path: str, found: str, expected: str
) -> None:
    folder.write("package/__init__.py", "")
    folder.write("package/inner.py", "class Thing: ...\n")
    where, said, wanted = folder.one(organism(path))
    assert (where, said) == ("organism.yaml:3:20", found)
    assert expected in wanted


@pytest.mark.parametrize(
    "path",
    ["package.inner.Outer.Nested", "package.inner:Outer.Nested", "space.deep.Nested", "space.deep:Nested"],
)
def test_paths_reach_into_packages_classes_and_folders_without_init(folder: Folder, path: str) -> None:
    nested = "from dataclasses import dataclass\n@dataclass\nclass Nested:\n    x: str\n"
    folder.write("package/__init__.py", "")
    folder.write("package/inner.py", f"{nested}class Outer:\n    Nested = Nested\n")
    folder.write("space/deep.py", nested)
    (listener,) = folder.load(organism(path)).listeners
    assert isinstance(listener.payload_class, tuple)
    assert [cls.__name__ for cls in listener.payload_class] == ["Nested"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\nraise ValueError('no good')\n", "ValueError: no good at bad.py:2"),
        ("import requets_phloem\n", "ModuleNotFoundError: No module named 'requets_phloem' at bad.py:1"),
        ("def f(:\n", "SyntaxError: invalid syntax"),
        ("import sys\n\nsys.exit(3)\n", "SystemExit: 3 at bad.py:3"),
        ("import json\njson.loads('[')\n", "JSONDecodeError: "),
        ("class Odd(BaseException): ...\nraise Odd\n", "Odd at bad.py:2"),
        ("import deeper\n", "KeyError: 'x' at deeper.py:2"),
    ],
)
def test_a_module_that_raises_is_told_with_class_text_and_line(
    folder: Folder, source: str, said: str
) -> None:
    folder.write("bad.py", source)
    folder.write("deeper.py", "table = {}\ntable['x']\n")
    where, found, expected = folder.one(organism("bad.Thing"))
    assert where == "organism.yaml:3:20"
    assert found.startswith(f"module 'bad', which raised {said}")
    assert expected == "a module that imports"


@pytest.mark.parametrize(("source", "line"), [("import json\njson.loads('[')\n", 2), ("x = 1\ndef f(:\n", 2)])
def test_the_line_told_is_the_users_own(folder: Folder, source: str, line: int) -> None:
    folder.write("bad.py", source)
    assert folder.one(organism("bad.Thing"))[1].endswith(f" at bad.py:{line}")


def test_ctrl_c_during_an_import_goes_on(folder: Folder) -> None:
    folder.write("bad.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        folder.load(organism("bad.Thing"))


def test_a_module_that_raises_is_run_once_and_told_at_every_place(folder: Folder) -> None:
    runs = folder.path / "runs.txt"
    folder.write("bad.py", f"with open({str(runs)!r}, 'a') as runs:\n    runs.write('x')\nraise ValueError\n")
    assert [where for where, _ in folder.places(organism("bad.Thing", "bad.handle"))] == ["3:20", "4:14"]
    assert runs.read_text() == "x"


def test_each_class_of_a_list_is_told_at_its_own_place(folder: Folder) -> None:
    text = organism("[hello.Greeting, hello.Gone, hello.greet]")
    assert folder.places(text) == [
        ("3:37", "no 'Gone' in module 'hello'"),
        ("3:49", "'hello.greet', a function,"),
    ]


def test_a_handler_that_yields_is_told_at_its_place(folder: Folder) -> None:
    folder.write("plain.py", "def greet(payload, metadata):\n    yield\n")
    assert folder.one(organism("hello.Greeting", "plain.greet")) == (
        "organism.yaml:4:14",
        "'plain.greet', a generator",
        "async def or def handler(payload, metadata) that returns its responses instead of yielding them",
    )


def test_a_plain_function_is_a_handler_unless_it_is_to_run_on_the_host(folder: Folder) -> None:
    folder.write("plain.py", "def greet(payload, metadata): ...\n")
    text = organism("hello.Greeting", "plain.greet")
    (listener,) = folder.load(text).listeners
    assert listener.handler is not None
    assert folder.one(f"{text}    runs_on: host\n")[:2] == (
        "organism.yaml:4:14",
        "'plain.greet', a plain function that is to run on the host",
    )


def test_a_class_without_a_contract_is_told_at_its_place(folder: Folder) -> None:
    folder.write("odd.py", "class Odd: ...\n")
    where, found, _ = folder.one(organism("odd.Odd"))
    assert where == "organism.yaml:3:20"
    assert found.startswith("'odd.Odd', which cannot be a payload: ")
