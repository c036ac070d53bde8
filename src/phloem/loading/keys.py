"""The tables of keys: what organism.yaml may say, and as which attribute it is kept.

Decides names of keys and the range of each; a table row per key, nothing else. ``read``
walks them over a file, ``checks`` over a configuration that Python built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from phloem.config import OnFull, OnShort, RunsOn, ThreadScheduling, Usage, Wait

from .llm_keys import LLM, LLM_SECTION, TEMPERATURE
from .names import listener_name_problem, organism_name_problem, source_name_problem
from .rules import Choice, Flag, Number, Seconds, Text, Texts, Whole
from .sections import Each, Key, Keys, Section

LIBXML_DEPTH: Final = 256  # a limit past it would promise what the parser refuses
LIBXML_TEXT: Final = 10_000_000  # the same for one text
FEWEST_THREADS: Final = 2  # a conversation's root and its first listener; with fewer none could begin

_USAGE: Final = tuple(word.value for word in Usage)
_PATH: Final = "an import path such as handlers.hello.Greeting, or a list of them"

_MONEY: Final = Number("money, more than 0, or none for no bound", none=True, optional=True)
LISTENER_BUDGETS: Final[Keys] = {
    "messages": Key(Whole(optional=True), "messages"),
    "seconds": Key(Seconds(none=True, optional=True), "seconds"),
    "tokens": Key(Whole(none=True, optional=True), "tokens"),
    "cost": Key(_MONEY, "cost"),
}
BUDGETS: Final[Keys] = {
    "messages": Key(Whole(optional=True), "messages"),
    "hops": Key(Whole(optional=True), "hops"),
    "depth": Key(Whole(optional=True), "depth"),
    "seconds": Key(Seconds(none=True, optional=True), "seconds"),
    "tokens": Key(Whole(none=True, optional=True), "tokens"),
    "cost": Key(_MONEY, "cost"),
    "repeats": Key(Whole(none=True, optional=True), "repeats"),
    "on_short": Key(Choice(tuple(word.value for word in OnShort), optional=True), "on_short"),
}
LIMITS: Final[Keys] = {
    "max_bytes": Key(Whole(), "max_bytes"),
    "max_model_bytes": Key(Whole(), "max_model_bytes"),
    "max_markup": Key(Whole(), "max_markup"),
    "max_attributes": Key(Whole(), "max_attributes"),
    "max_depth": Key(Whole(high=LIBXML_DEPTH), "max_depth"),
    "max_text": Key(Whole(high=LIBXML_TEXT), "max_text"),
    "thread_parse_bytes": Key(Whole(), "thread_parse_bytes"),
}
MEMORY: Final[Keys] = {
    "max_slots_per_thread": Key(Whole(), "max_slots_per_thread"),
    "max_slots_per_conversation": Key(Whole(), "max_slots_per_conversation"),
    "max_bytes_per_conversation": Key(Whole(), "max_bytes_per_conversation"),
    "max_threads": Key(Whole(FEWEST_THREADS), "max_threads"),
    "max_todos": Key(Whole(0), "max_todos"),
    "on_full": Key(Choice(tuple(word.value for word in OnFull)), "on_full"),
    "keep_finished": Key(Whole(0), "keep_finished"),
}
EVENTS: Final[Keys] = {
    "max_history": Key(Whole(0), "max_history"),
    "max_history_bytes": Key(Whole(), "max_history_bytes"),
    "max_concurrent_handlers": Key(Whole(), "max_concurrent_handlers"),
    "buffer": Key(Whole(), "buffer"),
    "slow_after": Key(Seconds(), "slow_after"),
    "grace": Key(Seconds(zero=True), "grace"),
}
LISTENER: Final[Keys] = {
    "name": Key(Text("a name", problem=listener_name_problem), "name", required=True),
    "payload_class": Key(Texts(_PATH, one=True), "payload_class_path", required=True),
    "handler": Key(Text("an import path such as handlers.hello.greet", empty=False), "handler_path"),
    "description": Key(Text(), "description"),
    "agent": Key(Flag(), "is_agent"),
    "peers": Key(Texts("a list of listeners' names", optional=True), "peers"),
    "broadcast": Key(Flag(), "broadcast"),
    "prompt": Key(Text(), "prompt"),
    "responds_with": Key(Texts(_PATH, one=True), "responds_with_path"),
    "max_concurrent": Key(Whole(optional=True), "max_concurrent"),
    "retries": Key(Whole(0), "retries"),
    "retry_base_delay": Key(Seconds(zero=True), "retry_base_delay"),
    "retry_max_delay": Key(Seconds(zero=True), "retry_max_delay"),
    "handler_timeout": Key(Seconds(none=True, optional=True), "handler_timeout"),
    "budgets": Key(Section(LISTENER_BUDGETS, "a mapping with messages, seconds, tokens …"), "budgets"),
    "usage": Key(Choice(_USAGE, optional=True), "usage"),
    "runs_on": Key(Choice(tuple(word.value for word in RunsOn)), "runs_on"),
    "client_facing": Key(Flag(), "client_facing"),
    "service": Key(Flag(), "service"),
    "model": Key(Text("a model's name"), "model"),
    "temperature": Key(TEMPERATURE, "temperature"),
    "max_tokens": Key(Whole(optional=True), "max_tokens"),
    "max_history_tokens": Key(Whole(optional=True), "max_history_tokens"),
    "wait": Key(Choice(tuple(word.value for word in Wait)), "wait"),
    "stream": Key(Flag(), "stream"),
    "accept_early": Key(Flag(), "accept_early"),
    "max_attempts": Key(Whole(optional=True), "max_attempts"),
    "idempotent": Key(Flag(), "idempotent"),
}
HOOK: Final = Text("an import path such as app.hooks.log", empty=False)
STEP_KINDS: Final[Mapping[str, Keys]] = {  # what each ready-made step takes; ``by`` stands in for a step
    "tap": {"fn": Key(HOOK)},
    "reject_if": {"fn": Key(HOOK), "code": Key(Text("a word such as spam", empty=False))},
    "transform": {"fn": Key(HOOK)},
    "limit": {"n": Key(Whole())},
    "pace": {"interval": Key(Seconds())},
    "rate": {"per_second": Key(Number()), "burst": Key(Whole())},
    "deadline": {"seconds": Key(Seconds())},
    "sample": {
        "fraction": Key(Number("a number above 0, at most 1", high=1.0)),
        "fn": Key(HOOK),
    },
    "drop_if": {"fn": Key(HOOK)},
    "expand": {"fn": Key(HOOK)},
    "branch": {"predicate": Key(HOOK), "to": Key(Text("the name of a listener", empty=False))},
    "by": {"by": Key(HOOK)},
}
PLACES: Final = ("after", "before", "replace", "without")
A_STEP: Final = Text("the name of a step", empty=False)
EDIT: Final[Keys] = {
    **dict.fromkeys(PLACES, Key(A_STEP)),
    **{
        kind: next(iter(own.values()))
        if len(own) == 1
        else Key(Section(own, f"a mapping with {', '.join(own)}"))
        for kind, own in STEP_KINDS.items()
    },
    "name": Key(Text("a name", empty=False)),
}
SOURCE: Final[Keys] = {
    "name": Key(Text("a name", problem=source_name_problem), "name", required=True),
    "path": Key(Text("the path of a file, or - for stdin"), "path"),
    "command": Key(Texts("a list of words such as [tail, -f, orders.xml]"), "command"),
    "framing": Key(Choice(("xml", "ndjson", "lines")), "framing"),
    "to": Key(Text("the name of a listener"), "to"),
    "priority": Key(Flag(), "priority"),
}
EGRESS: Final = Texts("a list of listeners' names")
ORGANISM: Final[Keys] = {
    "name": Key(Text("a name", problem=organism_name_problem), "name"),
    "identity": Key(Text("the path of a key file", empty=False), "identity_path"),
    "port": Key(Whole(0, 65_535), "port"),
}

_IN_LIMITS: Final[Mapping[str, str]] = dict.fromkeys(LIMITS, "belongs under limits:")
_IN_MEMORY: Final[Mapping[str, str]] = dict.fromkeys(MEMORY, "belongs under memory:")
_IN_EVENTS: Final[Mapping[str, str]] = {
    key: "belongs under events:"
    for key in EVENTS
    if key != "max_concurrent_handlers"  # the top has one too
}
_IN_STEP_KINDS: Final[Mapping[str, str]] = {
    key: "belongs in the step's own mapping" if key == "fn" else f"belongs under {kind}:"
    for kind, own in STEP_KINDS.items()
    if len(own) > 1
    for key in own
}
_BELONGS: Final[Mapping[str, str]] = {
    **dict.fromkeys(LLM, "belongs under llm:"),
    **dict.fromkeys(
        ("provider", "api_key_env", "base_url", "rate_limit_tpm", "supported_models"),
        "belongs to a backend in backends: of llm:",
    ),
    **dict.fromkeys(ORGANISM, "belongs under organism:"),
    **{key: "belongs under a listener in listeners:" for key in LISTENER if key not in ORGANISM},
    **_IN_LIMITS,
    **_IN_MEMORY,
    **_IN_EVENTS,
    **dict.fromkeys(BUDGETS, "belongs under budgets:"),
    **dict.fromkeys((*PLACES, "tap", "branch"), "belongs to an edit in pipeline:"),
    **dict.fromkeys(("path", "command", "framing"), "belongs to a source in sources:"),
}
_TOP_SETTINGS: Final[Keys] = {
    "thread_scheduling": Key(Choice(tuple(word.value for word in ThreadScheduling)), "thread_scheduling"),
    "max_concurrent_pipelines": Key(Whole(), "max_concurrent_pipelines"),
    "max_concurrent_handlers": Key(Whole(), "max_concurrent_handlers"),
    "max_concurrent_per_agent": Key(Whole(), "max_concurrent_per_agent"),
    "max_sync_handlers": Key(Whole(), "max_sync_handlers"),
    "max_in_flight": Key(Whole(), "max_in_flight"),
    "max_attempts": Key(Whole(), "max_attempts"),
    "handler_timeout": Key(Seconds(none=True), "handler_timeout"),
    "shutdown_grace": Key(Seconds(zero=True), "shutdown_grace"),
    "keep_outcomes": Key(Whole(), "keep_outcomes"),
    "keep_outcome_bytes": Key(Whole(), "keep_outcome_bytes"),
    "usage": Key(Choice(_USAGE), "usage"),
    "allow_unknown_peers": Key(Flag(), "allow_unknown_peers"),
}
SETTINGS: Final[Keys] = {**ORGANISM, **_TOP_SETTINGS}  # single values, wherever the file has them

_SECTIONS: Final[Keys] = {
    "budgets": Key(Section(BUDGETS, "a mapping with messages, hops, tokens …"), "budgets"),
    "limits": Key(
        Section(LIMITS, "a mapping with max_bytes, max_text …", {**_IN_MEMORY, **_IN_EVENTS}),
        "wire",
    ),
    "memory": Key(
        Section(
            MEMORY,
            "a mapping with max_slots_per_thread, on_full …",
            {**_IN_LIMITS, **_IN_EVENTS},
        ),
        "memory",
    ),
    "events": Key(
        Section(EVENTS, "a mapping with max_history, buffer …", {**_IN_LIMITS, **_IN_MEMORY}),
        "events",
    ),
    "llm": Key(LLM_SECTION, "llm_config"),
    "pipeline": Key(
        Each(
            Section(EDIT, "a mapping such as {after: repair, tap: app.hooks.log}", _IN_STEP_KINDS),
            "a list of edits",
        ),
        "pipeline",
    ),
    "sources": Key(
        Each(Section(SOURCE, "a mapping with name, path, framing …"), "a list of sources"), "sources"
    ),
    "egress": Key(EGRESS, "egress"),
    "listeners": Key(
        Each(
            Section(
                LISTENER,
                "a mapping with name, payload_class, handler",
                {
                    **dict.fromkeys(
                        (*_TOP_SETTINGS, "limits", "memory", "events", "llm", "pipeline", "sources"),
                        "belongs at the top of the file, not under a listener",
                    ),
                    "egress": "belongs at the top of the file, as a list of listeners' names",
                },
            ),
            "a list of listeners",
        ),
        "listeners",
    ),
}
_TOP_KEYS: Final = ("organism", *_TOP_SETTINGS, *_SECTIONS)
TOP: Final = Section(
    {
        "organism": Key(
            Section(
                ORGANISM,
                "a mapping with name, identity, port",
                dict.fromkeys(_TOP_KEYS, "belongs at the top of the file, not under organism:"),
            )
        ),
        **_TOP_SETTINGS,
        **_SECTIONS,
    },
    "the keys of an organism, such as listeners:",
    {key: home for key, home in _BELONGS.items() if key not in _TOP_KEYS},
)
