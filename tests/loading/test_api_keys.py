"""Keys of providers: which are missing, and what is said of where they were looked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from phloem.config import OrganismConfig
from phloem.errors import ConfigurationError
from phloem.loading import load_config

if TYPE_CHECKING:
    from .conftest import Folder

SECRET = "sk-never-to-be-seen"
NAMES = ("XAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "PHLOEM_TEST_KEY")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def load(folder: Folder, backends: str) -> OrganismConfig:
    return load_config(folder.write("organism.yaml", f"llm:\n  backends:\n{backends}"), keys=True)


def missing(folder: Folder, backends: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, backends)
    assert SECRET not in str(caught.value)
    prefix = f"{folder.path}{os.sep}"
    return [
        (fault.where, fault.found, fault.expected.replace(prefix, "")) for fault in folder.short(caught.value)
    ]


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("xai", "XAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY"), ("openai", "OPENAI_API_KEY")],
)
def test_a_provider_of_ours_needs_the_variable_of_its_name(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, provider: str, variable: str
) -> None:
    found = f"{variable}, which is not set, for the key of {provider}"
    expected = f"{variable} in the environment or in .env (no such file), or optional: true"
    assert missing(folder, f"  - provider: {provider}\n") == [("organism.yaml:3:15", found, expected)]
    monkeypatch.setenv(variable, SECRET)
    assert SECRET not in repr(load(folder, f"  - provider: {provider}\n"))


def test_a_variable_that_is_named_goes_before_it_and_its_place_is_told(folder: Folder) -> None:
    ((where, found, _),) = missing(folder, "  - {provider: xai, api_key_env: PHLOEM_TEST_KEY, name: far}\n")
    assert where == "organism.yaml:3:34"
    assert found == "PHLOEM_TEST_KEY, which is not set, for the key of far"


@pytest.mark.parametrize("provider", ["ollama", "scripted, script: [x]", "'hello:greet'"])
def test_any_backend_that_names_a_variable_needs_it(folder: Folder, provider: str) -> None:
    load(folder, f"  - {{provider: {provider}}}\n")
    ((_, found, _),) = missing(folder, f"  - {{provider: {provider}, api_key_env: PHLOEM_TEST_KEY}}\n")
    assert found.startswith("PHLOEM_TEST_KEY, which is not set")


def test_an_optional_backend_and_a_server_of_ones_own_need_none(folder: Folder) -> None:
    load(folder, "  - {provider: xai, optional: true}\n")
    load(folder, "  - {provider: openai, base_url: 'http://localhost:8000/v1'}\n")
    ((_, found, _),) = missing(folder, "  - {provider: openai, base_url: 'https://API.openai.com:443/v1'}\n")
    assert found.startswith("OPENAI_API_KEY")
    ((_, found, _),) = missing(folder, "  - {provider: xai, base_url: 'http://localhost:8000/v1'}\n")
    assert found.startswith("XAI_API_KEY")


@pytest.mark.parametrize(
    ("written", "state", "of_the_file"),
    [
        ("OTHER=1\n", "not set", "found, without it"),
        ("PHLOEM_TEST_KEY=\n", "set to nothing", "found, and empty there"),
        ("PHLOEM_TEST_KEY='  '\n", "set to nothing", "found, and empty there"),
        ("PHLOEM_TEST_KEY\n", "not set", "found, and empty there"),
    ],
)
def test_it_is_said_what_the_env_file_has(folder: Folder, written: str, state: str, of_the_file: str) -> None:
    folder.write(".env", written)
    ((_, found, expected),) = missing(folder, "  - {provider: xai, api_key_env: PHLOEM_TEST_KEY}\n")
    assert found == f"PHLOEM_TEST_KEY, which is {state}, for the key of xai"
    assert f"in .env ({of_the_file})" in expected
    for name in ("OTHER", "PHLOEM_TEST_KEY"):
        os.environ.pop(name, None)


def test_an_empty_variable_that_hides_the_env_files_is_told_so(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHLOEM_TEST_KEY", "")
    folder.write(".env", f"PHLOEM_TEST_KEY={SECRET}\n")
    ((_, found, expected),) = missing(folder, "  - {provider: xai, api_key_env: PHLOEM_TEST_KEY}\n")
    assert "which is set to nothing" in found
    assert "(found, with it, but the environment goes first and has it empty)" in expected


def test_the_env_file_is_looked_for_beside_the_organism_by_its_whole_path(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("organism.yaml", "llm: {backends: [{provider: xai}]}\n")
    monkeypatch.chdir(folder.path)
    with pytest.raises(ConfigurationError) as caught:
        load_config("organism.yaml", keys=True)
    assert str(folder.path / ".env") in caught.value.faults[0].expected


def test_a_key_in_the_env_file_will_do(folder: Folder) -> None:
    folder.write(".env", f"PHLOEM_TEST_KEY={SECRET}\n")
    config = load(folder, "  - {provider: xai, api_key_env: PHLOEM_TEST_KEY}\n")
    assert SECRET not in repr(config)
    del os.environ["PHLOEM_TEST_KEY"]


def test_who_does_not_ask_for_keys_is_not_asked_for_them(folder: Folder) -> None:
    folder.load("llm: {backends: [{provider: xai}]}\n")


def test_all_that_are_missing_come_at_once_beside_other_faults(folder: Folder) -> None:
    faults = missing(
        folder,
        "  - {provider: xai}\n  - {provider: openai, api_key_env: 'sk-never-to-be-seen'}\n"
        "  - {provider: anthropic}\n  - {provider: ollama, timeout: 0}\n",
    )
    assert [found.partition(",")[0] for _, found, _ in faults] == [
        "XAI_API_KEY",
        "something that cannot name a variable as api_key_env",
        "ANTHROPIC_API_KEY",
        "0.0 as timeout",
    ]


def test_nothing_is_said_of_keys_while_the_env_file_cannot_be_read(folder: Folder) -> None:
    folder.write(".env", f"PHLOEM_TEST_KEY={SECRET}\n'broken\n")
    assert [where for where, _, _ in missing(folder, "  - {provider: xai}\n")] == [".env:2:1"]
