"""The tables of ``llm``: its keys, a backend's, a script's, and the range of each.

Decides which keys a backend may have: those of a provider of ours are known, a factory's are its own.
Imports nothing and knows no other section; ``llm`` looks at the section as a whole. For ``keys``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard, cast, final

from .plain import Headers, Plain
from .report import FileReport, Path, Report, quoted, suggesting
from .rules import Choice, Flag, Number, Seconds, Text, Texts, Whole, shown, tell
from .sections import Each, Either, Key, Keys, Named, Section
from .tree import Scalar, Table, Value

PROVIDERS: Final = ("xai", "anthropic", "openai", "ollama", "scripted")
TEMPERATURE: Final = Number("a number from 0 to 2", high=2.0, zero=True, optional=True)
A_FACTORY: Final = "an import path such as package.module:factory"

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PRICE: Final = Number("money per million tokens, 0 or more", zero=True, exact=True)


def _variable_problem(text: str) -> tuple[str, str] | None:
    if _VARIABLE.fullmatch(text):
        return None
    # Never quoted: somebody may have pasted the key itself.
    return "something that cannot name a variable", "the name of an environment variable, such as XAI_API_KEY"


def _address_problem(text: str) -> tuple[str, str] | None:
    if "@" in text:  # never quoted: a password would stand before it; errors of calls tell their address
        return "an address with a user or password", "an address without; a header may say who calls"
    if "?" in text or "#" in text:  # a key may stand there, and addresses are logged
        return "an address with a query or a fragment", "an address without; a header may say more"
    if re.fullmatch(r"https?://[^\s/]\S*", text):
        return None
    return quoted(text), "an address that begins with http:// or https://"


def _backend_name_problem(text: str) -> tuple[str, str] | None:
    if not text or text != text.strip() or not text.isprintable() or "/" in text:
        found = f"the text {quoted(text)}" if text else "an empty text"
        return found, "a name without / and spaces around it: backend/model means a model of one backend"
    return None


def is_path(provider: object) -> TypeGuard[str]:
    """True for what is meant as an import path: no provider of ours has a dot or a colon."""
    return isinstance(provider, str) and ("." in provider or ":" in provider)


def is_backend(value: object) -> bool:
    """True for what answers requests itself: an object with ``complete``, no class of such."""
    return not isinstance(value, (type, Mapping)) and callable(getattr(value, "complete", None))


@final
@dataclass(frozen=True, slots=True)
class _Provider:
    """One of ours, an import path; from Python a factory or a backend as well."""

    expected: str = f"one of {', '.join(PROVIDERS)}, or {A_FACTORY}"

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        return Text(self.expected).read(value, path, report)

    def check(self, value: Any, path: Path, report: Report) -> None:
        if isinstance(value, str):
            if value not in PROVIDERS and not is_path(value):
                tell(report, path, shown(value), suggesting(self.expected, value, PROVIDERS))
        elif not callable(value) and not is_backend(value):
            tell(report, path, shown(value), self.expected)


BACKEND: Final[Keys] = {
    "provider": Key(_Provider(), required=True),
    "name": Key(Text("a name", problem=_backend_name_problem)),
    "api_key_env": Key(Text("the name of an environment variable", problem=_variable_problem)),
    "base_url": Key(Text("an address", problem=_address_problem)),
    "priority": Key(Whole(None)),
    "rate_limit_tpm": Key(Whole()),
    "max_concurrent": Key(Whole()),
    "supported_models": Key(Texts("a list of models' names")),
    "timeout": Key(Seconds()),
    "headers": Key(Headers()),
    "optional": Key(Flag()),
    "stand_in": Key(Flag()),
}

# -- scripts -----------------------------------------------------------------------------------
_USAGE: Final[Keys] = dict.fromkeys(
    ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens"), Key(Whole(0))
)
_ANSWER: Final[Keys] = {
    "text": Key(Text()),
    "reasoning": Key(Text()),
    "delay": Key(Seconds(zero=True, none=True)),
    "pause": Key(Seconds(zero=True, none=True)),
    "chunks": Key(Either(Texts("a list of texts"), Whole())),
    "status": Key(Whole(400, 599)),
    "retry_after": Key(Seconds(zero=True)),
    "cut": Key(Whole(0)),
    "stall": Key(Whole(0)),
    "stop_reason": Key(Choice(("stop", "length", "tool_calls", "content_filter", "other"))),
    "usage": Key(Section(_USAGE, "a mapping with prompt_tokens, completion_tokens …")),
}
_WHEN: Final[Keys] = {"text": Key(Text()), "pattern": Key(Text()), "agent": Key(Text())}


@final
class _Answer:
    """A text, or a mapping. From Python also whatever the scripted backend makes something of."""

    def __init__(self, keys: Keys) -> None:
        self.expected = f"a text, or a mapping with {', '.join(keys)}"
        self._keys = Section(keys, self.expected)

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        if isinstance(value, Scalar):
            return Text(self.expected).read(value, path, report)
        return self._keys.read(value, path, report)

    def check(self, value: Any, path: Path, report: Report) -> None:
        if isinstance(value, Mapping):
            self._keys.check(value, path, report)


@final
@dataclass(frozen=True, slots=True)
class _When:
    """A text of the last message, or a mapping of conditions."""

    expected: str = f"a text of the last message, or a mapping with {', '.join(_WHEN)}"

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        if isinstance(value, Table):
            return Section(_WHEN, self.expected).read(value, path, report)
        return Text(self.expected).read(value, path, report)

    def check(self, value: Any, path: Path, report: Report) -> None:
        if isinstance(value, Mapping):
            Section(_WHEN, self.expected).check(value, path, report)
        else:
            Text(self.expected, empty=False).check(value, path, report)


@final
@dataclass(frozen=True, slots=True)
class _Function:
    """The import path of a function of the request; from Python the function."""

    expected: str = "the import path of a function of the request"

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        return Text(self.expected).read(value, path, report)

    def check(self, value: Any, path: Path, report: Report) -> None:
        if not callable(value):
            Text(self.expected, empty=False).check(value, path, report)


_RULE: Final[Keys] = {
    **_ANSWER,
    "when": Key(_When()),
    "answers": Key(Each(_Answer(_ANSWER), "a list of answers")),
}
SCRIPTED: Final[Keys] = {
    "script": Key(Either(Each(_Answer(_RULE), "a list of answers"), _Function()), required=True),
    "repeat": Key(Flag()),
}

# -- the section -------------------------------------------------------------------------------
_OURS: Final = Section(
    BACKEND,
    "a mapping with provider …",
    dict.fromkeys(SCRIPTED, "belongs to a backend of provider: scripted")
    | {"api_key": "would stand here for all to read: api_key_env names a variable that has it"},
)
_SCRIPTED: Final = Section({**BACKEND, **SCRIPTED}, _OURS.expected, _OURS.homes)
_FACTORYS: Final = Section(BACKEND, _OURS.expected, others=Plain())


_FROM_PYTHON: Final = ("transport", "api_key")  # objects, of which no file can speak


@final
@dataclass(frozen=True, slots=True)
class _Backend:
    """A backend, whose provider says which keys it has. From Python it may be an object that answers."""

    expected: str = _OURS.expected

    def read(self, value: Value, path: Path, report: FileReport) -> object:
        given = value.entries if isinstance(value, Table) else ()
        provider = next(
            (each.text for key, each in given if key.text == "provider" and isinstance(each, Scalar)), ""
        )
        return self._keys(provider).read(value, path, report)

    def check(self, value: Any, path: Path, report: Report) -> None:
        if is_backend(value):
            return
        given = cast("Mapping[str, object]", value if isinstance(value, Mapping) else {})
        hidden = {key for key in _FROM_PYTHON if key in given and not isinstance(given[key], str)}
        keys = self._keys(given.get("provider"))
        if hidden:
            keys.check({key: each for key, each in given.items() if key not in hidden}, path, report)
        else:
            keys.check(value, path, report)

    def _keys(self, provider: object) -> Section:
        if provider == "scripted":
            return _SCRIPTED
        if not provider or (isinstance(provider, str) and not is_path(provider)):
            return _OURS
        return _FACTORYS


_A_PRICE: Final = Section(
    {"input": Key(_PRICE, required=True), "output": Key(_PRICE, required=True), "cached": Key(_PRICE)},
    "a mapping with input, output, cached: money per million tokens",
)
_DEFAULTS: Final[Keys] = {"temperature": Key(TEMPERATURE), "max_tokens": Key(Whole())}
LLM: Final[Keys] = {
    "strategy": Key(Choice(("failover", "round-robin", "least-loaded"))),
    "retries": Key(Whole(0)),
    "retry_base_delay": Key(Seconds(zero=True)),
    "retry_max_delay": Key(Seconds(zero=True)),
    "backends": Key(Each(_Backend(), "a list of backends")),
    "default_model": Key(Text("a model's name", empty=False)),
    "defaults": Key(Section(_DEFAULTS, "a mapping with temperature, max_tokens")),
    "max_history_tokens": Key(Whole()),
    "prices": Key(Named(_A_PRICE, "a mapping of models' names to prices")),
}
LLM_SECTION: Final = Section(
    LLM,
    "a mapping with strategy, backends …",
    {
        **dict.fromkeys((*BACKEND, *SCRIPTED), "belongs to a backend in backends:"),
        **dict.fromkeys(_DEFAULTS, "belongs under defaults:"),
        **dict.fromkeys(("input", "output", "cached"), "belongs under a model in prices:"),
        "model": "is default_model here",
    },
)
