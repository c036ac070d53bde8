"""What is raised when a provider does not answer: which error of the tree, and what it says.

Decides which status is which error, how a provider's own words are found in what it sent, and that no
key and no header ever stands in a text. Pure; for ``backend``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast, final

from phloem.errors import (
    AuthenticationError,
    BackendError,
    ProviderError,
    RateLimitError,
    TruncatedError,
)

__all__ = ["LONGEST_SAID", "Failures", "Told", "Unreadable", "retry_after", "words"]

LONGEST_SAID: Final = 500  # characters of a provider's own words: a paragraph one still reads
_SECONDS: Final = re.compile(r"-?\d{1,15}(\.\d{1,9})?")  # no nan, no 1e999
_HIDDEN: Final = "***"
_REDIRECTS: Final = range(300, 400)


@final
class Unreadable(Exception):  # becomes a BackendError where the backend's name is known
    """What came is no answer. ``str`` says what was found."""


@final
class Told(Exception):  # likewise
    """The provider told of a failure inside an answer that had begun with success."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


@final
class Failures:
    """The errors of one backend. Every text goes through ``clean``."""

    def __init__(self, backend: str, hidden: Sequence[str] = ()) -> None:
        self._backend = backend
        # The longest first: one may be a part of another.
        self._hidden = sorted({each for each in hidden if each}, key=lambda each: (-len(each), each))

    def clean(self, text: str) -> str:
        """As one line of printable characters without anything hidden, at most ``LONGEST_SAID``."""
        for each in self._hidden:
            text = text.replace(each, _HIDDEN)
        text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
        return text if len(text) <= LONGEST_SAID else text[: LONGEST_SAID - 1] + "…"

    def connection(self, why: str, model: str) -> BackendError:
        """It could not be reached, or hung up before it had begun to answer."""
        return BackendError(self._text(f"no connection: {why}"), backend=self._backend, model=model)

    def unreadable(self, found: str, model: str) -> BackendError:
        """It answered something that is no answer."""
        return BackendError(self._text(f"no answer: found {found}"), backend=self._backend, model=model)

    def truncated(self, why: str, partial: str, model: str) -> TruncatedError:
        """Its answer broke off."""
        text = self._text(f"the answer broke off: {why}")
        return TruncatedError(text, partial=partial, backend=self._backend, model=model)

    def refused(self, status: int, said: str, model: str, after: float | None = None) -> BackendError:
        """It answered with a status of failure. ``after``: seconds, of Retry-After."""
        where, said = {"backend": self._backend, "model": model}, said.strip() or "(nothing)"
        text = self._text(f"answered {status}: {said}")
        if status in (401, 403):
            return AuthenticationError(text, **where)
        if status == 429:
            return RateLimitError(text, retry_after=after, **where)
        if status in _REDIRECTS:
            text = self._text(f"answered {status}, a redirect (none is followed: the key would go along)")
        return ProviderError(text, status_code=status, **where)

    def _text(self, text: str) -> str:
        return self.clean(f"backend {self._backend!r}: {text}")


def retry_after(headers: Mapping[str, str], wall: float) -> float | None:
    """How many seconds a provider asks us to wait; None where it does not, or not so that it can be read.

    ``retry-after-ms`` is what OpenAI and Azure send beside, and finer. ``wall``: seconds since 1970, now.
    """
    if _SECONDS.fullmatch(in_ms := headers.get("retry-after-ms", "").strip()):
        return max(0.0, float(in_ms) / 1000)
    given = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(given):
        return max(0.0, float(given))
    try:
        date = parsedate_to_datetime(given)
        # A date of the zone -0000 comes back without one; a server that means its own time is not told apart.
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - wall
    except (ValueError, TypeError, IndexError, OverflowError):
        return None  # neither form; the caller has its own backoff
    return max(0.0, seconds) if math.isfinite(seconds) else None


def words(body: bytes) -> str:
    """What a provider said of its failure: the message in its JSON, else what it sent, as text."""
    text = body.decode("utf-8", "replace")
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _message(found) or text


def _message(found: Any) -> str:
    """OpenAI, Anthropic: ``error.message``; Ollama, xAI: ``error``; others ``message`` or ``detail``."""
    if isinstance(found, list) and found:
        return _message(cast("list[object]", found)[0])
    if not isinstance(found, dict):
        return found if isinstance(found, str) else ""
    told = cast("dict[str, Any]", found)
    for name in ("error", "message", "detail"):
        if inner := told.get(name):
            return _message(inner)
    return ""
