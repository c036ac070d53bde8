"""The pages about docs/examples show what is there: every example has its line, and every copy is one."""

from __future__ import annotations

import re

from support.kitchens import COMMANDS, EXAMPLES

PAGE = (EXAMPLES.parent / "how-to-serve-over-http.md").read_text("utf-8")
INDEX = (EXAMPLES / "README.md").read_text("utf-8")


def test_the_page_shows_the_example_letter_by_letter() -> None:
    (shown,) = re.findall(r"^```python file=app\.py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert shown == (EXAMPLES / "fastapi_uvicorn" / "app.py").read_text("utf-8")


def test_every_example_stands_in_the_index() -> None:
    files = {file for pattern in ("*.py", "*.ipynb", "*/app.py") for file in EXAMPLES.glob(pattern)}
    linked = {EXAMPLES / link for link in re.findall(r"^\| \[.*?\]\((.*?)\)", INDEX, re.MULTILINE)}
    assert linked == files


def test_the_tests_start_every_server_by_the_command_of_the_index() -> None:
    told = set(re.findall(r"^\(cd (\w+) && (.*?)\)", INDEX, re.MULTILINE))
    started = {(folder, re.sub(r" --(port|bind) \S+$", "", command)) for folder, command in COMMANDS.values()}
    other_loop = {("fastapi_uvicorn", "uvicorn app:app --loop asyncio")}
    assert started == told | other_loop


def test_every_server_says_in_its_file_how_it_is_started() -> None:
    for folder, command in COMMANDS.values():
        text = (EXAMPLES / folder / "app.py").read_text("utf-8")
        assert re.sub(r" --(port|bind|loop) .*$", "", command) in text
