"""``phloem schema`` as it is typed."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

ORGANISM = """\
organism: {name: shop, port: 99}
listeners:
  - name: Clerk
    description: Sells things.
    agent: true
    prompt: |
      You are polite.
      Always.
    payload_class: shop.Order
    handler: shop.never
    peers: [stock, system.todo, wall]
  - name: stock
    description: Knows what is there.
    payload_class: [shop.Reserve, shop.Order]
    handler: shop.never
    responds_with: shop.Reserved
  - {name: mute, agent: true, payload_class: shop.Order, handler: shop.never}
  - {name: wall, description: Shows it., payload_class: shop.Order, handler: shop.never, broadcast: true}
  - {name: WALL, description: Keeps it., payload_class: more.Order, handler: shop.never, broadcast: true}
  - {name: choir, agent: true, prompt: High., payload_class: shop.Order, handler: shop.never, broadcast: true}
  - {name: choir, agent: true, prompt: Low., payload_class: shop.Order, handler: shop.never, broadcast: true}
"""

SHOP = '''\
from dataclasses import dataclass
from typing import Annotated

from phloem import Doc

print("printed at import")


@dataclass
class Order:
    """Something to sell."""

    item: Annotated[str, Doc("what is bought")]
    remark: str = "first line\\nsecond line"


@dataclass
class Reserve:
    item: str


@dataclass
class Reserved:
    until: int


async def never(payload, metadata):
    raise SystemExit("a handler ran")
'''

MORE = """\
from dataclasses import dataclass


@dataclass
class Order:
    number: int
"""


@pytest.fixture
def shop(phloem: Any) -> Any:
    (phloem.folder / "organism.yaml").write_text(ORGANISM)
    (phloem.folder / "shop.py").write_text(SHOP)
    (phloem.folder / "more.py").write_text(MORE)

    def schema(*arguments: str, **more: str) -> Any:
        return phloem("schema", "organism.yaml", *arguments, **more)

    schema.phloem = phloem  # type: ignore[attr-defined]
    return schema


def out(done: Any) -> str:
    assert done.code == 0, done.err
    text: str = done.out
    return text


def refused(done: Any) -> str:
    assert (done.code, done.out) == (2, "")
    first: str = done.err.removeprefix("printed at import\n")
    return "\n".join(line for line in first.splitlines() if not line.startswith("phloem: port"))


# -- what others are told ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stock", "STOCK"])
def test_schema_shows_each_payload_s_card_an_example_and_the_answer(shop: Any, name: str) -> None:
    text = out(shop(name))
    assert text.startswith("# stock: Knows what is there.\nTakes Reserve\n- Item (required): text\n")
    assert "\nTakes Order: Something to sell.\n" in text
    assert text.count("\nExample: <") == 2
    assert text.endswith("\nAnswers with Reserved (Until).\n")


@pytest.mark.parametrize("name", ["stock", "system.todo", "wall"])
def test_what_is_shown_is_what_an_agent_is_told_of_that_peer(shop: Any, name: str) -> None:
    assert f"\n\n{out(shop(name))}\n" in out(shop("clerk", "--prompt"))


@pytest.mark.parametrize(
    ("name", "tag"),
    [("system.todo", "TodoUntil"), ("System.Todo-Complete", "TodoComplete"), ("system.boot", "Boot")],
)
def test_the_listeners_that_phloem_brings_can_be_shown(shop: Any, name: str, tag: str) -> None:
    assert f"\nTakes {tag}" in out(shop(name))
    assert f'name="{tag}"' in out(shop(name, "--xsd"))


def test_where_agents_are_told_the_xsd_it_is_shown(shop: Any) -> None:
    assert "xs:schema" not in out(shop("stock"))
    file = shop.phloem.folder / "organism.yaml"
    file.write_text(f"usage: xsd\n{ORGANISM}")
    assert out(shop("stock")).count("<xs:schema") == 2


def test_twins_are_shown_as_one_and_each_of_them_by_its_number(shop: Any) -> None:
    text = out(shop("wall"))
    assert text.startswith("# wall: Shows it. Keeps it.\n")
    assert ("- Remark" in text, "- Number" in text) == (True, True)
    assert "- Remark" not in out(shop("wall#2"))


def test_an_unknown_listener_is_told_the_known_ones(shop: Any) -> None:
    text = refused(shop("stok"))
    assert "no listener 'stok'; did you mean 'stock'? There are Clerk, stock, mute, wall, choir," in text
    assert "did you mean" not in refused(shop("x" * 300))


# -- XSD -----------------------------------------------------------------------------------


def test_an_xsd_in_a_file_validates_the_example(shop: Any) -> None:
    for name in ("clerk", "system.todo"):
        schema = etree.XMLSchema(etree.fromstring(out(shop(name, "--xsd")).encode()))
        [example] = out(shop(name, "--example")).splitlines()
        assert schema.validate(etree.fromstring(example))


def test_of_several_classes_one_is_to_be_named(shop: Any) -> None:
    text = refused(shop("stock", "--xsd"))
    assert "'stock' takes several classes; give --type with one of Reserve, Order" in text
    for kind in ("reserve", "Reserve", "shop.Reserve"):
        assert '<xs:element name="Reserve"' in out(shop("stock", "--xsd", "--type", kind))
    assert '<xs:element name="Order"' in out(shop("stock", "--xsd", PHLOEM_SCHEMA_TYPE="order"))
    text = refused(shop("stock", "--xsd", "--type", "Reserved"))
    assert "--type 'Reserved': 'stock' does not take it, but Reserve, Order" in text


def test_classes_of_one_name_are_told_apart_by_their_modules(shop: Any) -> None:
    assert "one of shop.Order, more.Order" in refused(shop("wall", "--xsd"))
    text = refused(shop("wall", "--xsd", "--type", "order"))
    assert "--type 'order' means several classes; give one of shop.Order, more.Order" in text
    assert 'name="Number"' in out(shop("wall", "--xsd", "--type", "more.Order"))


# -- examples ------------------------------------------------------------------------------


def test_examples_are_one_message_a_line(shop: Any) -> None:
    lines = out(shop("stock", "--example")).splitlines()
    assert [etree.fromstring(line).tag for line in lines] == ["Reserve", "Order"]
    assert len(out(shop("wall", "--example")).splitlines()) == 2


def test_an_example_can_be_sent_as_it_is(phloem: Any) -> None:
    example = out(phloem("schema", "organism.yaml", "many", "--example", "--type", "Count"))
    assert phloem("send", "organism.yaml", "echo", "-", input=example).states == ["rejected"]
    assert phloem("send", "organism.yaml", "many", "-", input=example).states == ["completed"]


def test_a_line_feed_in_an_example_is_a_reference(shop: Any) -> None:
    from phloem.cli.schema import _in_one_line

    text = "<A><B>one\ntwo\u2028three</B></A>"
    assert _in_one_line(text) == "<A><B>one&#10;two&#8232;three</B></A>"
    assert etree.fromstring(_in_one_line(text)).findtext("B") == "one\ntwo\u2028three"


def test_a_class_that_has_no_example_says_so(shop: Any) -> None:
    (shop.phloem.folder / "more.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n"
        "@dataclass\nclass Order:\n    inner: Order\n"
    )
    file = shop.phloem.folder / "organism.yaml"
    file.write_text(
        "listeners: [{name: a, payload_class: more.Order, handler: shop.never, agent: true, prompt: x}]"
    )
    assert "Order" in refused(shop("a", "--example"))
    assert "xs:schema" in out(shop("a", "--xsd"))


# -- prompts -------------------------------------------------------------------------------


def test_a_prompt_is_the_agent_s_own_and_then_what_is_said_of_its_peers(shop: Any) -> None:
    text = out(shop("clerk", "--prompt"))
    assert text.startswith("You are polite.\nAlways.\n\nYou are Clerk: Sells things.\n")
    assert "\n# stock: Knows what is there.\n" in text
    assert "Something to sell." in text
    assert text.endswith(".\n")


def test_the_prompt_is_what_the_handler_of_that_agent_is_given(shop: Any) -> None:
    from phloem.loading import importable, load_config
    from phloem.loading.running import running_listeners
    from phloem.primitives import BOOT_LISTENER, SERVICE_LISTENERS

    folder = shop.phloem.folder
    with importable(folder):
        config = load_config(folder / "organism.yaml")
    clerk = running_listeners(config, (BOOT_LISTENER,), SERVICE_LISTENERS)[0]
    assert out(shop("clerk", "--prompt")) == f"{clerk.prompt}\n{clerk.usage_instructions}"


def test_an_agent_without_a_prompt_is_told_of_its_peers_only(shop: Any) -> None:
    assert out(shop("mute", "--prompt")).startswith("You are mute.\n")


@pytest.mark.parametrize("name", ["stock", "system.todo", "wall"])
def test_who_is_no_agent_has_no_prompt(shop: Any, name: str) -> None:
    assert f"--prompt: '{name}' is no agent (agent: true)" in refused(shop(name, "--prompt"))


def test_agents_of_one_name_are_told_one_by_one(shop: Any) -> None:
    first = shop("choir", "--prompt")
    assert out(first).startswith("High.\n\n")
    assert "this is what 'choir' is told; its broadcast twins: choir#2" in first.err
    second = shop("Choir#2", "--prompt")
    assert out(second).startswith("Low.\n\n")
    assert "twins" not in second.err


# -- the command ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--xsd", "--example"), "--xsd and --example exclude each other"),
        (("--prompt", "--xsd"), "--xsd and --prompt exclude each other"),
        (("--xsd", "--example", "--prompt"), "--xsd and --example and --prompt exclude each other"),
        (("--type", "Order"), "--type needs --xsd or --example"),
        (("--prompt", "--type", "Order"), "--type needs --xsd or --example"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(shop: Any, flags: tuple[str, ...], told: str) -> None:
    done = shop("clerk", *flags)
    assert told in refused(done)
    assert "printed" not in done.err  # before anything is imported


def test_stdout_carries_the_result_only(shop: Any) -> None:
    done = shop("clerk", "--xsd")
    assert done.out.startswith("<xs:schema")
    assert "printed at import\n" in done.err
    assert "port: checked and kept, not used" in done.err
    assert "port:" not in shop("clerk", "--xsd", "--quiet").err


def test_a_faulty_organism_tells_its_faults(shop: Any) -> None:
    file = shop.phloem.folder / "organism.yaml"
    file.write_text(ORGANISM.replace("shop.Reserved", "shop.Reservd"))
    assert "organism.yaml:" in refused(shop("clerk"))
