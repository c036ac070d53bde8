"""``phloem init`` never costs anybody a file: what is in its way, and what stops it half-way."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from phloem.cli import init
from support.beginnings import FILES, SOURCE, TEMPLATES, bare, made, snapshot


def refused(folder: Path, *arguments: str, **more: Any) -> str:
    """What is said on stderr; nothing at all has changed."""
    before = snapshot(folder)
    done = bare(["phloem", "init", *arguments], folder, **more)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("phloem: ")
    assert "Traceback" not in done.stderr
    assert snapshot(folder) == before
    return done.stderr


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


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs the /proc of Linux")
def test_a_folder_where_nobody_can_make_one_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path, "/proc/desk").startswith("phloem: /proc/desk: ")


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
    contents = init._contents("minimal", "desk")
    monkeypatch.setattr(Path, method, failing(method, "README.md", error))
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
    with pytest.raises(click.ClickException) as raised:
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
    contents = init._contents("minimal", "desk")
    monkeypatch.setattr(Path, "open", failing("open", "organism.yaml", OSError(5, "broken")))
    with pytest.raises(OSError, match="broken"):
        init._write(here / "new" / "..", contents, force=False)
    assert list(here.iterdir()) == []
