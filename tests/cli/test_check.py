"""``phloem check`` finds what else only ``phloem run`` would: the rest of it is in test_commands."""

from __future__ import annotations

from typing import Any


def test_check_tells_a_branch_of_dead_letters_to_one_who_takes_none(phloem: Any) -> None:
    listener = "listeners: [{name: a, payload_class: handlers.Say, handler: handlers.echo}]\n"
    edit = "pipeline:\n  - {after: dispatch, branch: {predicate: os.path.exists, to: a}}\n"
    (phloem.folder / "organism.yaml").write_text(edit + listener)
    done = phloem("check", "--quiet", "organism.yaml")
    assert done.code == 2
    assert "found 'a', which takes no DeadLetter" in done.err


def test_check_tells_every_source_that_run_could_not_read(phloem: Any) -> None:
    (phloem.folder / "pair.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Pair:\n    left: str\n    right: str\n"
    )
    (phloem.folder / "organism.yaml").write_text(
        """
        sources:
          - {name: feed, path: x.txt, framing: lines, to: two}
          - {name: good, path: x.txt, framing: lines, to: one}
          - {name: more, path: x.txt, framing: lines, to: two}
        listeners:
          - {name: one, payload_class: handlers.Say, handler: handlers.echo}
          - {name: two, payload_class: pair.Pair, handler: handlers.echo}
        """
    )
    done = phloem("check", "organism.yaml")
    assert done.code == 2
    assert done.err.count("found 'two', which takes Pair, expected a listener with one payload class") == 2
    assert "source feed, to: " in done.err
    assert "source more, to: " in done.err
