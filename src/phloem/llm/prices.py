"""What tokens cost, in whole numbers, and which price is a model's. Pure.

Decides that nothing is undercounted: prices are rounded up, to the trillionth of the currency for one
token. Knows no currency and no provider. Called by ``settings``, and by whoever reserves and counts cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Final, final

from .choosing import matches
from .requests import TokenUsage

__all__ = ["PICOS", "Price", "per_million", "price_for"]

PICOS: Final = 10**12  # in one of the currency: 0.0375 for a million tokens is still a whole number for one
MILLION: Final = 10**6  # tokens, for which providers name their prices


@final
@dataclass(frozen=True, slots=True)
class Price:
    """What one token of a model costs, in picos: trillionths of the currency."""

    input: int
    output: int
    cached: int

    def of(self, usage: TokenUsage) -> int:
        """What a call has cost, in picos.

        Tokens that are in the total only (some providers count what a model thinks so) are paid as answered.
        """
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        answered = max(usage.completion_tokens, usage.total_tokens - usage.prompt_tokens)
        return (usage.prompt_tokens - cached) * self.input + cached * self.cached + answered * self.output

    def at_most(self, prompt_tokens: int, completion_tokens: int) -> int:
        """What a call of so many tokens can cost, in picos."""
        return prompt_tokens * max(self.input, self.cached) + completion_tokens * self.output


def per_million(amount: float | Decimal) -> int:
    """Picos for one token, rounded up, of an amount for a million: exact, as it is written in decimal."""
    picos = Decimal(str(amount)) * (PICOS // MILLION)
    return int(picos.to_integral_value(ROUND_CEILING))


def price_for(prices: Mapping[str, Price], names: tuple[str, ...]) -> Price | None:
    """The price of the first of these names that has one of its own; else the longest pattern's; else None.

    Case is no difference. Of patterns of one length the first in the mapping counts.
    """
    exact = {key.casefold(): price for key, price in prices.items() if "*" not in key}
    for name in names:
        if name.casefold() in exact:
            return exact[name.casefold()]
    fitting = [key for key in prices if "*" in key and any(matches(name, key) for name in names)]
    return prices[max(fitting, key=len)] if fitting else None
