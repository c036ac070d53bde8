"""What a handler may return -> the messages it sends.

Decides what counts as an answer: None, a response, a list of them, or bytes. Provenance is
not read here: whatever the handler wrote about ``from`` or ``thread`` is dropped, and the
pump stamps what it knew before the handler ran. Pure; the pump calls it after a dispatch.
"""

from __future__ import annotations

from typing import Any, Final, cast, final

from phloem.errors import PhloemError
from phloem.messages import HandlerResponse
from phloem.wire.parsing import quoted

__all__ = ["BadReturn", "read_return"]

_PLAIN: Final = (str, int, float, bool)  # the repr of any other class may be the user's code
MAY_RETURN: Final = "None, a HandlerResponse, a list of them, or bytes"


@final
class BadReturn(PhloemError):
    """A handler returned something that is no answer. Its dispatch has failed; no retry mends it."""


def read_return(returned: Any) -> list[HandlerResponse] | bytes:
    """The responses in what a handler returned; raw XML as it is. Raises BadReturn."""
    if returned is None:
        return []
    if type(returned) is HandlerResponse:
        _check(returned)
        return [returned]
    if isinstance(returned, bytes):
        return returned
    if not isinstance(returned, list):
        raise BadReturn(f"returned {_name(returned)}, expected {MAY_RETURN}")
    responses: list[HandlerResponse] = []
    for index, response in enumerate(cast("list[object]", returned)):
        if not isinstance(response, HandlerResponse):
            raise BadReturn(f"returned a list with {_name(response)} at [{index}], expected HandlerResponse")
        _check(response)
        responses.append(response)
    if len({response.is_response for response in responses}) > 1:
        raise BadReturn(
            "returned forwards and responds in one list, expected either: a respond ends the thread"
        )
    return responses


def _check(response: Any) -> None:
    if response.payload is None:
        raise BadReturn(
            "returned a HandlerResponse without a payload, expected one; return None to send nothing"
        )
    if response.to is not None and not isinstance(response.to, str):
        raise BadReturn(
            f"returned a HandlerResponse to {_name(response.to)}, expected a listener's name or None"
        )


def _name(value: object) -> str:
    if type(value) in _PLAIN:
        return f"{type(value).__name__} {quoted(repr(value))}"
    return type(value).__name__
