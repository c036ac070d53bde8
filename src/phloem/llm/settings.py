"""The ``llm`` section, read: what the router goes by. Pure.

Decides defaults and ranges of the section, and says all faults at once, each with its place. Opens
nothing, imports no provider, keeps keys hidden. Called by whoever opens a router.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, cast, final

from phloem.config import (
    LLM_RETRIES,
    LLM_RETRY_BASE_DELAY,
    LLM_RETRY_MAX_DELAY,
    MAX_HISTORY_TOKENS,
    MAX_TOKENS,
    TEMPERATURE,
)
from phloem.errors import ConfigurationError, ConfigurationFault

from .backend_settings import BackendSettings, read_backends
from .checks import Section
from .choosing import Strategy, route
from .prices import Price, per_million, price_for
from .secret import Secret

__all__ = ["BackendSettings", "LLMSettings", "Price", "Secret", "Strategy", "read_settings"]

HOTTEST: Final = 2.0  # what any provider takes as temperature

_KEYS: Final = (
    "strategy",
    "retries",
    "retry_base_delay",
    "retry_max_delay",
    "backends",
    "default_model",
    "defaults",
    "max_history_tokens",
    "prices",
)
_A_PRICE: Final = "a mapping with input, output, cached: money per million tokens"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LLMSettings:
    """How models are called. Delays in seconds; ``temperature`` None leaves it to the provider.

    ``left_out``: optional backends without a key, by name, with the variable that it would be in.
    """

    strategy: Strategy = Strategy.FAILOVER
    retries: int = LLM_RETRIES
    retry_base_delay: float = LLM_RETRY_BASE_DELAY
    retry_max_delay: float = LLM_RETRY_MAX_DELAY
    backends: tuple[BackendSettings, ...] = ()
    default_model: str = ""
    prices: Mapping[str, Price] = field(default_factory=dict[str, Price])
    temperature: float | None = TEMPERATURE
    max_tokens: int = MAX_TOKENS
    max_history_tokens: int = MAX_HISTORY_TOKENS
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])

    def price(self, model: str, backend: str = "") -> Price | None:
        """The price of a model, or None where none is configured.

        ``model`` may be ``backend/model``. A price for ``backend/model`` goes before one for the model; an
        exact name before a pattern, of patterns the longest.
        """
        head, slash, rest = model.partition("/")
        if slash and any(head.casefold() == each.name.casefold() for each in self.backends):
            backend, model = head, rest
        names = (f"{backend}/{model}", model) if backend else (model,)
        return price_for(self.prices, names)


def read_settings(llm_config: Mapping[str, Any], environ: Mapping[str, str]) -> LLMSettings:
    """The settings that a section says; keys are looked for in ``environ`` only.

    Raises ConfigurationError, with all faults.
    """
    faults: list[ConfigurationFault] = []
    section = Section(llm_config, "llm", faults, "a mapping with strategy, backends …")
    section.only(_KEYS)
    defaults = Section(
        section.given.get("defaults", {}), "llm.defaults", faults, "a mapping with temperature, max_tokens"
    )
    defaults.only(("temperature", "max_tokens"))
    backends, left_out = read_backends(section.given.get("backends", ()), environ, faults)
    settings = LLMSettings(
        strategy=section.choice("strategy", Strategy.FAILOVER),
        retries=section.whole("retries", LLM_RETRIES, 0),
        retry_base_delay=section.seconds("retry_base_delay", LLM_RETRY_BASE_DELAY, zero=True),
        retry_max_delay=section.seconds("retry_max_delay", LLM_RETRY_MAX_DELAY, zero=True),
        backends=backends,
        default_model=section.text("default_model", "a model's name"),
        prices=_prices(section, faults),
        temperature=_temperature(defaults),
        max_tokens=defaults.whole("max_tokens", MAX_TOKENS),
        max_history_tokens=section.whole("max_history_tokens", MAX_HISTORY_TOKENS),
        left_out=MappingProxyType({each.name: variable for each, variable in left_out}),
    )
    if not faults and settings.default_model:
        _check_default(section, settings, (*backends, *(each for each, _ in left_out)))
    if faults:
        raise ConfigurationError(faults)
    return settings


def _temperature(defaults: Section) -> float | None:
    if defaults.given.get("temperature", TEMPERATURE) is None:
        return None
    return float(defaults.number("temperature", TEMPERATURE, "a number from 0 to 2", HOTTEST))


def _prices(section: Section, faults: list[ConfigurationFault]) -> Mapping[str, Price]:
    given: Any = section.given.get("prices", {})
    if not isinstance(given, Mapping):
        Section(given, "llm.prices", faults, "a mapping of models' names to prices")
        return {}
    prices: dict[str, Price] = {}
    seen: set[str] = set()
    for model, entry in cast("Mapping[object, object]", given).items():
        where = f"llm.prices[{model!r}]"
        if not isinstance(model, str) or not model or model.casefold() in seen:
            faults.append(ConfigurationFault(where, "no name, or one for the second time", "a model's name"))
            continue
        seen.add(model.casefold())
        before = len(faults)
        price = Section(entry, where, faults, _A_PRICE)
        if len(faults) > before:
            continue
        price.only(("input", "output", "cached"))
        for key in ("input", "output"):
            if key not in price.given:
                price.fault(key, "nothing", "money per million tokens")
        words = "money per million tokens, 0 or more"
        asked = per_million(price.number("input", 0, words))
        cached = per_million(price.number("cached", 0, words)) if "cached" in price.given else asked
        prices[model] = Price(asked, per_million(price.number("output", 0, words)), cached)
    return MappingProxyType(prices)


def _check_default(section: Section, settings: LLMSettings, backends: tuple[BackendSettings, ...]) -> None:
    """A default that nobody takes would fail every call that names no model."""
    where = route(settings.default_model, backends)
    if not backends or where.named or where.any:
        return
    found = f"{settings.default_model!r}, which no backend takes"
    section.fault("default_model", found, "a model of a backend's provider, or in its supported_models")
