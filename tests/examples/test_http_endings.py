"""docs/examples ended: Ctrl-C, ``kill``, a fault at the start. The organism ends with its server."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.kitchens import COMMANDS, EXAMPLES, NOTICES, assert_quiet, edited
from support.servers import Server, listens, soon

Kitchens = Callable[..., Server]

ROAST = json.dumps({"dish": "roast", "portions": 1}).encode()
PATIENCE = {  # whole seconds, which is all they take, for requests that run when the server is stopped
    "fastapi-asyncio": ("--timeout-graceful-shutdown", "1"),
    "fastapi-uvloop": ("--timeout-graceful-shutdown", "1"),
    "starlette-trio": ("--graceful-timeout", "1"),
}

UNTIL_TOLD = """\
            while not await trio.Path("done").exists():
                await trio.sleep(0.05)
"""


def app_of(name: str) -> Path:
    return EXAMPLES / COMMANDS[name][0] / "app.py"


def served_one(server: Server) -> None:
    assert server.post({"dish": "soup", "portions": 1}).status == 200


@pytest.mark.parametrize("name", [*NOTICES, "flask"])
def test_ctrl_c_ends_the_server_and_the_organism(name: str, kitchens: Kitchens) -> None:
    server = kitchens(name)
    served_one(server)
    server.interrupt()
    assert server.ended() == 0
    books = server.last_books()
    assert (books["accepted"], books["handled"]) == (2, 2)  # the soup, and phloem's own Boot
    assert_quiet(server)


# uvicorn ends as who dies of the signal, once all is closed; hypercorn counts a stop as a success.
@pytest.mark.parametrize(
    ("name", "code"), [*((name, -signal.SIGTERM) for name in NOTICES[:2]), (NOTICES[2], 0)]
)
def test_a_process_manager_ends_it_as_well(name: str, code: int, kitchens: Kitchens) -> None:
    server = kitchens(name)
    served_one(server)
    server.terminate()
    assert server.ended() == code
    assert server.last_books()["handled"] == 2
    assert_quiet(server)


@pytest.mark.parametrize("name", NOTICES)
def test_what_runs_longer_than_the_server_waits_is_abandoned_and_accounted_for(
    name: str, kitchens: Kitchens
) -> None:
    server = kitchens(name, *PATIENCE[name])
    order = server.send("POST", "/ask", ROAST)
    try:
        server.books_where(lambda books: books["in_flight"] == 1, "the roast in the oven")
        server.interrupt()
        server.ended()
    finally:
        order.close()
    books = server.last_books()
    assert (books["accepted"], books["abandoned"]) == (2, 1)


@pytest.mark.parametrize("name", NOTICES)
def test_what_ends_while_the_server_waits_is_answered(name: str, kitchens: Kitchens, tmp_path: Path) -> None:
    folder = edited(app_of(name), tmp_path / "told", "            await trio.sleep(30)\n", UNTIL_TOLD)
    server = kitchens(name, folder=folder)
    order = server.send("POST", "/ask", ROAST)
    try:
        server.books_where(lambda books: books["in_flight"] == 1, "the roast in the oven")
        server.interrupt()
        time.sleep(0.3)  # in which the server sees that it is to stop
        (folder / "done").touch()
        assert order.getresponse().status == 200
    finally:
        order.close()
    assert server.ended() == 0
    assert server.last_books()["handled"] == 2
    assert_quiet(server)


@pytest.mark.parametrize("name", NOTICES[:2])
def test_a_second_ctrl_c_waits_for_nobody_and_still_accounts_for_every_message(
    name: str, kitchens: Kitchens
) -> None:
    server = kitchens(name)
    order = server.send("POST", "/ask", ROAST)
    try:
        server.books_where(lambda books: books["in_flight"] == 1, "the roast in the oven")
        server.interrupt()
        soon(lambda: "Waiting for connections to close" in server.err or None, "uvicorn to wait")
        server.interrupt()
        server.ended()
    finally:
        order.close()
    assert server.last_books()["abandoned"] == 1


def test_a_view_gives_up_in_time_and_takes_its_order_back(kitchens: Kitchens, tmp_path: Path) -> None:
    folder = edited(app_of("flask"), tmp_path / "hasty", "PATIENCE: Final = 10", "PATIENCE: Final = 0.2")
    server = kitchens("flask", folder=folder)
    answer = server.request("POST", "/ask", ROAST)
    assert (answer.status, answer.json) == (504, {"detail": "nothing to eat within 0.2 s"})
    books = server.books()
    assert (books["in_flight"], books["abandoned"]) == (0, 1)
    server.interrupt()
    assert server.ended() == 0
    assert_quiet(server)


def test_a_second_ctrl_c_ends_a_view_that_waits_and_still_accounts_for_every_message(
    kitchens: Kitchens,
) -> None:
    server = kitchens("flask")
    order = server.send("POST", "/ask", ROAST)
    try:
        server.books_where(lambda books: books["in_flight"] == 1, "the roast in the oven")
        server.interrupt()
        soon(lambda: None if listens(server.port) else True, "Flask to stop listening")
        time.sleep(0.2)  # so that it waits for the kitchen
        begun = time.monotonic()
        server.interrupt()
        server.ended()
        assert time.monotonic() - begun < 5
    finally:
        order.close()
    assert server.last_books()["abandoned"] == 1


@pytest.mark.parametrize("name", ["fastapi-asyncio", "starlette-trio", "flask"])
def test_a_fault_of_the_configuration_ends_the_server_with_that_fault_in_its_log(
    name: str, kitchens: Kitchens, tmp_path: Path
) -> None:
    folder = edited(app_of(name), tmp_path / "faulty", "responds_with=Plate", 'peers=["butler"]')
    server = kitchens(name, folder=folder)
    code = server.ended()
    # Hypercorn's first process is told of its worker's 1, and some versions (0.18) end with 0 all the same.
    assert code in {"fastapi": (3,), "starlette": (0, 1), "flask": (1,)}[name.partition("-")[0]], server.err
    assert "ConfigurationError: listener 'cook': found the unknown peer 'butler'" in server.err
    assert "accounted for" not in server.out


@pytest.mark.parametrize("name", [*NOTICES, "flask"])
def test_a_closed_organism_is_unavailable_and_the_server_goes_on(
    name: str, kitchens: Kitchens, tmp_path: Path
) -> None:
    folder = edited(app_of(name), tmp_path / "closing")
    (folder / "closing.py").write_text(CLOSING[name.partition("-")[0]], "utf-8")
    server = kitchens(name, folder=folder, module="closing")
    served_one(server)
    if name != "flask":
        assert server.request("GET", "/loop").json == name.partition("-")[2]  # on what it says it runs on
    assert server.request("POST", "/close").status == 200
    for _ in range(2):
        answer = server.post({"dish": "soup", "portions": 1})
        assert (answer.status, answer.json) == (503, {"detail": "the kitchen is closed"})
    assert server.books()["accepted"] == 2
    server.interrupt()
    assert server.ended() == 0
    assert server.last_books()["handled"] == 2
    assert_quiet(server)


CLOSING = {
    "fastapi": """\
import asyncio

from app import TheOrganism, app


@app.get("/loop")
async def loop() -> str:
    return type(asyncio.get_running_loop()).__module__.split(".")[0]


@app.post("/close")
async def close(organism: TheOrganism) -> None:
    await organism.shutdown()
""",
    "starlette": """\
import sniffio
from app import JSONResponse, Route, app


async def loop(request):
    return JSONResponse(sniffio.current_async_library())


async def close(request):
    await request.state.organism.shutdown()
    return JSONResponse(None)


app.router.routes += [Route("/loop", loop), Route("/close", close, methods=["POST"])]
""",
    "flask": """\
import app as kitchen


def create_app():
    app = kitchen.create_app()

    @app.post("/close")
    def close():
        app.extensions["organism"].shutdown()
        return {}

    return app
""",
}
