"""``phloem init``: what it makes runs, is tested, and never costs anybody a file."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from phloem.cli import init

TEMPLATES = ("minimal", "pipeline", "todo")
FILES = {"organism.yaml", "handlers.py", "test_organism.py", "README.md", ".env.example", "messages.ndjson"}
SOURCE = Path(init.__file__).with_name("templates")
BIN = str(Path(sys.executable).parent)
LONGEST = 60  # seconds; nothing here takes ten


def bare(command: list[str], folder: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """A command in an environment that knows the way to phloem and nothing else."""
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": BIN},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
        **more,
    )


def made(folder: Path, *arguments: str, **more: Any) -> str:
    done = bare(["phloem", "init", *arguments], folder, **more)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def next_commands(out: str) -> list[str]:
    return [line.strip() for line in out.splitlines() if line.startswith("  ")]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


def refused(folder: Path, *arguments: str, **more: Any) -> str:
    """What is said on stderr; nothing at all has changed."""
    before = snapshot(folder)
    done = bare(["phloem", "init", *arguments], folder, **more)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("phloem: ")
    assert "Traceback" not in done.stderr
    assert snapshot(folder) == before
    return done.stderr


# -- what it makes -------------------------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("name", ["desk", "my 'own' $HOME; desk", "-x", "-", "deep/er/desk", "desk/"])
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
    assert {path.name for path in (tmp_path / name).iterdir() if path.is_file()} == FILES


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
    assert named == FILES - {"README.md"}


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_env_example_is_a_good_env(tmp_path: Path, template: str) -> None:
    made(tmp_path, "desk", "--template", template)
    (tmp_path / "desk" / ".env.example").rename(tmp_path / "desk" / ".env")
    assert bare(["phloem", "check", "desk/organism.yaml"], tmp_path).returncode == 0


@pytest.mark.parametrize("template", TEMPLATES)
def test_type_checkers_have_nothing_to_say(tmp_path: Path, template: str) -> None:
    made(tmp_path, "desk", "--template", template)
    mypy = pytest.importorskip("mypy.api", reason="needs the group 'check' installed")
    found = mypy.run(
        [
            "--strict",
            f"--cache-dir={tmp_path / 'cache'}",
            *("--config-file=", str(tmp_path / "desk" / "handlers.py")),
            str(tmp_path / "desk" / "test_organism.py"),
        ]
    )
    assert found[2] == 0, found[0]


def test_the_name_of_the_organism_is_the_last_part_of_the_path(tmp_path: Path) -> None:
    names = [
        "true",
        "No",
        "0x10",
        "a: 'b' # \"c\" \\d",
        "🌱 Grüße",
        "[x]",
        "&x",
        "1e3",
        "~",
        "plain-name",
        "y",
    ]
    for name in names:
        made(tmp_path, f"in/{name}")
        text = (tmp_path / "in" / name / "organism.yaml").read_text("utf-8")
        assert yaml.safe_load(text)["organism"]["name"] == name
        checked = bare(["phloem", "check", f"in/{name}/organism.yaml"], tmp_path)
        assert checked.stdout.startswith(f"{name}: 1 listener")
    assert "  name: plain-name\n" in (tmp_path / "in" / "plain-name" / "organism.yaml").read_text()


@pytest.mark.parametrize("template", TEMPLATES)
def test_only_the_name_differs_from_the_template(tmp_path: Path, template: str) -> None:
    made(tmp_path, "desk", "--template", template)
    for name in FILES:
        expected = (SOURCE / template / name).read_bytes()
        if name == "organism.yaml":
            assert expected.count(b"my-organism") == 1
            expected = expected.replace(b"my-organism", b"desk")
        assert (tmp_path / "desk" / name).read_bytes() == expected
    assert {path.name for path in (SOURCE / template).iterdir() if path.is_file()} == FILES


def test_quiet_says_nothing(tmp_path: Path) -> None:
    assert made(tmp_path, "desk", "--quiet") == ""
    assert snapshot(tmp_path / "desk").keys() == FILES


# -- the generated test --------------------------------------------------------------------


@pytest.fixture(scope="module")
def organisms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each template, and two of one."""
    folder = tmp_path_factory.mktemp("organisms")
    for template in TEMPLATES:
        made(folder, template, "--template", template)
    made(folder, "with space.and.dots")
    return folder


@pytest.mark.parametrize("stand", [".", "todo", "/"])
@pytest.mark.parametrize("trio_mode", ["true", "false"])
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


@pytest.mark.parametrize("template", TEMPLATES)
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


# -- what is there already -----------------------------------------------------------------


def test_nothing_is_overwritten_and_every_file_in_the_way_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "handlers.py").write_text("mine")
    (folder / "README.md").symlink_to("nowhere")
    said = refused(tmp_path, "desk")
    assert "NAME desk: handlers.py, README.md are there already; --force overwrites them" in said
    (folder / "README.md").unlink()
    assert "handlers.py is there already; --force overwrites it\n" in refused(tmp_path, "desk")


def test_other_files_of_the_folder_are_left_alone_with_and_without_force(tmp_path: Path) -> None:
    folder = tmp_path / "desk"
    folder.mkdir()
    others = {".env": "KEY=secret", "notes.txt": "mine", ".handlers.py.swp": "mine"}
    for name, text in others.items():
        (folder / name).write_text(text)
    made(tmp_path, "desk", "--template", "todo")
    (folder / "handlers.py").write_text("mine")
    made(tmp_path, "desk", "--force")
    assert snapshot(folder).keys() == FILES | others.keys()
    assert {name: (folder / name).read_text() for name in others} == others
    assert (folder / "handlers.py").read_bytes() == (SOURCE / "minimal" / "handlers.py").read_bytes()


def test_force_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text("mine")
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "handlers.py").symlink_to("../shared.py")
    made(tmp_path, "desk", "--force")
    assert (tmp_path / "shared.py").read_text() == "mine"
    assert not (tmp_path / "desk" / "handlers.py").is_symlink()


def test_force_replaces_no_folder_and_then_no_file_either(tmp_path: Path) -> None:
    made(tmp_path, "desk", "--template", "todo")
    (tmp_path / "desk" / "messages.ndjson").unlink()
    (tmp_path / "desk" / "messages.ndjson").mkdir()
    assert "desk/messages.ndjson: Is a directory" in refused(tmp_path, "desk", "--force")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "an empty text"),
        ("/", "an empty text"),
        ("desk ", "ends with a space"),
        ("a\nb", "U+000A"),
        ("x" * 129, "129 characters"),
        ("in/\x7f", "U+007F"),
        ("file", "NAME file: there is a file of that name"),
        ("file/", "NAME file/: there is a file of that name"),
        ("link", "NAME link: there is a file of that name"),
        ("file/desk", "file/desk: Not a directory"),
        ("🌱" * 100, "File name too long"),
    ],
)
def test_a_name_that_can_be_none_is_refused(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    assert said in refused(tmp_path, name)


def test_an_unknown_template_is_refused_with_those_there_are(tmp_path: Path) -> None:
    said = refused(tmp_path, "desk", "--template", "agents")
    assert all(repr(template) in said for template in TEMPLATES)


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "shut"
    folder.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    if os.access(folder, os.W_OK):
        pytest.skip("needs to run as another user than root, whom no mode stops")
    assert "shut/organism.yaml: Permission denied" in refused(tmp_path, "shut")
    assert "shut/desk: Permission denied" in refused(tmp_path, "shut/desk")


@pytest.mark.parametrize("arguments", [("new",), ("deep/er/new",), ("there",), ("old", "--force")])
def test_a_disk_that_is_full_half_way_leaves_all_as_it_was(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    made(tmp_path, "old", "--template", "todo")
    (tmp_path / "there").mkdir()
    size = (SOURCE / "minimal" / "organism.yaml").stat().st_size + 100  # the first file fits, the second not

    def nearly_full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    said = refused(tmp_path, *arguments, preexec_fn=nearly_full)
    assert said == f"phloem: {arguments[0]}/handlers.py: File too large\n"


# -- what no subprocess can bring about ------------------------------------------------------


def failing(method: str, file: str, error: BaseException) -> Callable[..., Any]:
    """``Path.method``, which fails for one file and its draft."""
    right = getattr(Path, method)

    def wrong(self: Path, *arguments: Any, **more: Any) -> Any:
        if file in self.name:
            raise error
        return right(self, *arguments, **more)

    return wrong


@pytest.mark.parametrize("method", ["open", "touch", "replace"])
@pytest.mark.parametrize("error", [OSError(5, "broken"), KeyboardInterrupt()])
def test_whatever_stops_it_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, error: BaseException
) -> None:
    monkeypatch.setattr(Path, method, failing(method, "README.md", error))
    contents = init._contents("minimal", "desk")
    with pytest.raises(type(error)) as raised:
        init._write(tmp_path / "a" / "desk", contents, force=False)
    if isinstance(raised.value, OSError):
        assert raised.value.filename == str(tmp_path / "a" / "desk" / "README.md")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Path.touch

    def raced(self: Path, **more: Any) -> None:
        if self.name == "README.md":
            self.write_text("theirs")
        right(self, **more)

    monkeypatch.setattr(Path, "touch", raced)
    with pytest.raises(FileExistsError):
        init._write(tmp_path / "desk", init._contents("minimal", "desk"), force=False)
    assert snapshot(tmp_path / "desk") == {"README.md": b"theirs"}


def test_what_force_cannot_take_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FILES:
        (tmp_path / name).write_text("mine")
    monkeypatch.setattr(Path, "replace", failing("replace", "test_organism.py", OSError(5, "broken")))
    with pytest.raises(init.click.ClickException) as raised:
        init._write(tmp_path, init._contents("minimal", "desk"), force=True)
    assert raised.value.message.endswith(
        "test_organism.py: broken; overwritten before it: organism.yaml, handlers.py"
    )
    mine = {path.name for path in tmp_path.iterdir() if path.read_text() == "mine"}
    assert mine == FILES - {"organism.yaml", "handlers.py"}
    assert snapshot(tmp_path).keys() == FILES


def test_a_name_that_leads_out_of_a_folder_that_is_not_there_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.setattr(Path, "open", failing("open", "organism.yaml", OSError(5, "broken")))
    with pytest.raises(OSError, match="broken"):
        init._write(here / "new" / "..", init._contents("minimal", "desk"), force=False)
    assert list(here.iterdir()) == []


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
        (inside,) = (tmp_path / "in").rglob(f"cli/templates/{template}")
        assert snapshot(inside) == snapshot(SOURCE / template)
