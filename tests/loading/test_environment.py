"""The ``.env`` beside an organism.yaml."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from phloem.errors import ConfigurationFault

if TYPE_CHECKING:
    import pytest

    from .conftest import Folder

ONE = """
listeners:
  - {name: greeter, payload_class: hello.Greeting, handler: hello.greet}
"""


def test_the_env_file_is_read_before_handlers_are(folder: Folder) -> None:
    folder.write(".env", "PHLOEM_TEST_WORD=there\nPHLOEM_TEST_OTHER=x # note\n")
    folder.write("seeing.py", "import os\nWORD = os.environ['PHLOEM_TEST_WORD']\nasync def h(p, m): ...\n")
    config = folder.load(ONE.replace("hello.greet", "seeing.h"))
    handler = config.listeners[0].handler
    assert handler is not None
    assert handler.__globals__["WORD"] == "there"
    assert os.environ["PHLOEM_TEST_OTHER"] == "x"


def test_the_env_file_never_overrides_the_environment(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHLOEM_TEST_WORD", "ours")
    folder.write(".env", "PHLOEM_TEST_WORD=theirs\n")
    folder.load(ONE)
    assert os.environ["PHLOEM_TEST_WORD"] == "ours"


def test_a_broken_line_of_the_env_file_is_a_fault_without_its_text(folder: Folder) -> None:
    folder.write(".env", "A_PHLOEM_TEST=1\nsecret 'words\n")
    (fault,) = folder.faults(ONE)
    assert fault == ConfigurationFault(".env:2:1", "a line that cannot be read", "NAME=value")
    assert "A_PHLOEM_TEST" not in os.environ


def test_a_nul_in_the_env_file_is_a_fault(folder: Folder) -> None:
    (folder.path / ".env").write_bytes(b"A=1\nB=\0\n")
    assert folder.one(ONE) == (".env:2:1", "a line that cannot be read", "NAME=value")


def test_an_env_file_that_is_not_utf8_is_a_fault(folder: Folder) -> None:
    (folder.path / ".env").write_bytes(b"A=\xff\n")
    assert folder.one(ONE) == (".env", "bytes that are not UTF-8", "a file in UTF-8")


def test_a_folder_called_env_is_no_env_file(folder: Folder) -> None:
    (folder.path / ".env").mkdir()
    assert folder.load(ONE).name == "unnamed"
