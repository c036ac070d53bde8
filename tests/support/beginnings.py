"""``phloem init`` as it is typed, in an environment that knows the way to phloem and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from phloem.cli import init

TEMPLATES = ("minimal", "pipeline", "todo", "debate", "tool-user", "research")
ON_MODELS = ("debate", "tool-user", "research")  # they run on a script as long as there is no key
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


def files_of(template: str) -> set[str]:
    """What a new organism of that template has."""
    if template not in ON_MODELS:
        return FILES
    return (
        FILES | {"stand_in.py"}
        if template != "debate"
        else FILES - {"handlers.py"} | {"stand_in.py", "payloads.py"}
    )


def source_of(template: str) -> Path:
    """Where phloem has that template."""
    return SOURCE / template.replace("-", "_")


def next_commands(out: str) -> list[str]:
    return [line.strip() for line in out.splitlines() if line.startswith("  ")]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }
