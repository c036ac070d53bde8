"""The commands of the console: each answers at once, whatever the organism does."""

from __future__ import annotations

import trio
from trio.testing import MockClock as Clock

from phloem.cli.exit_codes import ExitCode
from support.console import Say, open_sitting


async def test_an_unknown_command_says_which_there_are(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        (told,) = await sitting.types("/stats")
        assert told.startswith("found /stats, expected one of /listeners, /status, /threads, /todos, /trace")
        assert told.endswith("did you mean /status?")
    assert sitting.session.tally.codes == {ExitCode.USAGE}


async def test_every_command_answers_at_once_while_handlers_run(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        start = trio.current_time()
        await sitting.types("@slow 9")
        for command in ("listeners", "status", "threads", "todos", "trace", "full", "help"):
            assert await sitting.types(f"/{command}"), command
        assert trio.current_time() == start
        root, told = await sitting.types("/threads")
        assert root.startswith("idle    console  (")
        assert told.startswith("running console > slow  (")
        assert "slow  <Say>" in "\n".join(await sitting.types("/trace slow"))


async def test_the_trace_is_the_tree_of_what_a_message_led_to(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("/trace") == ["there is no conversation to trace"]
        await sitting.types("@boss hello")
        head, first, second, third = await sitting.types("/trace")
        assert head.startswith("conversation ")
        assert head.endswith("open")
        assert first.startswith("└─ boss  <Say>  ")
        assert second.startswith("   └─ asker  <Say>  ")
        assert third.startswith("      └─ boss  <Say>  ")
        assert await sitting.types("/trace boss") == [head, first, second, third]


async def test_kill_ends_what_hangs_and_tells_its_messages(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        await sitting.types("@slow 1000", "7", "8")
        said = await sitting.types("/kill")
        assert [line for line in said if line.startswith("slow")] == [
            "slow: cancelled: the conversation was killed"
        ] * 3
        assert said[-1].endswith("was killed") or said[0].endswith("was killed")
        assert await sitting.types("/status") != []
    assert sitting.session.tally.states == {}


async def test_kill_takes_a_listener_a_conversation_or_the_beginning_of_one(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert await sitting.types("/kill") == ["there is no conversation to kill"]
        assert await sitting.types("/kill echo") == ["there is no conversation to kill"]
        await sitting.types("@slow 50")
        (id,) = {each.conversation for each in sitting.organism.threads}
        assert any("was killed" in line for line in await sitting.types(f"/kill {id[:10]}"))
        (told,) = await sitting.types("/kill nothing")
        assert told.startswith("found no listener and no conversation that 'nothing' may mean")
        receipt = await sitting.organism.send(Say("50"), to="slow", sender="somebody")
        assert await sitting.types(f"/kill {receipt.conversation}") == [
            f"conversation {receipt.conversation} was killed"
        ]
        await sitting.types("@echo hi")
        (told,) = await sitting.types("/kill nothing")
        assert "expected one of echo, " in told


async def test_whatever_a_kill_meets_on_its_way_in_is_told(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        await sitting.types("@slow 0")
        before = len(sitting.face.said)
        for line in (*["@slow 50"] * 30, "/kill slow", "@slow 0"):
            sitting.face.type.send_nowait(line)
        await trio.sleep(1)
        told = [line for line in sitting.face.said[before:] if line.startswith("slow: cancelled")]
        assert len(told) == 30
        assert "slow: after 0" in sitting.face.said[before:]
        assert len({each.conversation for each in sitting.organism.threads}) == 1


async def test_a_talk_that_waits_for_its_seat_can_be_killed(autojump_clock: Clock) -> None:
    async with open_sitting(max_in_flight=1) as sitting:
        await sitting.types("@slow 100", "@echo a")
        assert "@echo: waiting for a seat, 1 message unanswered" in await sitting.types("/status")
        assert await sitting.types("/kill echo") == ["echo: cancelled: not sent: its conversation was killed"]
        await sitting.types("/kill slow")
        assert await sitting.types("@echo b") == ["echo: b"]


async def test_completion_knows_names_commands_and_conversations(autojump_clock: Clock) -> None:
    async with open_sitting() as sitting:
        assert sitting.session.complete("@wr") == ["@writer "]
        assert sitting.session.complete("@TW") == ["@two words "]
        assert sitting.session.complete("/t") == ["/threads", "/todos", "/trace "]
        assert sitting.session.complete("/kill ec") == ["/kill echo"]
        assert sitting.session.complete("/help x") == []
        assert sitting.session.complete("hello") == []
        await sitting.types("@echo a")
        (id,) = {each.conversation for each in sitting.organism.threads}
        assert sitting.session.complete(f"/trace {id[:4]}") == [f"/trace {id}"]
