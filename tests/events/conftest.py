"""A journal's path, and a disk that does what a test tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from phloem.events import journal_files
from support.disks import Disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.ndjson"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(journal_files, "os", disk)
    return disk
