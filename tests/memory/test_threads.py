"""Claims of memory/threads.py."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phloem.memory.threads import Thread, ThreadTree


def tree_of(*names: str) -> tuple[ThreadTree, list[Thread]]:
    tree = ThreadTree("c-0", "outside")
    chain = [tree.root]
    for number, name in enumerate(names, 1):
        chain.append(tree.extend(chain[-1], f"c-{number}", name, 1))
    return tree, chain[1:]


def test_a_chain_is_the_names_from_the_sender_down_and_a_dot_means_nothing() -> None:
    _, (_, deep) = tree_of("a.b", "c")
    assert deep.chain == ("outside", "a.b", "c")
    assert deep.depth == 2


def test_pruning_ends_the_thread_and_everything_below_it_parents_first() -> None:
    tree, (a, b, c) = tree_of("a", "b", "c")
    beside = tree.extend(a, "c-9", "beside", 1)
    assert tree.prune(b, 1) == [b, c]
    assert [b.alive, c.alive, a.alive, beside.alive] == [False, False, True, True]
    assert set(tree) == {tree.root, a, beside}
    assert tree.lookup(b.id) is None
    assert tree.lookup(a.id) is a


def test_pruning_twice_ends_nothing_twice() -> None:
    tree, (a, b) = tree_of("a", "b")
    assert tree.prune(a, 1) == [a, b]
    assert tree.prune(a, 1) == []
    assert tree.prune(b, 1) == []


def test_the_root_is_never_pruned() -> None:
    tree, _ = tree_of("a")
    assert tree.root not in tree.prune(tree.root, 1)
    assert tree.root.alive


def test_a_lasting_thread_stays_and_keeps_what_other_turns_opened() -> None:
    tree = ThreadTree("c-0", "outside")
    first = tree.extend(tree.root, "c-1", "a", 1, lasting=True)
    mine = tree.extend(first, "c-2", "b", 1)
    other = tree.extend(first, "c-3", "b", 2)
    assert tree.prune(first, 1) == [mine]
    assert first.alive
    assert other.alive


def test_reaping_forgets_idle_leaves_upwards_and_stops_at_whoever_is_busy() -> None:
    tree, (a, b, c) = tree_of("a", "b", "c")
    a.occupant = object()
    tree.reap(c)
    assert [a.alive, b.alive, c.alive] == [True, False, False]
    a.occupant = None
    tree.reap(a)
    assert list(tree) == [tree.root]


def test_reaping_leaves_a_thread_with_children() -> None:
    tree, (a, b) = tree_of("a", "b")
    tree.reap(a)
    assert a.alive
    assert b.alive


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["extend", "prune", "reap"])), max_size=60))
def test_a_tree_never_holds_a_thread_without_its_parent(steps: list[tuple[int, str]]) -> None:
    tree = ThreadTree("c-0", "outside")
    for number, (pick, step) in enumerate(steps, 1):
        live = list(tree)
        thread = live[pick % len(live)]
        if step == "extend":
            tree.extend(thread, f"c-{number}", "x", 1)
        elif step == "prune":
            tree.prune(thread, 1)
        else:
            tree.reap(thread)
        live = list(tree)
        assert live[0] is tree.root
        for each in live:
            assert each.alive
            assert each.parent is None or each.parent.children[each.id] is each
            assert all(child in live for child in each.children.values())
