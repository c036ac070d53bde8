"""Every code block of README.md and docs/ is executed: what we tell people to type must work.

A block's first word says what is done with it:

- ``python``: run as a program of its own; ``python continues`` after all python blocks before
  it on the page back to the last that does not continue. A ``text`` block right after it is
  what it prints.
- any language with ``file=NAME``: written under that name into the folder that the page's
  other blocks run in.
- ``console``: each ``$ command`` is run, what stands below is what it prints; ``exit=N`` is the
  exit code of the last one.
- ``sh``: commands for a checkout; parsed, and the scripts they call must exist.
- ``yaml`` without a name: loaded as an organism. ``json`` and ``xml``: must be well-formed.

In output ``…`` stands for anything. Any other first word is a failure, so nothing slips by.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LONGEST = 60  # seconds; no example may hang


@dataclass(frozen=True)
class Block:
    """One fenced block, and what the page says before it that it needs."""

    page: Path
    line: int
    kind: str
    options: dict[str, str]
    text: str
    output: str | None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}-{self.kind}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    found = list(FENCE.finditer(text))
    blocks: list[Block] = []
    program = ""
    for index, match in enumerate(found):
        kind, *words = match["info"].split() or [""]
        options = {name: value for name, _, value in (word.partition("=") for word in words)}
        body = match["text"]
        if kind == "python" and "file" not in options:
            program = body = program + "\n" + body if "continues" in options else body
        following = found[index + 1] if index + 1 < len(found) else None
        output = None
        if following and following["info"] == "text" and not text[match.end() : following.start()].strip():
            output = following["text"]
        line = text.count("\n", 0, match.start()) + 1
        blocks.append(Block(page, line, kind, options, body, output))
    return blocks


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def pattern_of(shown: str) -> re.Pattern[str]:
    lines = [line.rstrip() for line in shown.strip().splitlines()]
    return re.compile(".*?".join(re.escape(part) for part in "\n".join(lines).split("…")), re.DOTALL)


def assert_prints(printed: str, shown: str) -> None:
    told = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    assert pattern_of(shown).fullmatch(told), f"shown:\n{shown}\nprinted:\n{told}"


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Its output and its errors apart: what it logs is not what it prints."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PHLOEM_")},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "NO_COLOR": "1",
        "COLUMNS": "100",
        "PYTHONWARNINGS": "error",
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


@pytest.fixture
def folder(block: Block, tmp_path: Path) -> Path:
    """A folder with the files that the block's page shows."""
    for other in BLOCKS:
        if other.page == block.page and "file" in other.options:
            target = tmp_path / other.options["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(other.text, "utf-8")
    return tmp_path


def check_python(block: Block, folder: Path) -> None:
    (folder / "example.py").write_text(block.text, "utf-8")
    done = run([sys.executable, "example.py"], folder)
    assert done.returncode == 0, done.stderr
    if block.output is not None:
        assert_prints(done.stdout, block.output)


def check_file(block: Block, folder: Path) -> None:
    name = block.options["file"]
    if name.endswith(".py"):
        module = ".".join(Path(name).with_suffix("").parts)
        done = run([sys.executable, "-c", f"import {module}"], folder)
        assert done.returncode == 0, done.stderr
    elif block.kind == "yaml":
        done = run(["phloem", "check", name], folder)
        assert done.returncode == 0, done.stderr


def check_console(block: Block, folder: Path) -> None:
    _, *steps = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert steps, "a console block starts with a $"
    for number, step in enumerate(steps, start=1):
        command, _, shown = step.partition("\n")
        done = run(["bash", "-c", f"exec 2>&1; {command}"], folder)  # as a terminal shows it
        expected = int(block.options.get("exit", "0")) if number == len(steps) else 0
        assert done.returncode == expected, f"$ {command}\n{done.stdout}"
        assert_prints(done.stdout, shown)


def check_sh(block: Block, folder: Path) -> None:
    done = run(["bash", "-n", "-c", block.text], folder)
    assert done.returncode == 0, done.stderr
    for script in re.findall(r"\./(\S+)", block.text):
        assert os.access(ROOT / script, os.X_OK), f"{script} is not there, or cannot be run"


def check_yaml(block: Block, folder: Path) -> None:
    (folder / "shown.yaml").write_text(block.text, "utf-8")
    done = run(["phloem", "check", "shown.yaml"], folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_an_example_works_as_shown(block: Block, folder: Path) -> None:
    match block.kind:
        case _ if "file" in block.options:
            check_file(block, folder)
        case "python":
            check_python(block, folder)
        case "console":
            check_console(block, folder)
        case "sh":
            check_sh(block, folder)
        case "yaml":
            check_yaml(block, folder)
        case "json":
            for line in block.text.splitlines():
                json.loads(line)
        case "xml":
            done = run(
                [
                    sys.executable,
                    "-c",
                    "import sys; from lxml import etree; etree.XML(sys.argv[1])",
                    block.text,
                ],
                folder,
            )
            assert done.returncode == 0, done.stderr
        case "text":
            shown_for = [other for other in BLOCKS if other.page == block.page and other.output == block.text]
            assert shown_for, "a text block stands right after the block that prints it"
        case _:
            pytest.fail(f"{block.page.name}:{block.line}: nobody executes {block.kind!r} blocks")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_examples_and_no_dead_links(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert [block for block in BLOCKS if block.page == page]


def test_wrong_output_is_seen() -> None:
    assert_prints("a 12 ms c\n", "a … c")
    with pytest.raises(AssertionError):
        assert_prints("a 12 ms d", "a … c")
    with pytest.raises(AssertionError):
        assert_prints("a c and more", "a c")
