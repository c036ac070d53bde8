"""load_config, resolve and unbuilt: what is read at all, and what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from phloem.config import PORT, Budgets, ListenerConfig, MemoryLimits, OrganismConfig, WireLimits
from phloem.errors import ConfigurationError, ConfigurationFault
from phloem.loading import load_config, resolve, unbuilt
from phloem.loading.keys import MEMORY
from support.listeners import Ping, drop

if TYPE_CHECKING:
    from .conftest import Folder

REFERENCE = """
organism:
  name: hello-world
  port: 8765

max_concurrent_pipelines: 50
max_concurrent_handlers: 20
max_concurrent_per_agent: 5
thread_scheduling: breadth-first

llm:
  strategy: failover
  retries: 3
  retry_base_delay: 1.0
  retry_max_delay: 60.0
  backends:
    - provider: xai
      api_key_env: XAI_API_KEY
      priority: 1
      rate_limit_tpm: 100000
      max_concurrent: 20

listeners:
  - name: greeter
    payload_class: handlers.hello.Greeting
    handler: handlers.hello.handle_greeting
    description: Greets people, with enthusiasm
    agent: true
    peers: [shouter]
    prompt: |
      You greet people.
      Keep it short.
  - name: shouter
    payload_class: handlers.hello.GreetingResponse
    handler: handlers.hello.handle_shout
    description: Shouts
  - name: response-handler
    payload_class: handlers.hello.ShoutedResponse
    handler: handlers.hello.handle_response
    description: Prints
"""
REFERENCE_HANDLERS = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Greeting:
    name: str

@dataclass
class GreetingResponse:
    message: str
    original_sender: str

@dataclass
class ShoutedResponse:
    message: str

async def handle_greeting(payload: Greeting, metadata) -> None: ...
async def handle_shout(payload: GreetingResponse, metadata) -> None: ...
async def handle_response(payload: ShoutedResponse, metadata) -> None: ...
"""
ONE = """
listeners:
  - {name: greeter, payload_class: hello.Greeting, handler: hello.greet}
"""


def test_the_organism_of_the_reference_loads_as_it_is(folder: Folder) -> None:
    folder.write("handlers/hello.py", REFERENCE_HANDLERS)
    config = folder.load(REFERENCE)
    assert (config.name, config.port, config.thread_scheduling) == ("hello-world", 8765, "breadth-first")
    assert (
        config.max_concurrent_pipelines,
        config.max_concurrent_handlers,
        config.max_concurrent_per_agent,
    ) == (50, 20, 5)
    assert config.llm_config == {
        "strategy": "failover",
        "retries": 3,
        "retry_base_delay": 1.0,
        "retry_max_delay": 60.0,
        "backends": [
            {
                "provider": "xai",
                "api_key_env": "XAI_API_KEY",
                "priority": 1,
                "rate_limit_tpm": 100000,
                "max_concurrent": 20,
            }
        ],
    }
    greeter, shouter, _ = config.listeners
    assert (greeter.name, greeter.is_agent, greeter.peers) == ("greeter", True, ("shouter",))
    assert greeter.prompt == "You greet people.\nKeep it short.\n"
    assert isinstance(greeter.payload_class, tuple)
    assert [cls.__qualname__ for cls in greeter.payload_class] == ["Greeting"]
    assert greeter.handler is not None
    assert greeter.handler.__name__ == "handle_greeting"
    assert (shouter.is_agent, shouter.peers, shouter.broadcast, shouter.prompt) == (False, None, False, "")


def test_our_own_keys_become_attributes(folder: Folder) -> None:
    config = folder.load(
        """
        max_in_flight: 7
        max_attempts: 2
        handler_timeout: none
        shutdown_grace: 2.5
        keep_outcomes: 1_000
        budgets: {messages: 9, hops: 8, depth: 7, seconds: none}
        limits: {max_bytes: 100, max_model_bytes: 200, max_depth: 12}
        memory:
          max_slots_per_thread: 1
          max_slots_per_conversation: 2
          max_bytes_per_conversation: 3
          max_threads: 4
          max_todos: 0
          on_full: refuse
          keep_finished: 6
        usage: xsd
        allow_unknown_peers: on
        listeners:
          - name: greeter
            payload_class: [hello.Greeting, "hello:Reply"]
            handler: hello.greet
            responds_with: hello.Reply
            max_concurrent: 3
            retries: 4
            retry_base_delay: 0.5
            retry_max_delay: 8
            handler_timeout: 1e1
            budgets: {messages: 5, seconds: 60}
            peers: []
            broadcast: yes
        """
    )
    assert (config.max_in_flight, config.max_attempts, config.keep_outcomes) == (7, 2, 1000)
    assert (config.handler_timeout, config.shutdown_grace) == (math.inf, 2.5)
    assert config.budgets == Budgets(messages=9, hops=8, depth=7, seconds=math.inf)
    assert config.wire == WireLimits(max_bytes=100, max_model_bytes=200, max_depth=12)
    assert config.memory == MemoryLimits(
        max_slots_per_thread=1,
        max_slots_per_conversation=2,
        max_bytes_per_conversation=3,
        max_threads=4,
        max_todos=0,
        on_full="refuse",
        keep_finished=6,
    )
    assert (config.usage, config.allow_unknown_peers) == ("xsd", True)
    (greeter,) = config.listeners
    assert isinstance(greeter.payload_class, tuple)
    assert isinstance(greeter.responds_with, tuple)
    assert [cls.__name__ for cls in greeter.payload_class] == ["Greeting", "Reply"]
    assert greeter.responds_with == (greeter.payload_class[1],)
    assert (greeter.max_concurrent, greeter.retries) == (3, 4)
    assert (greeter.retry_base_delay, greeter.retry_max_delay, greeter.handler_timeout) == (0.5, 8.0, 10.0)
    assert greeter.budgets == Budgets(messages=5, seconds=60.0)
    assert (greeter.peers, greeter.broadcast) == ((), True)


def test_a_file_without_a_name_is_unnamed(folder: Folder) -> None:
    assert folder.load(ONE).name == "unnamed"


def test_what_a_file_leaves_out_is_what_python_leaves_out(folder: Folder) -> None:
    config = folder.load(ONE)
    default = OrganismConfig()
    assert (config.budgets, config.wire, config.llm_config) == (default.budgets, default.wire, {})
    assert (config.max_in_flight, config.handler_timeout) == (default.max_in_flight, default.handler_timeout)
    assert (config.memory, config.usage) == (default.memory, "cards")
    assert (config.allow_unknown_peers, config.listeners[0].usage) == (False, None)


def test_a_part_of_a_section_leaves_the_rest_at_its_defaults(folder: Folder) -> None:
    assert folder.load("memory: {max_todos: 3}\n").memory == MemoryLimits(max_todos=3)
    assert folder.load("memory: {}\n").memory == MemoryLimits()


def test_every_limit_of_the_memory_has_a_key() -> None:
    assert [row.field for row in MEMORY.values()] == [field.name for field in fields(MemoryLimits)]
    assert list(MEMORY) == [row.field for row in MEMORY.values()]


def test_peers_left_out_differ_from_no_peers(folder: Folder) -> None:
    config = folder.load(
        """
        listeners:
          - {name: a, payload_class: hello.Greeting, handler: hello.greet}
          - {name: b, payload_class: hello.Greeting, handler: hello.greet, peers: []}
          - {name: c, payload_class: hello.Greeting, handler: hello.greet, agent: true}
        """
    )
    assert [listener.peers for listener in config.listeners] == [None, (), None]


def test_all_faults_of_a_file_come_at_once_from_top_to_bottom(folder: Folder) -> None:
    faults = folder.places(
        """
        organism: {nmae: x, port: 99999}
        max_in_flight: 0
        listeners:
          - name: greeter
            payload_class: hello.Greting
            handler: hello.greet
            peers: [shoutr]
          - name: shouter
            handler: helo.shout
        """
    )
    assert faults == [
        ("1:12", "the unknown key 'nmae'"),
        ("1:27", "99999 as port"),
        ("2:16", "0 as max_in_flight"),
        ("5:20", "no 'Greting' in module 'hello'"),
        ("7:13", "the unknown peer 'shoutr'"),
        ("8:5", "no payload_class"),
        ("9:14", "no module 'helo'"),
    ]


def test_listeners_beside_the_file_are_checked_with_it(folder: Folder) -> None:
    file = folder.write("organism.yaml", ONE.replace("hello.greet}", "hello.greet, peers: [pinger]}"))
    config = load_config(file, listeners=[ListenerConfig("pinger", Ping, drop)])
    assert [listener.name for listener in config.listeners] == ["greeter", "pinger"]
    with pytest.raises(ConfigurationError) as caught:
        load_config(file, listeners=[ListenerConfig("Greeter", Ping, drop)])
    assert [fault.where for fault in folder.short(caught.value)] == [
        "organism.yaml:2:82",
        "listener 'Greeter'",
    ]


def test_a_place_begins_with_the_path_as_it_was_given(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("organism.yaml", "x: 1\n")
    monkeypatch.chdir(folder.path)
    with pytest.raises(ConfigurationError, match=r"^organism\.yaml:1:1: found the unknown key 'x', expected"):
        load_config("organism.yaml")


# -- files that are none ------------------------------------------------------------------


def test_a_missing_file_is_a_fault_that_names_a_near_one(folder: Folder) -> None:
    folder.write("organism.yaml", ONE)
    with pytest.raises(ConfigurationError) as caught:
        load_config(folder.path / "organisms.yaml")
    expected = "an organism.yaml; did you mean 'organism.yaml'?"
    assert folder.short(caught.value) == [ConfigurationFault("organisms.yaml", "no such file", expected)]


def test_a_folder_is_a_fault(folder: Folder) -> None:
    with pytest.raises(ConfigurationError, match="found a folder, expected a file"):
        load_config(folder.path)


def test_a_path_no_system_takes_is_a_fault() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read \(embedded null byte\)"):
        load_config("organism\0.yaml")


def test_a_byte_that_is_not_utf8_is_told_by_line_and_column(folder: Folder) -> None:
    (folder.path / "organism.yaml").write_bytes("organism:\n  name: gr\u00fcn ".encode() + b"\xfcber\n")
    with pytest.raises(ConfigurationError) as caught:
        load_config(folder.path / "organism.yaml")
    (fault,) = folder.short(caught.value)
    assert fault.where == "organism.yaml:2:14"
    assert fault.found == "the byte 0xFC, which is not UTF-8"


def test_utf16_is_a_fault(folder: Folder) -> None:
    (folder.path / "organism.yaml").write_bytes(ONE.encode("utf-16"))
    with pytest.raises(ConfigurationError, match=r":1:1: found the byte 0xFF, which is not UTF-8"):
        load_config(folder.path / "organism.yaml")


def test_a_byte_order_mark_moves_no_column(folder: Folder) -> None:
    (folder.path / "organism.yaml").write_bytes(b"\xef\xbb\xbfxy: 1\n")
    with pytest.raises(ConfigurationError, match=r":1:1: found the unknown key 'xy'"):
        load_config(folder.path / "organism.yaml")


def test_a_file_past_a_mebibyte_is_refused_unread(folder: Folder) -> None:
    (folder.path / "organism.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigurationError, match="more than 1048576 bytes"):
        load_config(folder.path / "organism.yaml")


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n"])
def test_an_empty_file_is_a_fault(folder: Folder, text: str) -> None:
    assert folder.places(text) == [("1:1", "an empty file")]


@pytest.mark.parametrize(
    ("text", "found"), [("- a\n", "a list"), ("hello\n", "the text 'hello'"), ("7", "the number 7")]
)
def test_a_file_that_is_no_mapping_is_a_fault(folder: Folder, text: str, found: str) -> None:
    assert folder.places(text) == [("1:1", f"{found} as organism")]


# -- configurations from Python -----------------------------------------------------------


def test_resolving_makes_tuples_of_classes_and_is_idempotent() -> None:
    config = OrganismConfig("x", [ListenerConfig("ping", Ping, drop, peers=["ping"], responds_with=[Ping])])
    resolved = resolve(config)
    (listener,) = resolved.listeners
    assert (listener.payload_class, listener.responds_with) == ((Ping,), (Ping,))
    assert (listener.handler, listener.peers) == (drop, ("ping",))
    assert resolve(resolved) == resolved


def test_import_paths_from_python_are_resolved_and_stay_resolved() -> None:
    config = OrganismConfig(
        listeners=[
            ListenerConfig(
                "x", payload_class_path=["phloem.messages.Huh"], handler_path="trio.sleep_until_nobody"
            )
        ]
    )
    with pytest.raises(ConfigurationError, match=r"^listener 'x': found no 'sleep_until_nobody' in module"):
        resolve(config)


def test_a_resolved_file_stays_as_it_is_when_resolved_again(folder: Folder) -> None:
    config = folder.load(ONE)
    assert resolve(config) == config


def test_what_is_no_configuration_is_a_fault() -> None:
    with pytest.raises(ConfigurationError, match="organism: found a str, expected an OrganismConfig"):
        resolve("organism.yaml")  # type: ignore[arg-type]


# -- parts that are not built yet ---------------------------------------------------------


def test_each_unbuilt_part_that_a_file_names_gets_its_sentence(folder: Folder) -> None:
    config = folder.load(f"organism: {{port: {PORT}, identity: key.pem}}\nllm: {{strategy: failover}}\n")
    identity, port = unbuilt(config)
    assert identity.startswith("identity: ")
    assert port.startswith("port: ")
    assert "phloem[server]" in port


def test_a_file_that_names_no_unbuilt_part_gets_no_sentence(folder: Folder) -> None:
    assert unbuilt(folder.load(ONE)) == ()


def test_python_names_unbuilt_parts_by_giving_them() -> None:
    config = OrganismConfig(port=9000, llm_config={"strategy": "failover"}, identity_path="key.pem")
    assert [sentence.partition(":")[0] for sentence in unbuilt(config)] == ["identity", "port"]


def test_two_folders_are_kept_apart_by_their_env_and_path(new_folder: Callable[[], Folder]) -> None:
    first, second = new_folder(), new_folder()
    configs = [where.load(ONE) for where in (first, second, first)]
    files = [Path(config.listeners[0].handler.__code__.co_filename).parent for config in configs]  # type: ignore[union-attr]
    assert files == [first.path, second.path, first.path]
