"""What is printed while a prompt stands: whole lines, in whatever way they were written."""

from __future__ import annotations

import threading

import trio
import trio.testing

from phloem.cli.terminal.above import Above


async def test_bytes_and_text_come_above_as_lines_in_the_order_they_were_written() -> None:
    said: list[str] = []
    above = Above(said.append, colours=False)
    print("one", file=above)
    above.buffer.write(b"t\xc3")  # half a character
    above.buffer.write(memoryview(b"\xb6o\n"))
    above.buffer.flush()
    print("three", file=above)
    await trio.testing.wait_all_tasks_blocked()
    assert said == ["one", "töo", "three"]


async def test_bytes_that_are_no_text_are_shown_and_move_no_cursor() -> None:
    said: list[str] = []
    above = Above(said.append, colours=True)
    assert above.buffer.write(b"a\xff\x1b[2Jb\n") == 8
    above.end()
    assert len(said) == 1
    assert said[0].startswith("a\ufffd")
    assert "\x1b" not in said[0]


async def test_bytes_from_many_threads_lose_nothing() -> None:
    said: list[str] = []
    above = Above(said.append, colours=False)
    threads = [
        threading.Thread(target=lambda: [above.buffer.write(b"line\n") for _ in range(100)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        await trio.to_thread.run_sync(thread.join)
    above.end()
    assert said == ["line"] * 800
