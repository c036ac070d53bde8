"""How long a backend that failed is left alone, and which failures are worth another attempt.

Decides by the error alone: what the provider asked for, or exponential backoff with full jitter. Takes
chance from the organism's random and time from its caller. Never imports trio. Called by ``gateway``.
"""

from __future__ import annotations

import math
from typing import Final, final

from phloem.errors import AuthenticationError, BackendError, NoBackend, ProviderError, RateLimitError
from phloem.messages import Random

__all__ = ["Outage", "worth_another"]

_PASSING: Final = frozenset({408, 409, 425, 429})  # of the 4xx: those that another moment may not see
_SERVERS_FAULT: Final = 500  # and above; 529 is one provider's word for overloaded
_MOST_DOUBLINGS: Final = 60  # past any delay; 2.0**1024 would overflow


def worth_another(error: BaseException) -> bool:
    """True if the same request may fare better, there or elsewhere; False for a final answer."""
    if isinstance(error, ProviderError):
        return error.status_code in _PASSING or error.status_code >= _SERVERS_FAULT
    return isinstance(error, BackendError) and not isinstance(error, (AuthenticationError, NoBackend))


@final
class Outage:
    """Until when one backend is out, and how many failures in a row it has had.

    Failures of calls that were under way side by side are one in that row: twenty calls cut by one fault
    do not make the wait a million times longer.
    """

    def __init__(self, base_delay: float, max_delay: float, random: Random) -> None:
        self.until = -math.inf  # on the caller's clock
        self._row = 0
        self._base, self._max, self._random = base_delay, max_delay, random

    def begin(self) -> int:
        """An attempt begins; what it gets is shown to ``failed``."""
        return self._row

    def failed(self, error: BackendError, began: int, now: float) -> None:
        """An attempt failed in a way that is worth another. Never shortens an outage."""
        asked = error.retry_after if isinstance(error, RateLimitError) else None
        if asked is None or math.isnan(asked):
            self._row = self._row + 1 if began == self._row else max(self._row, 1)
            doublings = min(self._row - 1, _MOST_DOUBLINGS)
            # Full jitter: those that failed together do not come back together.
            asked = self._random.random() * min(self._max, self._base * 2**doublings)
        self.until = max(self.until, now + asked)

    def succeeded(self) -> None:
        """An attempt got its answer: the row is over. An outage told by another one meanwhile stands."""
        self._row = 0
