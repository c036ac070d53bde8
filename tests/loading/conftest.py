"""A folder with an organism.yaml in it, and the faults a load of it has."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import final

import pytest

from phloem.config import OrganismConfig
from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.loading import load_config

HANDLERS = """
from dataclasses import dataclass

@dataclass
class Greeting:
    name: str

@dataclass
class Reply:
    text: str

async def greet(payload, metadata):
    return None

async def shout(payload, metadata):
    return None
"""


@final
@dataclass(frozen=True, slots=True)
class Folder:
    """A folder to load from. Faults are told with its path cut off: ``organism.yaml:3:5``."""

    path: Path

    def write(self, name: str, text: str) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
        return file

    def load(self, text: str) -> OrganismConfig:
        return load_config(self.write("organism.yaml", text))

    def faults(self, text: str) -> list[ConfigurationFault]:
        with pytest.raises(ConfigurationError) as caught:
            self.load(text)
        return self.short(caught.value)

    def short(self, error: ConfigurationError) -> list[ConfigurationFault]:
        prefix = f"{self.path}{os.sep}"
        return [
            ConfigurationFault(
                fault.where.replace(prefix, ""), fault.found.replace(prefix, ""), fault.expected
            )
            for fault in error.faults
        ]

    def one(self, text: str) -> tuple[str, str, str]:
        (fault,) = self.faults(text)
        return fault.where, fault.found, fault.expected

    def places(self, text: str) -> list[tuple[str, str]]:
        return [(fault.where.removeprefix("organism.yaml:"), fault.found) for fault in self.faults(text)]


@pytest.fixture
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Folder]]:
    """Makes folders with a ``hello`` module in each; what their loads imported is gone afterwards."""
    modules, path, environment = dict(sys.modules), list(sys.path), dict(os.environ)

    def make() -> Folder:
        folder = Folder(tmp_path_factory.mktemp("organism").resolve())
        folder.write("hello.py", HANDLERS)
        return folder

    yield make
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]
    sys.modules.update(modules)
    sys.path[:] = path
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]


@pytest.fixture
def folder(new_folder: Callable[[], Folder]) -> Folder:
    return new_folder()
