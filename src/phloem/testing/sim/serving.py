"""In a fresh interpreter: find a program by its name, run it twice, write down what it did.

Decides what counts as a program here, and says of anything else what it is. The interpreter was started for
this alone by ``determinism``, which reads what is written; nobody else calls it.
"""

from __future__ import annotations

import base64
import functools
import importlib
import importlib.util
import inspect
import json
import os
import pickle
import platform
import sys
import traceback
from collections.abc import Awaitable
from typing import Any, Final, cast, final

from .injecting import FaultPlan
from .result import ending
from .running import Main, simulate

__all__ = ["program", "serve"]

RUNS: Final = 2  # the second finds what the first has left in the modules


@final
class _Problem(Exception):
    """Why there is nothing to run."""


def serve(job: dict[str, Any]) -> None:
    """Do what ``determinism`` asks for, and write ``PLACE.json`` last."""
    place = job["place"]
    told: dict[str, Any] = {"python": platform.python_version()}
    try:
        main = program(job["target"])
        faults = _plan(job["faults"])
        told["runs"] = [_run(main, faults, job, f"{place}.{number}.trace") for number in range(RUNS)]
    except _Problem as problem:
        told["problem"] = str(problem)
    except Exception:  # noqa: BLE001 - said over there: a strategy or a Trio that this interpreter lacks
        told["problem"] = f"found an error in place of a run:\n{traceback.format_exc()}"
    with open(f"{place}.part", "w", encoding="utf-8") as file:
        json.dump(told, file)
    os.replace(f"{place}.part", f"{place}.json")


def _run(main: Main, faults: FaultPlan | None, job: dict[str, Any], path: str) -> dict[str, str]:
    result = simulate(main, seed=job["seed"], strategy=job["strategy"], faults=faults)
    if isinstance(result.failure, _Problem):
        raise result.failure
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps((event.step, event.kind, event.text)) + "\n" for event in result.trace)
    return {"digest": result.digest, "ending": ending(result.value, result.failure), "trace": path}


def _plan(packed: str | None) -> FaultPlan | None:
    if packed is None:
        return None
    try:
        return FaultPlan(pickle.loads(base64.b64decode(packed)))
    except Exception:  # noqa: BLE001 - unpickling imports the user's modules; what they raise is said over there
        raise _Problem(f"found faults that this process cannot have:\n{traceback.format_exc()}") from None


def program(target: str) -> Main:
    """The async function that ``module:function`` or ``file.py:function`` names."""
    name, _, attributes = target.rpartition(":")
    module = _file(name) if name.endswith(".py") else _module(name)
    found: Any = module
    for part in attributes.split("."):
        if not hasattr(found, part):
            where = module.__name__ if found is module else found.__qualname__
            raise _Problem(f"found no {part!r} in {where}, expected an async function without arguments")
        found = getattr(found, part)
    if not callable(found):
        raise _Problem(f"found {type(found).__name__}, expected an async function without arguments")
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise _Problem(f"found a function with arguments ({error}), expected one without") from None
    return found if inspect.iscoroutinefunction(found) else _checked(cast("Main", found))


def _checked(main: Main) -> Main:
    """What is not plainly async may give something to await; that it does is seen when it is called."""

    @functools.wraps(main)
    async def checked() -> Any:
        awaitable: Awaitable[Any] | Any = main()
        if not inspect.isawaitable(awaitable):
            raise _Problem(
                f"found a function that gives {type(awaitable).__name__}, expected an async function"
            )
        return await awaitable

    return checked


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise _Problem(f"found no module {error.name!r} on sys.path, expected one") from None
        raise _failed(name) from None
    except (Exception, SystemExit):  # noqa: BLE001 - whatever a user's module raises is said over there
        raise _failed(name) from None


def _file(path: str) -> Any:
    """The module in a file, as if its package's folder, or its own, were the first on ``sys.path``."""
    whole = os.path.abspath(path)
    if not os.path.isfile(whole):
        raise _Problem(f"found no file {path!r} in {os.getcwd()}, expected a Python file")
    folder, file = os.path.split(whole)
    names = [file.removesuffix(".py")]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, name = os.path.split(folder)
        names.insert(0, name)
    name = ".".join(names)
    sys.path.insert(0, folder)
    known: Any = sys.modules.get(name)
    if known is not None:
        if os.path.abspath(getattr(known, "__file__", None) or "") == whole:
            return known
        name += "_"  # json.py, say: Python's own is there already
    parent = name.rpartition(".")[0]
    if parent:
        _module(parent)
    spec = importlib.util.spec_from_file_location(name, whole)
    if spec is None or spec.loader is None:
        raise _Problem(f"found {path!r} that is no Python file, expected one")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit):  # noqa: BLE001 - whatever a user's module raises is said over there
        raise _failed(path) from None
    return module


def _failed(name: str) -> _Problem:
    return _Problem(f"found an error when {name} was imported:\n{traceback.format_exc()}")
