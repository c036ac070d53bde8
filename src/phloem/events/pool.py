"""The workers that run subscribers' handlers: who runs, and how many at once.

Decides which mailbox is served next (first come, first served, each as far as it was filled), that
at most ``most`` handlers run at once, and who of them counts: one that waits inside the bus
gives its place back, and one that the watchdog has named is no longer counted. Owns no nursery:
``opening`` does, and hands in what starts a task.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from logging import ERROR
from typing import Any, Final, final

import trio

from phloem.errors import InternalError
from phloem.guarding import Raised, guarded, uninterrupted

from .mailbox import Mailbox, Tracked, complain
from .tasks import Worker
from .watchdog import Watchdog

__all__ = ["Pool"]

VISIT: Final = 1_024  # events in one go at most: 2 ms of quick handlers; a checkpoint between two visits
SHARE: Final = 0.002  # seconds, likewise, of slower ones while another mailbox waits for a place


@final
class Pool:
    """The workers of one bus."""

    def __init__(
        self,
        most: int,
        slow_after: float,
        freed: Callable[[Mailbox], None],
        look_again: Callable[[Mailbox], None],
    ) -> None:
        self.spawn: Callable[..., None] | None = None  # set while the bus is open
        self.left: Callable[[Mailbox], None]  # told of each mailbox that a worker leaves; set by the bus
        self._most, self._freed, self._look_again = most, freed, look_again
        self._ready: deque[Mailbox] = deque()
        self._active = 0
        self._idle: dict[Worker, None] = {}
        self._returning: OrderedDict[Worker, list[trio.lowlevel.Task]] = OrderedDict()
        self._workers: dict[trio.lowlevel.Task, Worker] = {}
        self._busy: dict[Worker, None] = {}
        self._quiet: trio.Event | None = None
        self.watchdog = Watchdog(slow_after, self._busy, self.lose)

    # -- mailboxes ----------------------------------------------------------------------------

    @uninterrupted
    def offer(self, box: Mailbox) -> None:
        """Have somebody serve it if there is something to take."""
        if box.inbox and not box.ready and box.hands < box.most:
            box.ready = True
            self._ready.append(box)
            if self._active < self._most:
                self._start()

    async def quiet(self) -> None:
        """Until no handler runs and nothing waits. Checkpoint."""
        while self._busy or self._ready:
            self._quiet = trio.Event()
            await self._quiet.wait()
        await trio.lowlevel.checkpoint()

    @property
    def running(self) -> int:
        """Handlers at work, the slow ones included."""
        return len(self._busy)

    # -- places ---------------------------------------------------------------------------------

    def worker_of(self, task: trio.lowlevel.Task) -> Worker | None:
        """The worker whose handler ``task`` belongs to: the handler waits for it, as a child or itself."""
        if not self._workers:
            return None
        at: trio.lowlevel.Task | None = task
        while at is not None:
            worker = self._workers.get(at)
            if worker is not None:
                return worker
            nursery = at.parent_nursery
            at = None if nursery is None else nursery.parent_task
        return None

    def own(self, task: trio.lowlevel.Task) -> Worker | None:
        """The worker that ``task`` is: a handler's code runs in it, and no child of one."""
        return self._workers.get(task)

    @uninterrupted
    def step_out(self, worker: Worker | None) -> None:
        """A task of its handler is about to wait inside the bus."""
        if worker is not None:
            worker.away += 1
            if worker.counted:
                worker.counted = False
                self._release()

    @uninterrupted
    async def step_in(self, worker: Worker | None) -> None:
        """It waits no more; go on as soon as there is a place. A checkpoint only if there is none.

        Cancelled means: it goes on at once, over the bound if need be.
        """
        if worker is None:
            return
        worker.away -= 1
        if worker.away or worker.counted or worker.slow:
            return
        if self._active < self._most and not self._returning:
            self._count(worker)
            return
        task = trio.lowlevel.current_task()
        self._returning.setdefault(worker, []).append(task)

        def abort(_: Any) -> trio.lowlevel.Abort:
            tasks = self._returning[worker]
            tasks.remove(task)
            if not tasks:
                del self._returning[worker]
                if not worker.away:
                    self._count(worker)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    @uninterrupted
    def stay(self, worker: Worker | None) -> None:
        """As ``step_in`` for one that was cancelled: it goes on at once, over the bound if need be."""
        if worker is not None:
            worker.away -= 1
            if not worker.away and not worker.counted and not worker.slow and worker not in self._returning:
                self._count(worker)

    def _count(self, worker: Worker) -> None:
        self._active += 1
        worker.counted = True

    @uninterrupted
    def _release(self) -> None:
        self._active -= 1
        while self._returning and self._active < self._most:
            worker, tasks = self._returning.popitem(last=False)
            if not worker.away:  # else another task of its handler waits inside the bus by now
                self._count(worker)
            for task in tasks:
                trio.lowlevel.reschedule(task)
        self._start()

    # -- workers --------------------------------------------------------------------------------

    def _start(self) -> None:
        """Put workers to what is ready, as long as there are places."""
        while self._ready and self._active < self._most and self.spawn is not None and not self._returning:
            box = self._next()
            self._active += 1
            worker = box.server or next(iter(self._idle), None)
            if worker is not None:
                self._call(worker)
                worker.counted = True
                if worker.box is not box:
                    worker.task.context = box.context.copy()
                trio.lowlevel.reschedule(worker.task)
            else:
                worker = Worker(box)
                box.context.run(self.spawn, self._keep, worker, name="phloem events worker")
            self._occupy(worker, box)

    @uninterrupted
    def _next(self) -> Mailbox:
        box = self._ready.popleft()
        box.ready = False
        box.hands += 1
        return box

    @uninterrupted
    def _occupy(self, worker: Worker, box: Mailbox) -> None:
        worker.box = box
        worker.since, worker.seen = trio.current_time(), worker.runs
        worker.until = worker.since + SHARE
        box.runs[worker] = None
        self._busy[worker] = None
        self.watchdog.wake()

    @uninterrupted  # not what it starts: that is a task of its own
    async def _keep(self, worker: Worker) -> None:
        """The worker's life, in a task of its own: one that a handler has broken cannot even end well."""
        try:
            async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - for its task, as said above
                nursery.start_soon(self._work, worker, name="phloem events")
        except* RuntimeError:
            if not worker.broken:
                raise

    async def _work(self, worker: Worker) -> None:
        """Serve one mailbox after the other, each in a scope that ends what its handlers leave open."""
        task = worker.task = trio.lowlevel.current_task()
        self._workers[task] = worker
        try:
            while worker.at_work:
                box = worker.box
                try:
                    with trio.CancelScope():
                        await self._serve(worker, box)
                except RuntimeError as error:
                    # Raised by the scope: it has found another one open, which a handler entered and
                    # did not leave, by breaking out of a generator that holds one; or in which Ctrl-C came.
                    if isinstance(error.__context__, KeyboardInterrupt):
                        raise error.__context__ from None
                    self._broken(worker, box, error)
        except BaseException:
            self.spawn = None  # the bus is being cancelled: nobody takes this worker's place
            raise
        finally:
            del self._workers[task]

    async def _serve(self, worker: Worker, box: Mailbox) -> None:
        """Visits to one mailbox, until there is another to serve or no place any more.

        With nothing to do it waits to be called, by this mailbox if possible: no scope is opened,
        and no context made, for each event.
        """
        moved, worker.moved = worker.moved, False
        while worker.box is box:
            try:
                if moved:
                    await trio.lowlevel.checkpoint()  # Trio reads the task's context as a step begins
                else:
                    await trio.lowlevel.checkpoint_if_cancelled()
                await self._visit(worker, box)
            finally:
                self._leave(worker, box)
            moved = worker.counted and bool(self._ready) and not self._crowded
            if moved:
                self._occupy(worker, self._next())
                if worker.box is not box:
                    worker.task.context = worker.box.context.copy()
                    worker.moved = True
                continue
            if not worker.counted:
                worker.at_work = False  # its place has gone to another
                return
            worker.counted = False
            self._release()
            if len(self._idle) >= self._most:
                worker.at_work = False
                return
            self._idle[worker] = None
            box.server = worker
            await trio.lowlevel.wait_task_rescheduled(lambda _: self._idle_no_more(worker))

    def _idle_no_more(self, worker: Worker) -> trio.lowlevel.Abort:
        self._call(worker)
        return trio.lowlevel.Abort.SUCCEEDED

    @uninterrupted
    def _call(self, worker: Worker) -> None:
        """It waits no more where it stands."""
        del self._idle[worker]
        if worker.box.server is worker:
            worker.box.server = None

    async def _visit(self, worker: Worker, box: Mailbox) -> None:
        """What waited as it began, as far as it may be taken. A checkpoint only where handlers are."""
        worker.left = VISIT if box.key is not None else min(box.waiting, VISIT)
        try:
            while type(result := await guarded(self._handle, worker, box)) is Raised:
                item, worker.item = worker.item, None
                if item is None:
                    raise InternalError("between two events a worker raised") from result.error
                box.failed(item, result.error)
                worker.runs += 1
                item = result = None  # what the handler had lives no longer than this
                if self._over(worker):
                    break
        finally:
            if worker.item is not None:
                box.cut(worker.item)
                worker.item = None

    async def _handle(self, worker: Worker, box: Mailbox) -> None:
        """One event after the other, until a handler raises; its event is then ``worker.item``."""
        call, shared = box.call, box.most > 1
        free = self._freed if box.key is None else self._look_again  # it may have sorted some
        while worker.left and (item := box.take(worker)) is not None:
            worker.left -= 1
            worker.item = item
            if box.line:
                free(box)
            if shared:
                self.offer(box)
            if type(item) is Tracked:
                await call(item.event)
                item.done()
            else:
                await call(item)
            worker.item = None
            worker.runs += 1
            box.delivered += 1
            wanted = self._ready or self._returning or self._active > self._most
            if (wanted or not worker.counted) and self._over(worker):
                return

    def _over(self, worker: Worker) -> bool:
        """The visit is over, whatever waits there: the worker has no place, or others should have it."""
        if not worker.counted or self._crowded:
            return True
        return bool(self._ready) and trio.current_time() >= worker.until

    @uninterrupted
    def _broken(self, worker: Worker, box: Mailbox, error: RuntimeError) -> None:
        worker.broken, worker.at_work = True, False
        complain(ERROR, "a handler of subscription %s (%s) left a scope open", box.id, box.name, error=error)
        if worker.box is not box:  # already given another, which is anybody's again
            self._leave(worker, worker.box)
        if worker.counted:
            worker.counted = False
            self._release()

    @property
    def _crowded(self) -> bool:
        """Somebody else should have this worker's place."""
        return self._active > self._most or bool(self._returning)

    @uninterrupted
    def _leave(self, worker: Worker, box: Mailbox) -> None:
        box.hands -= 1
        del box.runs[worker]
        del self._busy[worker]
        worker.slow = False
        box.let_go(worker)
        self.offer(box)
        if box.retired:
            self.left(box)
        if box.line and box.key is not None:
            self._look_again(box)  # what it has sorted may stand behind a key that never comes free
        if self._quiet is not None and not self._busy and not self._ready:
            self._quiet.set()

    @uninterrupted
    def lose(self, worker: Worker) -> None:
        """It has run too long: its place goes to another, and it waits for none."""
        if worker.counted:
            worker.counted = False
            self._release()
        for task in self._returning.pop(worker, ()):
            trio.lowlevel.reschedule(task)
