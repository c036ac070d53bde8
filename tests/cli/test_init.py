"""``phloem init``: what it makes runs as it is, is tested, and is as good as its word."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from phloem.cli import init
from support.beginnings import (
    BIN,
    FILES,
    TEMPLATES,
    bare,
    files_of,
    made,
    next_commands,
    snapshot,
    source_of,
)


@pytest.fixture(scope="module")
def organisms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each template, and two of one."""
    folder = tmp_path_factory.mktemp("organisms")
    for template in TEMPLATES:
        made(folder, template, "--template", template)
    made(folder, "with space.and.dots")
    return folder


# -- what it makes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "name"),
    [
        *((template, "desk") for template in TEMPLATES),
        *(("minimal", name) for name in ("my 'own' $HOME; desk", "-x", "-", "deep/er/desk", "desk/")),
    ],
)
def test_both_commands_work_as_they_are_printed(tmp_path: Path, template: str, name: str) -> None:
    run, test = next_commands(made(tmp_path, "--template", template, "--", name))
    ran = bare(["/bin/sh", "-c", run], tmp_path)
    assert ran.returncode == 0, ran.stderr
    states = [json.loads(line)["state"] for line in ran.stdout.splitlines()]
    assert states == ["completed"] * len(states)
    assert len(states) >= 2
    tested = bare(["/bin/sh", "-c", test], tmp_path)
    assert tested.returncode == 0, tested.stderr
    assert tested.stderr.endswith("OK\n")
    assert {path.name for path in (tmp_path / name).iterdir() if path.is_file()} == files_of(template)


def test_an_absolute_name_and_the_folder_one_stands_in_work_as_well(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in (str(tmp_path / "absolute"), "."):
        for command in next_commands(made(here, name)):
            assert bare(["/bin/sh", "-c", command], here).returncode == 0
    assert yaml.safe_load((here / "organism.yaml").read_text())["organism"] == {"name": "here"}


def test_a_parent_that_is_no_text_comes_back_byte_for_byte(tmp_path: Path) -> None:
    parent = os.fsdecode(b"caf\xe9")
    try:
        (tmp_path / parent).mkdir()
    except OSError:
        pytest.skip("needs a file system that takes any bytes as a name")
    command = [b"phloem", b"init", b"caf\xe9/desk"]
    out = subprocess.run(command, cwd=tmp_path, env={"PATH": BIN}, capture_output=True, check=True).stdout
    for line in out.splitlines()[-2:]:
        done = subprocess.run([b"/bin/sh", b"-c", line], cwd=tmp_path, env={"PATH": BIN}, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_without_phloem_on_the_path_the_commands_are_longer_and_work(phloem: Any) -> None:
    out = phloem("init", "desk", PATH="/nowhere").out
    for command in next_commands(out):
        assert shlex.split(command)[0] == sys.executable
        done = subprocess.run(
            shlex.split(command), cwd=phloem.folder, env=phloem._environment(None), capture_output=True
        )
        assert done.returncode == 0, done.stderr


def test_a_python_without_this_phloem_is_not_named(tmp_path: Path) -> None:
    """The first ``python`` of the path is the same file, and has other packages."""
    other = tmp_path / "bin"
    other.mkdir()
    (other / "python").symlink_to(os.path.realpath(sys.executable))
    environment = {"PATH": f"{other}{os.pathsep}{BIN}"}
    out = subprocess.check_output(["phloem", "init", "desk"], cwd=tmp_path, env=environment, text=True)
    run, test = next_commands(out)
    assert run.startswith("phloem run ")
    assert not test.startswith("python ")
    assert (
        subprocess.run(shlex.split(test), cwd=tmp_path, env=environment, capture_output=True).returncode == 0
    )


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_the_readme_says_to_type_works(tmp_path: Path, template: str) -> None:
    made(tmp_path, "desk", "--template", template)
    text = (tmp_path / "desk" / "README.md").read_text()
    commands = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).splitlines()
    commands += [" ".join(found.split()) for found in re.findall(r"`(phloem [^`]*)`", text)]
    assert len(commands) >= 3
    for command in commands:
        done = bare(["/bin/sh", "-c", command], tmp_path / "desk")
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    named = set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))
    assert named == files_of(template) - {"README.md"}


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_env_example_is_a_good_env(tmp_path: Path, template: str) -> None:
    made(tmp_path, "desk", "--template", template)
    (tmp_path / "desk" / ".env.example").rename(tmp_path / "desk" / ".env")
    assert bare(["phloem", "check", "desk/organism.yaml"], tmp_path).returncode == 0


def test_type_checkers_have_nothing_to_say(
    organisms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mypy = pytest.importorskip("mypy.api", reason="needs the group 'check' installed")
    files = [str(path) for each in TEMPLATES for path in sorted((organisms / each).glob("*.py"))]
    monkeypatch.setenv("MYPYPATH", str(organisms))  # so that each handlers.py is a module of its own
    options = ["--strict", "--explicit-package-bases", "--config-file=", f"--cache-dir={tmp_path}"]
    found = mypy.run([*options, *files])
    assert found[2] == 0, found[0]


def test_the_name_of_the_organism_is_the_last_part_of_the_path(tmp_path: Path) -> None:
    name = "a: 'b' # \"c\" \\d 🌱"
    made(tmp_path, f"in/{name}")
    checked = bare(["phloem", "check", f"in/{name}/organism.yaml"], tmp_path)
    assert checked.stdout.startswith(f"{name}: 1 listener")


@pytest.mark.parametrize(
    "name",
    [
        "true",
        "No",
        "0x10",
        "12",
        "1e3",
        "[x]",
        "&x",
        "~",
        "Grüße",
        "y",
        "null",
        "a-1",
        "a_b.c",
        "-",
        "\ufeff",
    ],
)
def test_any_name_is_a_text_in_yaml(name: str) -> None:
    written = init._contents("minimal", name)["organism.yaml"]
    assert yaml.safe_load(written)["organism"] == {"name": name}


def test_a_plain_name_stands_there_without_quotes() -> None:
    assert b"\n  name: order-desk\n" in init._contents("minimal", "order-desk")["organism.yaml"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_only_the_name_differs_from_the_template(tmp_path: Path, template: str) -> None:
    made(tmp_path, "desk", "--template", template)
    for name in files_of(template):
        expected = (source_of(template) / name).read_bytes()
        if name == "organism.yaml":
            assert expected.count(b"my-organism") == 1
            expected = expected.replace(b"my-organism", b"desk")
        assert (tmp_path / "desk" / name).read_bytes() == expected
    assert {path.name for path in source_of(template).iterdir() if path.is_file()} == files_of(template)


def test_help_tells_each_template(tmp_path: Path) -> None:
    done = bare(["phloem", "init", "--help"], tmp_path)
    assert done.returncode == 0
    assert all(f"\n  {template} " in done.stdout for template in TEMPLATES)


def test_quiet_says_nothing(tmp_path: Path) -> None:
    assert made(tmp_path, "desk", "--quiet") == ""
    assert snapshot(tmp_path / "desk").keys() == FILES


# -- the generated test --------------------------------------------------------------------


@pytest.mark.parametrize(("stand", "trio_mode"), [(".", "true"), ("todo", "false"), ("/", "true")])
def test_pytest_takes_all_of_them_in_one_run(organisms: Path, stand: str, trio_mode: str) -> None:
    options = [
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
        "-o",
        f"trio_mode={trio_mode}",
    ]
    command = ["python", "-m", "pytest", "-q", *options, str(organisms)]
    done = bare(command, organisms / stand)
    assert done.returncode == 0, done.stdout
    count = sum(path.read_text().count("def test_") for path in organisms.glob("*/test_organism.py"))
    assert f"{count} passed" in done.stdout


@pytest.mark.parametrize("template", ["minimal", "research"])  # all of them are in the one run above
def test_pytest_takes_one_as_it_comes(organisms: Path, template: str) -> None:
    command = ["python", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", template]
    assert bare(command, organisms).returncode == 0


@pytest.mark.parametrize(
    ("template", "right", "wrong", "failing"),
    [
        ("minimal", "Hello, {", "Bye, {", "test_it_greets"),
        ("minimal", "    return Handler", "    raise LookupError\n    return Handler", "test_it_greets"),
        ("minimal", "Pattern(", "print(", "test_a_name_of_nothing"),
        ("pipeline", '"complaint": 1', '"complaint": 7', "test_a_complaint"),
        ("pipeline", '"?" in text', '"!" in text', "test_the_agent_tells"),
        ("pipeline", "C[0-9]{4}", "C?[0-9]+", "test_a_wrong_customer"),
        ("todo", "description=payload.then", 'description="rest"', "test_the_assistant_is_reminded"),
        ("todo", 'wait_for="Fetched"', 'wait_for="Fetch"', "test_the_assistant_is_reminded"),
        (
            "todo",
            "    return HandlerResponse(Fetch(",
            "    return HandlerResponse.respond(Fetch(",
            "test_two_errands",
        ),
    ],
)
def test_a_handler_that_goes_wrong_fails_its_test(
    tmp_path: Path, template: str, right: str, wrong: str, failing: str
) -> None:
    made(tmp_path, "desk", "--template", template)
    handlers = tmp_path / "desk" / "handlers.py"
    text = handlers.read_text()
    assert right in text
    handlers.write_text(text.replace(right, wrong, 1))
    done = bare(["python", "desk/test_organism.py"], tmp_path)
    assert done.returncode == 1
    assert re.search(rf"^(FAIL|ERROR): {failing}", done.stderr, re.MULTILINE), done.stderr


def test_a_handler_that_hangs_fails_its_test_at_once(tmp_path: Path) -> None:
    made(tmp_path, "desk")
    handlers = tmp_path / "desk" / "handlers.py"
    text = handlers.read_text().replace(
        "    return Handler", "    await trio.sleep_forever()\n    return Handler"
    )
    handlers.write_text(f"{text}\n\nimport trio\n")
    done = bare(["python", "desk/test_organism.py"], tmp_path)  # its deadline is 300 seconds, ours 60
    assert done.returncode == 1
    assert "ConversationFailed" in done.stderr


# -- the wheel -----------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_what_is_installed_has_the_templates(tmp_path: Path, target: str) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(tmp_path)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    (built,) = tmp_path.iterdir()
    unpack = ["-m", "zipfile", "-e"] if target == "wheel" else ["-m", "tarfile", "-e"]
    subprocess.run([sys.executable, *unpack, str(built), str(tmp_path / "in")], check=True)
    for template in TEMPLATES:
        (inside,) = (tmp_path / "in").rglob(f"cli/templates/{source_of(template).name}")
        assert snapshot(inside) == snapshot(source_of(template))
