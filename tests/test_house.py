"""The rules of the house that no linter knows: sizes, docstrings, no state, the wheel, the front door."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import phloem
import phloem.errors

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "phloem"
MODULES = sorted(SOURCE.rglob("*.py"))
PYTHON_FILES = sorted([*MODULES, *ROOT.glob("tests/**/*.py"), *ROOT.glob("scripts/**/*.py")])

MUTABLE_CALLS = {
    "bytearray",
    "defaultdict",
    "deque",
    "dict",
    "list",
    "local",  # threading.local
    "set",
    "Counter",
    "OrderedDict",
    "WeakKeyDictionary",
    "WeakValueDictionary",
    "CapacityLimiter",
    "Event",
    "Lock",
    "Semaphore",
    "open_memory_channel",
}
MUTABLE_TYPES = {"dict", "list", "set", "bytearray", "deque", "defaultdict", "MutableMapping"}
MUTATORS = {"add", "append", "clear", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}
CACHES = {"cache", "lru_cache"}


def names_of(files: list[Path]) -> list[str]:
    return [str(file.relative_to(ROOT)) for file in files]


def last_name(node: ast.expr) -> str:
    match node:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=inner) | ast.Subscript(value=inner):
            return last_name(inner)
        case _:
            return ""


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when the module is imported, branches included, bodies of functions not."""
    for statement in body:
        yield statement
        match statement:
            case ast.If(body=inner, orelse=other):
                yield from top_level([*inner, *other])
            case ast.Try(body=inner, handlers=handlers, orelse=other, finalbody=final):
                caught = [statement for handler in handlers for statement in handler.body]
                yield from top_level([*inner, *caught, *other, *final])
            case ast.With(body=inner) | ast.For(body=inner):
                yield from top_level(inner)
            case _:
                pass


def is_table(value: ast.expr, annotation: ast.expr | None) -> bool:
    """A constant: ``Final[Mapping[…]]`` and the like, or plain ``Final`` with something in it."""
    match annotation:
        case ast.Subscript(value=outer, slice=inner):
            return last_name(outer) == "Final" and last_name(inner) not in MUTABLE_TYPES
        case ast.expr():
            return last_name(annotation) == "Final" and ast.unparse(value) not in ("{}", "[]")
        case _:
            return False


def assignments(tree: ast.Module) -> Iterator[tuple[ast.Assign | ast.AnnAssign, ast.expr, ast.expr | None]]:
    """Each statement that binds a name on import, with the value and its annotation."""
    for statement in top_level(tree.body):
        match statement:
            case ast.Assign(targets=[ast.Name("__all__"), *_]):
                pass
            case ast.Assign():
                yield statement, statement.value, None
            case ast.AnnAssign(value=ast.expr() as value):
                yield statement, value, statement.annotation
            case _:
                pass


def targets(statement: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return statement.targets if isinstance(statement, ast.Assign) else [statement.target]


def state_of(tree: ast.Module) -> Iterator[str]:
    """Every place of a module that keeps something between two calls."""
    for statement, value, annotation in assignments(tree):
        if isinstance(value, (ast.Dict, ast.DictComp, ast.List, ast.ListComp, ast.Set, ast.SetComp)):
            if not is_table(value, annotation):
                yield f"line {statement.lineno}: {ast.unparse(statement)[:60]}"
        elif isinstance(value, ast.Call) and last_name(value) in MUTABLE_CALLS:
            yield f"line {statement.lineno}: {ast.unparse(statement)[:60]}"
    globals_ = {last_name(name) for statement, _, _ in assignments(tree) for name in targets(statement)}
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Name(name), ctx=ast.Store() | ast.Del()) if name in globals_:
                yield f"line {node.lineno}: writes to {ast.unparse(node)}"
            case ast.Call(func=ast.Attribute(value=ast.Name(name), attr=method)) if (
                name in globals_ and method in MUTATORS
            ):
                yield f"line {node.lineno}: {ast.unparse(node)[:60]}"
            case ast.Global():
                yield f"line {node.lineno}: {ast.unparse(node)}"
            case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
                if any(last_name(decorator) in CACHES for decorator in decorators):
                    yield f"line {node.lineno}: cached {node.name}"
            case _:
                pass


def fresh_python(*arguments: str) -> str:
    """What another interpreter prints, in an environment that leads to this checkout only."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("file", PYTHON_FILES, ids=names_of(PYTHON_FILES))
def test_a_file_has_fewer_than_400_lines(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) < 400


@pytest.mark.parametrize("file", PYTHON_FILES, ids=names_of(PYTHON_FILES))
def test_a_module_says_what_it_is_for(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text("utf-8")))


# The one exception: which guest an event loop carries is known to nothing but the loop.
STATE = {"src/phloem/embedding/guests.py": "_guests"}


@pytest.mark.parametrize("file", MODULES, ids=names_of(MODULES))
def test_a_module_keeps_no_state(file: Path) -> None:
    allowed = STATE.get(str(file.relative_to(ROOT)))
    state = list(state_of(ast.parse(file.read_text("utf-8"))))
    assert [place for place in state if allowed is None or f"{allowed}" not in place] == []


@pytest.mark.parametrize(
    "source",
    [
        "seen = {}",
        "SEEN: Final[dict[str, int]] = {}",
        "SEEN: Final = {}",
        "SEEN: Final = {'a': 1}\ndef f():\n    SEEN['b'] = 2",
        "NAMES: Final = ['a']\ndef f():\n    NAMES.append('b')",
        "queue: Final = deque()",
        "if True:\n    limiter = trio.CapacityLimiter(5)",
        "def f():\n    global seen",
        "@functools.lru_cache(maxsize=None)\ndef f(): ...",
    ],
)
def test_the_test_for_state_sees_it(source: str) -> None:
    assert list(state_of(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "__all__ = ['x']",
        "TABLE: Final[Mapping[str, int]] = {'a': 1}",
        "NAMES: Final = ('a', 'b')",
        "TABLE: Final = {'a': 1}",
        "def f():\n    seen = {}",
    ],
)
def test_the_test_for_state_lets_constants_be(source: str) -> None:
    assert list(state_of(ast.parse(source))) == []


def test_only_the_embedding_says_asyncio() -> None:
    said = {
        str(file.relative_to(SOURCE))
        for file in MODULES
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "asyncio" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "asyncio")
    }
    assert said == {"embedding/loops.py"}


def test_what_an_extra_brings_is_loaded_by_who_needs_it_only() -> None:
    loaded = fresh_python("-c", "import sys, phloem.organism, phloem.llm.router; print(*sys.modules)").split()
    assert "phloem.llm.driving" in loaded
    assert {"httpx2", "httpcore2", "truststore"}.isdisjoint(loaded)


def test_importing_phloem_loads_neither_trio_nor_lxml() -> None:
    loaded = fresh_python("-c", "import sys, phloem; print(*sys.modules)").split()
    assert "phloem" in loaded
    assert {"trio", "anyio", "lxml", "lxml.etree", "yaml", "click", "rich"}.isdisjoint(loaded)


def test_every_public_name_is_there() -> None:
    assert {name for name in phloem.__all__ if getattr(phloem, name, None) is None} == set()


def test_every_error_is_public() -> None:
    assert set(phloem.errors.__all__) <= set(phloem.__all__)


def test_dir_lists_public_names_before_they_are_loaded() -> None:
    listed = fresh_python("-c", "import phloem; print(*dir(phloem))").split()
    assert set(phloem.__all__) <= set(listed)


def test_type_checkers_are_told_of_every_public_name() -> None:
    tree = ast.parse((SOURCE / "__init__.pyi").read_text("utf-8"))
    told = {
        alias.name
        for statement in top_level(tree.body)
        if isinstance(statement, ast.ImportFrom) and statement.level == 1
        for alias in statement.names
    }
    assert told | {"__version__"} == set(phloem.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'opn_organism'"):
        _ = phloem.opn_organism  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def test_no_dependency_is_imported_that_is_not_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extra = project["optional-dependencies"]["llm"]  # the one that something here imports, when it is needed
    declared = {requirement.split(">")[0] for requirement in (*project["dependencies"], *extra)}
    imports = {"pyyaml": "yaml", "python-dotenv": "dotenv"}
    allowed = {imports.get(name, name) for name in declared} | {"phloem"} | sys.stdlib_module_names
    used = {
        name.split(".")[0]
        for file in MODULES
        if not file.name.startswith("pytest_")  # which only pytest loads
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom) and node.level == 0
            else []
        )
    }
    assert used - allowed == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    fresh_python("-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))
    (built,) = folder.glob("phloem-*.whl")
    return zipfile.ZipFile(built)


@pytest.mark.parametrize("name", ["phloem/py.typed", "phloem/wire/envelope.xsd"])
def test_the_wheel_carries(wheel: zipfile.ZipFile, name: str) -> None:
    assert name in wheel.namelist()
    assert wheel.read(name) == (SOURCE.parent / name).read_bytes()


def test_the_wheel_carries_every_module_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    modules = {str(file.relative_to(SOURCE.parent)) for file in MODULES}
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {name for name in inside if name.endswith(".py")} == modules
    assert {name.split("/")[0] for name in inside} == {"phloem"}


def test_the_wheel_says_its_licence_and_its_command(wheel: zipfile.ZipFile) -> None:
    info = f"phloem-{phloem.__version__}.dist-info"
    assert "License-Expression: MIT" in wheel.read(f"{info}/METADATA").decode()
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert "phloem = phloem.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()


@pytest.mark.parametrize("file", MODULES, ids=names_of(MODULES))
def test_no_group_is_possessive_for_python_before_3_11_5_loses_matches_there(file: Path) -> None:
    assert not re.search(r"\)[*+?]\+[^+=\s]|\(\?>", file.read_text("utf-8"))
