"""Threads: forward, respond, twins, fan-out, and whose answer comes back to whom."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from phloem.config import ListenerConfig
from phloem.messages import BOOT, SERVICES, HandlerMetadata, HandlerResponse
from support.auditing import open_audited, report_of
from support.flows import Aside, asks_each, passes_on
from support.listeners import BACK, Ask, Handle, Reply, answer, hang, listener


# -- forward and respond ----------------------------------------------------------------------
async def test_an_answer_comes_back_to_the_very_thread_that_asked() -> None:
    seen: list[HandlerMetadata] = []
    async with open_audited(listener("front", [Ask, Reply], passes_on("back", seen)), BACK) as organism:
        assert await organism.ask(Ask("x"), to="front", sender="console") == Reply("x")
    asked, answered = seen
    assert asked.thread_id == answered.thread_id
    assert asked.message_id != answered.message_id
    assert (asked.from_id, answered.from_id) == ("console", "back")


async def test_a_respond_goes_to_the_caller_and_never_to_whoever_sent_last() -> None:
    """a asks b; b asks c; c's answer reaches b `from` c, and b's respond still goes to a."""
    path: list[tuple[str, str]] = []

    def noting(name: str, handle: Handle) -> ListenerConfig:
        async def noted(payload: Any, metadata: HandlerMetadata) -> Any:
            path.append((metadata.from_id, name))
            return await handle(payload, metadata)

        return listener(name, [Ask, Reply], noted)

    async with open_audited(
        noting("a", passes_on("b")), noting("b", passes_on("c")), noting("c", answer)
    ) as organism:
        assert await organism.ask(Ask("x"), to="a") == Reply("x")
    assert path == [("outside", "a"), ("a", "b"), ("b", "c"), ("c", "b"), ("b", "a")]


async def test_a_forward_extends_the_chain() -> None:
    async with open_audited(
        listener("a", [Ask, Reply], passes_on("b")),
        listener("b", [Ask, Reply], passes_on("c")),
        listener("c", Ask, hang),
        shutdown_grace=0,
    ) as organism:
        await organism.send(Ask("x"), to="a", sender="console")
        await trio.testing.wait_all_tasks_blocked()
        assert [(thread.chain, thread.state) for thread in organism.threads] == [
            (("console",), "idle"),
            (("console", "a"), "idle"),
            (("console", "a", "b"), "idle"),
            (("console", "a", "b", "c"), "running"),
        ]


async def test_the_receipts_thread_is_the_root() -> None:
    async with open_audited(listener("a", Ask, hang), shutdown_grace=0) as organism:
        receipt = await organism.send(Ask("x"), to="a", sender="console")
        root = next(iter(organism.threads))
        assert (root.id, root.chain, root.conversation) == (
            receipt.thread,
            ("console",),
            receipt.conversation,
        )


async def test_several_forwards_make_several_threads_and_their_answers_come_one_after_the_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    running = 0
    threads: set[str] = set()
    answers: list[str] = []

    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> Any:
        nonlocal running
        threads.add(metadata.thread_id)
        if isinstance(payload, Ask):
            return [HandlerResponse(Ask(str(n)), to="back") for n in range(10)]
        running += 1
        assert running == 1, "at most one dispatch per thread"
        await trio.sleep(1)
        running -= 1
        answers.append(payload.text)
        return HandlerResponse.respond(Reply("all")) if len(answers) == 10 else None

    async with open_audited(listener("front", [Ask, Reply], front), BACK) as organism:
        assert await organism.ask(Ask("x"), to="front") == Reply("all")
        assert trio.current_time() == 10
        assert report_of(organism).handled == 21
    assert sorted(answers) == [str(n) for n in range(10)]
    assert len(threads) == 1


async def test_two_threads_of_one_listener_run_side_by_side(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(1)
        return HandlerResponse.respond(Reply(metadata.thread_id))

    answers: list[str] = []
    async with open_audited(
        listener("front", [Ask, Reply], asks_each("slow", "slow", answers=answers, enough=2)),
        listener("slow", Ask, slow),
    ) as organism:
        await organism.ask(Ask("x"), to="front")
        assert trio.current_time() == 1
    assert len(set(answers)) == 2


async def test_a_forward_without_an_address_goes_to_the_only_taker() -> None:
    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        if isinstance(payload, Ask):
            return HandlerResponse(Aside(payload.text))
        return HandlerResponse.respond(payload)

    async def aside(payload: Aside, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(Reply(payload.text))

    async with open_audited(listener("front", [Ask, Reply], front), listener("b", Aside, aside)) as organism:
        assert await organism.ask(Ask("x")) == Reply("x")


async def test_a_self_call_is_a_call_like_any_other() -> None:
    calls: list[tuple[str, bool, str]] = []

    async def count(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
        calls.append((payload.text, metadata.is_self_call, metadata.thread_id))
        if isinstance(payload, Ask) and payload.text != "0":
            return HandlerResponse(Ask(str(int(payload.text) - 1)), to="count")
        return HandlerResponse.respond(Reply(payload.text + "!"))

    async with open_audited(listener("count", [Ask, Reply], count, is_agent=True)) as organism:
        assert await organism.ask(Ask("2"), to="count") == Reply("0!!!")
    assert [(text, own) for text, own, _ in calls] == [
        ("2", False),
        ("1", True),
        ("0", True),
        ("0!", True),
        ("0!!", True),
    ]
    down, up = [thread for *_, thread in calls[:3]], [thread for *_, thread in calls[3:]]
    assert up == [down[1], down[0]]


async def test_a_dot_in_a_name_means_nothing() -> None:
    async with open_audited(
        listener("a", [Ask, Reply], passes_on("a.b")),
        listener("a.b", [Ask, Reply], passes_on("b")),
        listener("b", [Ask, Reply], passes_on("a.b.b")),
        listener("a.b.b", Ask, answer),
    ) as organism:
        assert await organism.ask(Ask("x"), to="a", sender="outside.b") == Reply("x")
        assert report_of(organism).handled == 7


async def test_five_conversations_between_the_same_two_names_have_five_answers_and_share_no_id(
    autojump_clock: trio.testing.MockClock,
) -> None:
    seen: list[HandlerMetadata] = []

    async def slow(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        seen.append(metadata)
        await trio.sleep(10 - int(payload.text))  # the first asked is answered last
        return HandlerResponse.respond(Reply(payload.text))

    answers: dict[int, Any] = {}
    async with open_audited(
        listener("front", [Ask, Reply], passes_on("back", seen)), listener("back", Ask, slow)
    ) as organism:

        async def ask(number: int) -> None:
            answers[number] = await organism.ask(Ask(str(number)), to="front", sender="console")

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(ask, number)
    assert answers == {number: Reply(str(number)) for number in range(5)}
    assert len({m.conversation for m in seen}) == 5
    assert len({m.message_id for m in seen}) == 15
    assert len({(m.conversation, m.thread_id) for m in seen}) == len({m.thread_id for m in seen}) == 10


# -- the root ---------------------------------------------------------------------------------
async def test_a_root_response_is_read_by_what_its_listener_declares() -> None:
    async with open_audited(listener("back", Ask, answer, responds_with=[Aside, Reply])) as organism:
        assert await organism.ask(Ask("x"), to="back") == Reply("x")


async def test_ask_returns_the_first_of_several_root_responses_and_the_outcome_has_all() -> None:
    async def many(payload: Ask, metadata: HandlerMetadata) -> list[HandlerResponse]:
        return [HandlerResponse.respond(Reply(text)) for text in "abc"]

    async with open_audited(listener("many", Ask, many)) as organism:
        assert await organism.ask(Ask("x"), to="many") == Reply("a")
        outcome = await organism.wait(await organism.send(Ask("x"), to="many"))
        assert outcome.payloads == (Reply("a"), Reply("b"), Reply("c"))


async def test_ask_returns_at_the_conversations_end_and_not_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def slow(payload: Ask, metadata: HandlerMetadata) -> HandlerResponse:
        await trio.sleep(5)
        return HandlerResponse.respond(Reply("slow"))

    async with open_audited(
        listener("slow", Ask, slow, broadcast=True), listener("quick", Ask, answer, broadcast=True)
    ) as organism:
        assert await organism.ask(Ask("quick")) == Reply("quick")
        assert trio.current_time() == 5


# -- twins ------------------------------------------------------------------------------------
def twins(log: list[tuple[str, str]], **more: Any) -> list[ListenerConfig]:
    """Two listeners of the name `twin`, each of which asks `back` and responds."""

    def twin(which: str) -> Handle:
        async def work(payload: Ask | Reply, metadata: HandlerMetadata) -> HandlerResponse:
            log.append((which, metadata.thread_id))
            if isinstance(payload, Ask):
                return HandlerResponse(Ask(which), to="back")
            assert payload.text == which, "an answer goes to the very twin that asked"
            return HandlerResponse.respond(Reply(f"{which}, {metadata.own_name}"))

        return work

    return [listener("twin", [Ask, Reply], twin(which), broadcast=True, **more) for which in ("one", "two")]


async def test_an_address_of_twins_means_all_of_them_and_each_has_its_own_answer() -> None:
    log: list[tuple[str, str]] = []
    async with open_audited(*twins(log, is_agent=True, peers=["back"]), BACK) as organism:
        outcome = await organism.wait(await organism.send(Ask("x"), to="twin"))
        assert sorted(payload.text for payload in outcome.payloads) == ["one, twin", "two, twin"]
        assert set(organism.listeners) == {"twin", "twin#2", "back", BOOT, *SERVICES}
    assert len(set(log)) == 2


async def test_from_says_the_common_name_and_the_ledger_tells_twins_apart() -> None:
    senders: list[str] = []

    async def front(payload: Ask | Reply, metadata: HandlerMetadata) -> Any:
        senders.append(metadata.from_id)
        return HandlerResponse(payload, to="TWIN") if isinstance(payload, Ask) else None

    async with open_audited(
        listener("front", [Ask, Reply], front, is_agent=True, peers=["twin"]), *twins([]), BACK
    ) as organism:
        await organism.wait(await organism.send(Ask("x"), to="front"))
        listeners = organism.statistics()["listeners"]
        assert (listeners["twin"]["handled"], listeners["twin#2"]["handled"]) == (2, 2)
    assert senders == ["outside", "twin", "twin"]


async def test_twins_have_a_limit_each(autojump_clock: trio.testing.MockClock) -> None:
    running: dict[str, int] = {"one": 0, "two": 0}
    most = 0

    def twin(which: str) -> Handle:
        async def work(payload: Ask, metadata: HandlerMetadata) -> None:
            nonlocal most
            running[which] += 1
            assert running[which] == 1
            most = max(most, sum(running.values()))
            await trio.sleep(1)
            running[which] -= 1

        return work

    async with open_audited(
        *[listener("twin", Ask, twin(which), broadcast=True, max_concurrent=1) for which in running]
    ) as organism:
        for _ in range(3):
            await organism.send(Ask("x"), to="twin")
        await organism.wait_idle()
        assert (trio.current_time(), most) == (3, 2)


async def test_an_address_reaches_only_the_twins_that_take_the_payload() -> None:
    async def other(payload: Aside, metadata: HandlerMetadata) -> HandlerResponse:
        return HandlerResponse.respond(payload)

    async with open_audited(
        listener("twin", Ask, answer, broadcast=True), listener("twin", Aside, other, broadcast=True)
    ) as organism:
        assert await organism.ask(Aside("x"), to="twin") == Aside("x")
        assert report_of(organism).accepted == 1
