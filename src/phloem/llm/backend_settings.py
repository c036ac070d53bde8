"""One backend as it is configured: read, checked, named, with its key. Pure.

Decides which entries make a backend: a mapping for a provider of ours, a factory's mapping, or an object
that answers requests itself; how each is called; which variable holds its key. Opens and calls nothing.
Called by ``settings``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, cast, final
from urllib.parse import urlsplit

from phloem.config import CALL_TIMEOUT, MAX_CONCURRENT_CALLS, RATE_LIMIT_TPM, UNMETERED_TPM
from phloem.errors import ConfigurationFault

from .checks import Section, closest, shown
from .secret import Secret

__all__ = ["CUSTOM", "PROVIDERS", "SCRIPTED", "BackendSettings", "is_backend", "read_backends"]

PROVIDERS: Final = ("xai", "anthropic", "openai", "ollama")  # that are called over HTTP
SCRIPTED: Final = "scripted"
CUSTOM: Final = "custom"  # factories' and objects of somebody's own
KEY_VARIABLES: Final[Mapping[str, str]] = {  # unless api_key_env names another
    "xai": "XAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
}
OPENAI: Final = "api.openai.com"  # a server at another base_url is not sent OpenAI's key unasked

_COMMON: Final = (
    "provider",
    "name",
    "api_key",
    "api_key_env",
    "base_url",
    "priority",
    "rate_limit_tpm",
    "max_concurrent",
    "supported_models",
    "timeout",
    "headers",
    "optional",
    "stand_in",
)
_A_PROVIDER: Final = (
    f"one of {', '.join((*PROVIDERS, SCRIPTED))}, a function that makes a backend, or an object with async "
    "complete(request)"
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ADDRESS: Final = re.compile(r"https?://[^\s/]\S*")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, a token
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")  # what every HTTP library sends as it is
_KEY: Final = re.compile(r"[\x21-\x7e]+")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """One backend. What may hold a key is in no ``repr``.

    ``provider``: one of ours by its name, else the factory or the backend itself. ``base_url`` and
    ``api_key_env`` are empty where nothing says them. A ``stand_in`` is there only where no other is.
    ``options``: all keys but provider as they were written, for factories.
    """

    name: str
    provider: Any = field(repr=False)  # somebody's own object may tell all it has
    api_key: Secret | None = field(default=None, repr=False)
    api_key_env: str = ""
    base_url: str = ""
    priority: int = 1
    rate_limit_tpm: int = RATE_LIMIT_TPM
    max_concurrent: int = MAX_CONCURRENT_CALLS
    supported_models: tuple[str, ...] = ()
    timeout: float = CALL_TIMEOUT
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    optional: bool = False
    stand_in: bool = False
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @property
    def kind(self) -> str:
        """``xai``, ``anthropic``, ``openai``, ``ollama``, ``scripted``, or ``custom``."""
        return self.provider if isinstance(self.provider, str) else CUSTOM


@final
@dataclass(frozen=True, slots=True)
class _Read:
    """A backend that may still want a name; ``missing``: the variable for whose sake it is left out."""

    settings: BackendSettings
    missing: str = ""


def is_backend(value: object) -> bool:
    """True for an object with ``complete``; a class of such is a factory."""
    return not isinstance(value, (type, Mapping)) and callable(getattr(value, "complete", None))


def read_backends(
    entries: object, environ: Mapping[str, str], faults: list[ConfigurationFault]
) -> tuple[tuple[BackendSettings, ...], tuple[tuple[BackendSettings, str], ...]]:
    """The backends in order, and those left out, each with the variable that was not set.

    A stand-in is neither where another backend is there: it must never answer for one that is out for a
    minute. Names are unique without case: those given, and for the rest the provider's, with a number if
    need be.
    """
    where = "llm.backends"
    if isinstance(entries, (str, bytes)) or not isinstance(entries, Sequence):
        faults.append(ConfigurationFault(where, shown(entries), "a list of backends"))
        return (), ()
    read = [
        _read(entry, f"{where}[{place}]", environ, faults)
        for place, entry in enumerate(cast("Sequence[object]", entries))
    ]
    named = _named(read, where, faults)
    there = [each.settings for each in named if not each.missing]
    kept = tuple(each for each in there if not each.stand_in) or tuple(there)
    return kept, tuple((each.settings, each.missing) for each in named if each.missing)


def _read(
    entry: object, where: str, environ: Mapping[str, str], faults: list[ConfigurationFault]
) -> _Read | None:
    if is_backend(entry):
        return _Read(BackendSettings(name="", provider=entry, rate_limit_tpm=UNMETERED_TPM))
    before = len(faults)
    section = Section(
        entry, where, faults, "a mapping with provider …, or an object with async complete(request)"
    )
    if len(faults) > before:
        return None
    provider = _provider(section)
    name = section.text("name", "a name", _name_problem)
    if section.given.get("name") == "":
        section.fault("name", "an empty text", "a name")
    extras = ("transport",) if provider in PROVIDERS else ()
    if provider in PROVIDERS or is_backend(provider):
        section.only((*_COMMON, *extras))
    optional, base_url = section.flag("optional"), section.text("base_url", "an address", _address_problem)
    key, variable, missing = _key(section, provider, base_url, environ, optional=optional)
    settings = BackendSettings(
        name=name,
        provider=provider,
        api_key=key,
        api_key_env=variable,
        base_url=base_url,
        priority=section.whole("priority", 1, None),
        rate_limit_tpm=section.whole(
            "rate_limit_tpm",
            UNMETERED_TPM if provider == SCRIPTED or is_backend(provider) else RATE_LIMIT_TPM,
        ),
        max_concurrent=section.whole("max_concurrent", MAX_CONCURRENT_CALLS),
        supported_models=section.texts("supported_models", "a list of models' names"),
        timeout=section.seconds("timeout", CALL_TIMEOUT),
        headers=_headers(section),
        optional=optional,
        stand_in=section.flag("stand_in"),
        options=MappingProxyType({k: v for k, v in section.given.items() if k != "provider"}),
    )
    return _Read(settings, missing) if len(faults) == before else None


def _provider(section: Section) -> Any:
    if "provider" not in section.given:
        section.fault("provider", "nothing", _A_PROVIDER)
        return CUSTOM
    provider: Any = section.given["provider"]
    known = (*PROVIDERS, SCRIPTED)
    if isinstance(provider, str):
        if provider not in known:
            section.fault("provider", shown(provider), _A_PROVIDER + closest(provider, known))
    elif not callable(provider) and not is_backend(provider):
        section.fault("provider", shown(provider), _A_PROVIDER)
    return provider


def _key(
    section: Section, provider: Any, base_url: str, environ: Mapping[str, str], *, optional: bool
) -> tuple[Secret | None, str, str]:
    """(key, the variable it is in, that variable once more if the backend is left out for want of it)."""
    given: Any = section.given.get("api_key")
    if given is not None and not isinstance(given, Secret):
        section.fault(
            "api_key", f"a {type(given).__name__}", "a Secret, or api_key_env: the name of a variable"
        )
    variable = section.text("api_key_env", "the name of an environment variable", _variable_problem)
    if isinstance(given, Secret):
        return given, variable, ""
    elsewhere = provider == "openai" and base_url and urlsplit(base_url).hostname != OPENAI
    if not section.given.get("api_key_env") and isinstance(provider, str) and not elsewhere:
        variable = KEY_VARIABLES.get(provider, "")
    if not variable:
        return None, "", ""
    key = environ.get(variable, "").strip()  # a key read from a file ends in a line break
    if key and _KEY.fullmatch(key):
        return Secret(key), variable, ""
    if key:
        problem = (f"{variable} with characters that no key has", "the key as the provider showed it")
    elif optional:
        return None, variable, variable
    else:
        state = "set to nothing" if variable in environ else "not set"
        whose = section.given.get("name") or (provider if isinstance(provider, str) else "the backend")
        expected = f"{variable} in the environment, or in a .env beside organism.yaml; or optional: true"
        problem = (f"{variable}, which is {state}, for the key of {whose}", expected)
    section.fault("api_key_env", *problem)
    return None, variable, ""


def _headers(section: Section) -> Mapping[str, str]:
    """Never quoted: one of them may hold a key."""
    given: Any = section.given.get("headers", {})
    words = "a mapping of headers' names to text"
    if not isinstance(given, Mapping):
        section.fault("headers", f"a {type(given).__name__}", words)
        return {}
    headers = cast("Mapping[object, object]", given)
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER.fullmatch(name):
            section.fault("headers", "a name that no header has", words)
        elif not isinstance(value, str) or not _VALUE.fullmatch(value):
            section.fault(f"headers[{name!r}]", "what no header holds", "text in ASCII, on one line")
    return MappingProxyType({str(name): str(value) for name, value in headers.items()})


def _name_problem(name: str) -> tuple[str, str] | None:
    if name != name.strip() or not name.isprintable() or "/" in name:
        return shown(
            name
        ), "a name without / and spaces around it: backend/model means a model of one backend"
    return None


def _variable_problem(text: str) -> tuple[str, str] | None:
    if _VARIABLE.fullmatch(text):
        return None
    # Never quoted: somebody may have pasted the key itself.
    return "something that cannot name a variable", "the name of an environment variable, such as XAI_API_KEY"


def _address_problem(text: str) -> tuple[str, str] | None:
    if "@" in text:  # never quoted: a password would stand before it
        return "an address with a user or password", "an address without; a header may say who calls"
    return (
        None if _ADDRESS.fullmatch(text) else (shown(text), "an address that begins with http:// or https://")
    )


def _named(read: Sequence[_Read | None], where: str, faults: list[ConfigurationFault]) -> list[_Read]:
    first: dict[str, int] = {}
    for place, each in enumerate(read):
        if each is not None and (name := each.settings.name):
            before = first.setdefault(name.casefold(), place)
            if before != place:
                found = f"{shown(name)} a second time, after backends[{before}]"
                faults.append(ConfigurationFault(f"{where}[{place}].name", found, "each backend's own name"))
    taken = set(first)
    named: list[_Read] = []
    for each in read:
        if each is None:
            continue
        if not each.settings.name:
            stem = name = _stem(each.settings.provider)
            number = 1
            while name.casefold() in taken:
                number += 1
                name = f"{stem}-{number}"
            taken.add(name.casefold())
            each = replace(each, settings=replace(each.settings, name=name))
        named.append(each)
    return named


def _stem(provider: Any) -> str:
    """What a backend is called that was given no name: its provider, or what an object calls itself."""
    if isinstance(provider, str):
        return provider
    own = getattr(provider, "name", None) if is_backend(provider) else None
    return own if isinstance(own, str) and own and _name_problem(own) is None else CUSTOM
