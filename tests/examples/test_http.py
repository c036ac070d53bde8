"""docs/examples over HTTP: every kitchen answers alike, whatever it is served by and whatever it runs on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.kitchens import COMMANDS, NOTICES, assert_quiet, open_kitchen
from support.servers import Server

AT_ONCE = 50


@pytest.fixture(scope="module", params=COMMANDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all the claims of this file; it must also end well after them."""
    with open_kitchen(request.param, tmp_path_factory.mktemp("logs")) as server:
        yield server
        server.interrupt()
        assert server.ended() == 0, server.err
        server.last_books()
        assert_quiet(server)


def test_an_order_is_served(server: Server) -> None:
    answer = server.post({"dish": "soup", "portions": 2})
    assert (answer.status, answer.json) == (200, {"text": "2 x soup"})


def test_what_breaks_the_contract_is_unprocessable_and_the_huh_says_why(server: Server) -> None:
    answer = server.post({"dish": "pizza", "portions": 2})
    assert answer.status == 422
    huh = answer.json["detail"]
    assert (huh["code"], huh["path"], huh["found"]) == ("type", "/Order/Dish", "str \"'pizza'\"")
    assert huh["expected"] == "one of 'soup', 'roast', 'souffle', 'air'"
    assert set(huh) == {"code", "path", "found", "expected", "attempts_left", "original"}


@pytest.mark.parametrize("body", [b"{", b"[1]", b"5", b'{"portions": 2}', b"\xff", b"\x00" * 100_000])
def test_what_is_no_order_at_all_never_comes_to_phloem(server: Server, body: bytes) -> None:
    before = server.books()["accepted"]
    answer = server.request("POST", "/ask", body)
    assert answer.status in (400, 422)  # FastAPI says 400 to bytes that are not even UTF-8
    assert "detail" in answer.json
    assert server.books()["accepted"] == before


def test_a_cook_who_fails_and_one_who_never_answers_are_a_bad_gateway(server: Server) -> None:
    for dish, state in (("souffle", "failed"), ("air", "completed")):
        answer = server.post({"dish": dish, "portions": 1})
        assert (answer.status, answer.json["detail"]["state"]) == (502, state)
        assert "collapsed" not in answer.text  # what went wrong inside is for the log
    assert "RuntimeError: it collapsed" in server.err


def test_fifty_at_once_get_each_its_own_plate(server: Server) -> None:
    before = server.books()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(lambda n: server.post({"dish": "soup", "portions": n}), range(AT_ONCE)))
    assert [answer.json["text"] for answer in answers] == [f"{n} x soup" for n in range(AT_ONCE)]
    after = server.books_where(lambda books: books["in_flight"] == 0, "the kitchen to come to rest")
    assert after["handled"] - before["handled"] == AT_ONCE


def test_mixed_orders_at_once_end_each_in_its_own_way(server: Server) -> None:
    dishes = ["soup", "pizza", "souffle", "air"] * 8
    with ThreadPoolExecutor(len(dishes)) as threads:
        answers = list(threads.map(lambda dish: server.post({"dish": dish, "portions": 1}), dishes))
    statuses = Counter(zip(dishes, (answer.status for answer in answers), strict=True))
    assert statuses == {("soup", 200): 8, ("pizza", 422): 8, ("souffle", 502): 8, ("air", 502): 8}


@pytest.mark.parametrize("server", NOTICES, indirect=True)
def test_a_client_that_hangs_up_cancels_its_order_and_nobody_elses(server: Server) -> None:
    before = server.books()
    roast = json.dumps({"dish": "roast", "portions": 1}).encode()
    patient, hasty = server.send("POST", "/ask", roast), server.send("POST", "/ask", roast)
    try:
        server.books_where(lambda books: books["in_flight"] == 2, "both roasts in the oven")
        hasty.close()
        server.books_where(
            lambda books: books["in_flight"] == 1, "the roast that nobody waits for to be taken out"
        )
        assert server.post({"dish": "soup", "portions": 1}).status == 200
    finally:
        hasty.close()
        patient.close()
    after = server.books_where(lambda books: books["in_flight"] == 0, "the oven to be empty")
    assert after["abandoned"] - before["abandoned"] == 2
    assert after["handled"] - before["handled"] == 1


@pytest.mark.parametrize("server", NOTICES, indirect=True)
def test_a_crowd_that_hangs_up_leaves_nothing_behind(server: Server) -> None:
    before = server.books()
    roast = json.dumps({"dish": "roast", "portions": 1}).encode()
    crowd = [server.send("POST", "/ask", roast) for _ in range(AT_ONCE)]
    try:
        server.books_where(lambda books: books["in_flight"] == AT_ONCE, "all roasts in the oven")
    finally:
        for connection in crowd:
            connection.close()
    after = server.books_where(lambda books: books["in_flight"] == 0, "the oven to be empty")
    assert after["abandoned"] - before["abandoned"] == AT_ONCE
