"""How each kitchen of docs/examples is started: the commands of its README, on a port of its own."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from .servers import Server, open_server

__all__ = ["COMMANDS", "EXAMPLES", "NOTICES", "assert_quiet", "edited", "open_kitchen"]

EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"

COMMANDS: Final = {  # the folder, and what its user types there
    "fastapi-asyncio": ("fastapi_uvicorn", "uvicorn app:app --loop asyncio --port 0"),
    "fastapi-uvloop": ("fastapi_uvicorn", "uvicorn app:app --loop uvloop --port 0"),
    "starlette-trio": ("starlette_hypercorn", "hypercorn -k trio app:app --bind 127.0.0.1:0"),
    "flask": ("flask_sync", "flask run --port 0"),
}
NOTICES: Final = ("fastapi-asyncio", "fastapi-uvloop", "starlette-trio")  # that a client hung up; WSGI cannot


def open_kitchen(
    name: str, logs: Path, *more: str, folder: Path | None = None, module: str = "app"
) -> AbstractContextManager[Server]:
    """The server of that name with more options, or of a folder or module of the test's own."""
    place, command = COMMANDS[name]
    words = [word.replace("app:app", f"{module}:app") for word in command.split()]
    if words[0] == "flask" and module != "app":
        words[1:1] = ["--app", module]
    return open_server([*words, *more], EXAMPLES / place if folder is None else folder, logs)


def assert_quiet(server: Server) -> None:
    """Nothing in its log but what it always says, and the cooks who failed on purpose."""
    assert server.err.count("Traceback") == server.err.count("cook raised on "), server.err
    assert not [word for word in ("Exception ignored", "Warning", "never awaited") if word in server.err]


def edited(file: Path, folder: Path, old: str = "", new: str = "") -> Path:
    """A new folder with a copy of one file, in which one thing is different."""
    text = file.read_text("utf-8")
    assert old in text, f"nothing to edit in {file}: {old!r}"
    folder.mkdir()
    (folder / file.name).write_text(text.replace(old, new) if old else text, "utf-8")
    return folder
