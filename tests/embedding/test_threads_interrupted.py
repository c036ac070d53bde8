"""The sync door in programs of their own: Ctrl-C, exits, imports and event loops around it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

LONGEST = 30  # seconds; each of these programs takes less than one

HEAD = """
import os, signal, sys, threading, time
from dataclasses import dataclass
import trio
from phloem import HandlerResponse, ListenerConfig, OrganismClosed, OrganismConfig, open_organism_in_thread

@dataclass
class Ask:
    text: str

async def answer(payload, metadata):
    return HandlerResponse.respond(payload)

begun = threading.Event()

async def hang(payload, metadata):
    begun.set()
    try:
        await trio.sleep_forever()
    finally:
        print("cancelled", payload.text, flush=True)

def stays(payload, metadata):
    print("entered", flush=True)
    time.sleep(60)

CONFIG = OrganismConfig(
    "aside",
    [ListenerConfig(*each) for each in (("back", Ask, answer), ("hang", Ask, hang), ("stays", Ask, stays))],
    shutdown_grace=30.0,
)

def interrupt_in(seconds):
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
"""


def run(folder: Path, program: str, code: int = 0, **files: str) -> str:
    """What a program prints that ends with this code."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(HEAD + dedent(text))
    (folder / "program.py").write_text(HEAD + dedent(program))
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_ctrl_c_cancels_the_call_it_meets_and_no_other(tmp_path: Path) -> None:
    program = """
        with open_organism_in_thread(CONFIG) as organism:
            for call in (
                lambda: organism.ask(Ask("one"), to="hang"),
                lambda: organism.wait(organism.send(Ask("two"), to="hang")),
            ):
                interrupt_in(0.2)
                try:
                    call()
                except KeyboardInterrupt:
                    print("interrupted", organism.report.in_flight, organism.ask(Ask("x"), to="back"))
            print("leaving")
            raise SystemExit(7)
    """
    assert run(tmp_path, program, 7).splitlines() == [
        "cancelled one",
        "interrupted 0 Ask(text='x')",
        "interrupted 1 Ask(text='x')",
        "leaving",
        "cancelled two",
    ]


def test_ctrl_c_that_leaves_the_block_stops_the_organism(tmp_path: Path) -> None:
    program = """
        interrupt_in(0.3)
        try:
            with open_organism_in_thread(CONFIG) as organism:
                organism.send(Ask("one"), to="hang")
                organism.ask(Ask("two"), to="hang")
        finally:
            print(organism.report.abandoned, [t.name for t in threading.enumerate() if "aside" in t.name])
    """
    told = run(tmp_path, program, -signal.SIGINT).splitlines()
    assert sorted(told) == ["2 []", "cancelled one", "cancelled two"]
    assert told[-1] == "2 []"


def test_ctrl_c_cuts_a_drain_short(tmp_path: Path) -> None:
    program = """
        interrupt_in(0.4)
        started = time.monotonic()
        try:
            with open_organism_in_thread(CONFIG) as organism:
                organism.send(Ask("one"), to="hang")
        except KeyboardInterrupt:
            print("interrupted", organism.report.abandoned, time.monotonic() - started < 10)
    """
    assert run(tmp_path, program).splitlines() == ["cancelled one", "interrupted 1 True"]


def test_ctrl_c_at_any_moment_leaves_nothing_behind(tmp_path: Path) -> None:
    program = """
        import gc, random
        chance = random.Random(7)
        interrupted = 0
        armed = False

        def receive(*_):
            if armed:
                raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, receive)
        with open_organism_in_thread(CONFIG) as organism:
            for turn in range(300):
                try:
                    armed = True
                    # Again and again: Python drops what is raised within a weakref's callback.
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00005, 0.002), 0.05)
                    while True:
                        with organism.open_conversation() as conversation:
                            conversation.ask(Ask("x"), to="back")
                        organism.ask(Ask("x"), to="back")
                except KeyboardInterrupt:
                    armed = False
                    interrupted += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            gc.collect()  # blocks that were interrupted within contextlib
            organism.wait_idle(timeout=10)
            longest = time.monotonic() + 10  # a turn's second hit cuts the wait for the first's cancel
            while organism.statistics()["conversations"]["live"] and time.monotonic() < longest:
                time.sleep(0.01)
            report, live = organism.report, organism.statistics()["conversations"]["live"]
            print(interrupted, report.in_flight, live, len(organism._thread._pending))
    """
    interrupted, in_flight, live, pending = map(int, run(tmp_path, program).split())
    assert interrupted == 300
    assert in_flight == 0
    assert live == 0
    assert pending <= 1  # between the note of a call and the block that takes it back


def test_sys_exit_within_the_block_ends_the_program(tmp_path: Path) -> None:
    program = """
        with open_organism_in_thread(CONFIG) as organism:
            organism.send(Ask("one"), to="hang")
            begun.wait(10)
            sys.exit(3)
    """
    assert run(tmp_path, program, 3) == "cancelled one\n"


def test_a_plain_handler_that_is_still_at_work_holds_up_nobody(tmp_path: Path) -> None:
    program = """
        with open_organism_in_thread(CONFIG) as organism:
            organism.send(Ask("one"), to="stays")
            time.sleep(0.2)
            organism.shutdown(grace=0)
        print(organism.report.abandoned_threads)
    """
    assert run(tmp_path, program) == "entered\n('stays',)\n"


def test_a_block_that_nobody_leaves_does_not_keep_python_from_exiting(tmp_path: Path) -> None:
    program = """
        block = open_organism_in_thread(CONFIG)
        organism = block.__enter__()
        print(organism.ask(Ask("x"), to="back"))
    """
    assert run(tmp_path, program) == "Ask(text='x')\n"


def test_a_block_that_is_dropped_is_stopped(tmp_path: Path) -> None:
    program = """
        block = open_organism_in_thread(CONFIG)
        organism = block.__enter__()
        organism.send(Ask("one"), to="hang")
        begun.wait(10)
        del block
        import gc
        gc.collect()
        print(organism.report.abandoned)
    """
    assert run(tmp_path, program) == "cancelled one\n1\n"


def test_it_may_live_as_long_as_the_program_and_drain_at_its_exit(tmp_path: Path) -> None:
    program = """
        import atexit
        from contextlib import ExitStack
        async def later(payload, metadata):
            await trio.sleep(0.2)
            print("drained", flush=True)
        stack = ExitStack()
        atexit.register(stack.close)
        organism = stack.enter_context(
            open_organism_in_thread(OrganismConfig("x", [ListenerConfig("later", Ask, later)]))
        )
        organism.send(Ask("one"), to="later")
    """
    assert run(tmp_path, program) == "drained\n"


def test_a_module_may_open_it_while_it_is_imported_itself(tmp_path: Path) -> None:
    module = """
        async def handle(payload, metadata):
            import module  # finished by now
            return HandlerResponse.respond(Ask(module.name))

        with open_organism_in_thread(
            OrganismConfig(
                "x", [ListenerConfig("a", handler_path="module.handle", payload_class_path="module.Ask")]
            )
        ) as organism:
            print(organism.listeners["a"].payload_class.__name__)
        name = "module"
    """
    assert run(tmp_path, "import module", module=module) == "Ask\n"


def test_it_works_where_an_event_loop_runs_as_in_a_notebook(tmp_path: Path) -> None:
    program = """
        import asyncio
        async def cell():
            with open_organism_in_thread(CONFIG) as organism:
                return organism.ask(Ask("x"), to="back")
        print(asyncio.run(cell()))
    """
    assert run(tmp_path, program) == "Ask(text='x')\n"
