"""Call chains: open, extend, respond, prune.

Decides which thread stands under which, and what goes when one ends. A thread is a node
in a tree whose root is the sender's; chains are tuples of names, so a dot in a name means
nothing. Never looks at payloads, clocks or queues, and draws no ids: its caller, the pump,
gives them. One tree belongs to one conversation; no two trees share a node.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

__all__ = ["Census", "Gathering", "Thread", "ThreadTree"]


@final
class Census:
    """How many threads live, over all conversations of one organism, and how many may.

    The bound is for who comes in: a conversation that has begun goes on. ``thinned`` is called
    whenever there is room again, while somebody waits for it.
    """

    __slots__ = ("live", "most", "thinned")

    def __init__(self, most: int) -> None:
        self.live, self.most = 0, most
        self.thinned: Callable[[], None] | None = None

    @property
    def full(self) -> bool:
        """No further stranger may come in."""
        return self.live >= self.most

    def left(self, count: int) -> None:
        """So many threads have ended."""
        self.live -= count
        if self.thinned is not None and not self.full:
            self.thinned()


@final
class Gathering:
    """What is in flight below one thread whose listener hears all answers at once.

    ``up``: the next such thread above it, below which the same is in flight.
    """

    __slots__ = ("below", "thread", "up")

    def __init__(self, thread: Thread, up: Gathering | None) -> None:
        self.thread, self.up = thread, up
        self.below = 0

    def entered(self) -> None:
        """One more message is in flight below."""
        here: Gathering | None = self
        while here is not None:
            here.below += 1
            here = here.up

    def left(self) -> list[Thread]:
        """One of them has ended: the threads, lowest first, below which nothing is in flight any more."""
        idle: list[Thread] = []
        here: Gathering | None = self
        while here is not None:
            here.below -= 1
            if not here.below:
                idle.append(here.thread)
            here = here.up
        return idle


@final
class Thread:
    """One node: who works here, for whom, and (for the run queue) who is on it and who waits.

    ``occupant`` is the delivery that is ready or running here, ``line`` those that came
    meanwhile; the pump alone writes them. ``tried`` is what came of attempts in a row that sent
    something that was refused, for each turn. ``lasting`` threads outlive a respond (a conversation that
    takes several turns keeps the first listener's thread). ``slots`` is what it remembers,
    ``todos`` how many watchers belong to it; ``context`` and ``todos`` alone write those. On an
    ``unasked`` one phloem itself has begun: nobody waits for what is responded there. ``gathering``
    is there if its listener hears all answers at once, ``above`` the nearest such above it; it is
    ``held`` while it has an answer and waits for the others. ``call`` is what an agent calls by it.
    """

    __slots__ = (
        "above",
        "alive",
        "call",
        "children",
        "depth",
        "gathering",
        "held",
        "id",
        "lasting",
        "line",
        "listener",
        "occupant",
        "parent",
        "slots",
        "todos",
        "tried",
        "turn",
        "unasked",
    )

    def __init__(self, id: str, listener: str, parent: Thread | None, turn: int, *, lasting: bool) -> None:
        self.id, self.listener, self.parent, self.turn, self.lasting = id, listener, parent, turn, lasting
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.children: dict[str, Thread] = {}
        self.alive = True
        self.occupant: Any = None
        self.line: OrderedDict[Any, None] | None = None
        self.slots: Any = None
        self.todos = 0
        self.unasked = False
        self.above: Gathering | None = None if parent is None else parent.gathering or parent.above
        self.gathering: Gathering | None = None
        self.held = False
        self.call: Any = None
        self.tried: Any = None

    @property
    def chain(self) -> tuple[str, ...]:
        """The names from the root's sender down to this thread's listener."""
        names: list[str] = []
        thread: Thread | None = self
        while thread is not None:
            names.append(thread.listener)
            thread = thread.parent
        return tuple(reversed(names))

    def __repr__(self) -> str:
        return f"<Thread {' > '.join(self.chain)}>"


@final
class ThreadTree:
    """The live threads of one conversation. ``root`` is the sender's and lives as long as the tree."""

    __slots__ = ("_census", "_threads", "call_ended", "root")

    def __init__(self, root_id: str, sender: str, census: Census) -> None:
        self.root = Thread(root_id, sender, None, 0, lasting=True)
        self._threads: dict[str, Thread] = {root_id: self.root}
        self._census = census
        self.call_ended: Callable[[Thread], None] | None = None  # told of each that ends and was a ``call``
        census.live += 1

    def __len__(self) -> int:
        return len(self._threads)

    def __iter__(self) -> Iterator[Thread]:
        return iter(self._threads.values())

    def lookup(self, id: object) -> Thread | None:
        """The live thread of that id, or None; also for what is no id at all."""
        return self._threads.get(id) if isinstance(id, str) else None

    def extend(self, parent: Thread, id: str, listener: str, turn: int, *, lasting: bool = False) -> Thread:
        """A new thread under ``parent``, for what ``parent`` asks of ``listener``."""
        thread = Thread(id, listener, parent, turn, lasting=lasting)
        parent.children[id] = thread
        self._threads[id] = thread
        self._census.live += 1
        return thread

    def prune(self, thread: Thread, turn: int) -> list[Thread]:
        """End ``thread`` and everything below it; what ended, parents before children.

        A lasting thread itself stays, and so does what other turns opened below it.
        """
        return [gone for top in self._tops(thread, turn) for gone in self._cut_off(top)]

    def ending(self, thread: Thread, turn: int) -> list[Thread]:
        """What ``prune`` would end."""
        return [each for top in self._tops(thread, turn) for each in _subtree(top)]

    def reap(self, thread: Thread) -> Sequence[Thread]:
        """Forget idle leaves from ``thread`` upwards: no answer can ever reach them again. What went.

        One that still has todos stays: its issuer is nudged wherever it is dispatched next.
        """
        gone: Sequence[Thread] = ()
        while (
            not thread.children
            and thread.occupant is None
            and not thread.lasting
            and not thread.todos
            and thread.alive
            and (parent := thread.parent) is not None
        ):
            self._forget(thread, parent)
            gone = (*gone, thread)
            thread = parent
        return gone

    def end(self) -> None:
        """The conversation is over: none of its threads counts any more."""
        self._census.left(len(self._threads))
        for thread in self._threads.values() if self.call_ended is not None else ():
            self._tell(thread)

    def _tops(self, thread: Thread, turn: int) -> list[Thread]:
        if thread.lasting:
            return [child for child in thread.children.values() if child.turn == turn]
        return [thread]

    def _cut_off(self, top: Thread) -> list[Thread]:
        parent = top.parent
        if not top.alive or parent is None:
            return []
        gone = _subtree(top)
        self._forget(top, parent)
        for thread in gone[1:]:
            thread.alive = False
            del self._threads[thread.id]
            self._tell(thread)
        self._census.left(len(gone) - 1)
        return gone

    def _forget(self, thread: Thread, parent: Thread) -> None:
        thread.alive = False
        del parent.children[thread.id]
        del self._threads[thread.id]
        self._tell(thread)
        self._census.left(1)

    def _tell(self, thread: Thread) -> None:
        if thread.call is not None and self.call_ended is not None:
            self.call_ended(thread)


def _subtree(top: Thread) -> list[Thread]:
    """Parents before children."""
    found = [top]
    for thread in found:  # grows while it is read: breadth first, no recursion
        found.extend(thread.children.values())
    return found
