"""What an organism is to be: its listeners and its limits, frozen, each default with its reason.

Decides defaults and the ranges of plain numbers. Reads no file, imports no user code
and looks at no payload class: ``loading`` and ``organism`` do.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, final

from .messages import HandlerMetadata

__all__ = [
    "Budgets",
    "EventLimits",
    "Handler",
    "ListenerConfig",
    "MemoryLimits",
    "OnFull",
    "OnShort",
    "OrganismConfig",
    "RunsOn",
    "SourceConfig",
    "StepConfig",
    "ThreadScheduling",
    "Usage",
    "Wait",
    "WireLimits",
]

type_or_types = type | Sequence[type]
Handler = Callable[[Any, HandlerMetadata], Awaitable[Any]]  # as the pump calls it
AnyHandler = Handler | Callable[[Any, HandlerMetadata], Any]  # as it is declared: plain functions as well


class ThreadScheduling(StrEnum):
    """Whose turn it is within one conversation: the oldest message first, or the newest."""

    BREADTH_FIRST = "breadth-first"
    DEPTH_FIRST = "depth-first"


class RunsOn(StrEnum):
    """Where a handler runs: on Trio, or awaited in the event loop of the program around it."""

    TRIO = "trio"
    HOST = "host"


class OnFull(StrEnum):
    """What a message meets whose thread or conversation remembers as much as it may."""

    FORGET_OLDEST = "forget_oldest"
    REFUSE = "refuse"


class OnShort(StrEnum):
    """What a call of a model meets whose tokens or cost do not fit what is left."""

    REFUSE = "refuse"
    SHRINK = "shrink"


class Wait(StrEnum):
    """When an agent hears the answers to what it sent: each as it comes, or all once the last is there."""

    EACH = "each"
    ALL = "all"


class Usage(StrEnum):
    """How an agent is told of its peers' payloads: a card of fields and an example, or the XSD as well."""

    CARDS = "cards"
    XSD = "xsd"


# -- the wire ---------------------------------------------------------------------------
MAX_STRANGER_BYTES: Final = 1024 * 1024  # 1 MiB: a long document; parses in about 10 ms
MAX_MODEL_BYTES: Final = 256 * 1024  # 256 KiB: more than a model writes in one answer
MAX_MARKUP: Final = 20_000  # "<" in one document; 100,000 attributes cost a naive pump 36 s
MAX_ATTRIBUTES: Final = 256  # "=" inside tags; our own shapes have none but declarations
MAX_DEPTH: Final = 200  # nested elements; libxml2 itself stops at 256
MAX_TEXT: Final = 1_000_000  # characters in one field; libxml2 refuses 10 MB text nodes
THREAD_PARSE_BYTES: Final = 64 * 1024  # parsing this takes about as long as a thread costs
PARSE_THREADS: Final = 2  # documents parsed aside at once; more only fight for the GIL
MAX_NAME: Final = 128  # characters in from, to and listeners' names
MAX_THREAD_ID: Final = 64  # characters; ours have at most 52

# -- concurrency --------------------------------------------------------------------------
MAX_CONCURRENT_PIPELINES: Final = 50  # the reference's default
MAX_CONCURRENT_HANDLERS: Final = 20  # the reference's default
MAX_CONCURRENT_PER_AGENT: Final = 5  # the reference's default: what one model account bears
MAX_SYNC_HANDLERS: Final = 20  # plain functions in threads at once: as many as handlers may run at all
MAX_IN_FLIGHT: Final = 1_000  # live conversations; at some KiB each, a few MiB

# -- time -----------------------------------------------------------------------------------
HANDLER_TIMEOUT: Final = 300.0  # seconds; a slow model call with retries ends well within it
SHUTDOWN_GRACE: Final = 10.0  # seconds; what supervisors grant between TERM and KILL, or less
RETRY_BASE_DELAY: Final = 0.1  # seconds before the first retry, doubled for each further one
RETRY_MAX_DELAY: Final = 30.0  # seconds; beyond it a waiting caller has given up
SLOW_AFTER: Final = 5.0  # seconds a cut handler may take to leave before a warning names it

# -- runaways -------------------------------------------------------------------------------
MAX_ATTEMPTS: Final = 3  # a sender that is wrong three times in a row is not going to be right
BUDGET_MESSAGES: Final = 10_000  # deliveries in one conversation; honest ones use hundreds
BUDGET_HOPS: Final = 1_000  # causal path; three nested tool calls use nine
BUDGET_DEPTH: Final = 256  # live thread tree; a delegation this deep is recursion
REPEATS: Final = 3  # messages in a row between two agents without a new word; thanks, and thanks for those
BUDGET_WARNING: Final = 0.8  # of a budget is spent: time to act, and late enough not to cry wolf
KEEP_OUTCOMES: Final = 1_024  # finished conversations that can still be waited for
KEEP_OUTCOME_BYTES: Final = 64 * 1024 * 1024  # of payloads in them; long answers would else keep 1 GiB
KEEP_TOLD: Final = 1_000  # rejections and dead letters kept in one outcome; all are counted

# -- models ---------------------------------------------------------------------------------
LLM_RETRIES: Final = 3  # the reference's default
LLM_RETRY_BASE_DELAY: Final = 1.0  # seconds; the reference's default
LLM_RETRY_MAX_DELAY: Final = 60.0  # seconds; the reference's default: limits are counted by the minute
RATE_LIMIT_TPM: Final = 100_000  # tokens a minute; the reference's default
UNMETERED_TPM: Final = 10**12  # of a backend without a provider who counts: scripts, objects of one's own
MAX_CONCURRENT_CALLS: Final = 20  # of one backend; the reference's default
CALL_TIMEOUT: Final = 120.0  # seconds for one attempt; the reference's default
MAX_TOKENS: Final = 1_024  # of one answer; the reference's default
TEMPERATURE: Final = 0.7  # the reference's default
MAX_HISTORY_TOKENS: Final = 32_000  # of a call; every model of today has room for it and for its answer
MAX_RESPONSE_BYTES: Final = 8 * 1024 * 1024  # 8 MiB of one HTTP answer: no model writes as much
BYTES_PER_TOKEN: Final = 4  # of text, for rates: what English takes; a budget reserves a token for each byte
TOKENS_PER_MESSAGE: Final = 16  # what its role and its borders take, at most, with every provider we met
KEEP_USAGE: Final = 1_024  # conversations whose usage can be read; as many as outcomes are kept

# -- memory -----------------------------------------------------------------------------------
MAX_SLOTS_PER_THREAD: Final = 1_000  # messages; more than any model's window holds, some 500 KiB
MAX_SLOTS_PER_CONVERSATION: Final = 10_000  # as many as a conversation may have messages
MAX_CONTEXT_BYTES: Final = 4 * 1024 * 1024  # 4 MiB a conversation: four of the longest documents
MAX_THREADS: Final = 20_000  # live at once: twenty for each seat, at 0.5 KiB a thread 10 MiB
MAX_TODOS: Final = 1_000  # open in one conversation; an agent that waits for more has lost count
MAX_TODO_DESCRIPTION: Final = 2_000  # characters; it stands in every nudge until the todo is closed
KEEP_FINISHED: Final = 0  # finished conversations whose context can be read; memory goes back at once

# -- events -----------------------------------------------------------------------------------
MAX_HISTORY: Final = 1_000  # events; the reference's default
MAX_HISTORY_BYTES: Final = 4 * 1024 * 1024  # 4 MiB: texts that grow with each delta would else fill 100 MiB
MAX_CONCURRENT_EVENT_HANDLERS: Final = 10  # the reference's default
MAILBOX: Final = 1_024  # events one subscription may be behind; a burst of a whole conversation
EVENT_SLOW_AFTER: Final = 1.0  # seconds after which a handler is named and holds up nobody else
EVENT_GRACE: Final = 1.0  # seconds; a thousand events of a handler that takes a millisecond each

PORT: Final = 8765  # the reference's default


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Bounds of one conversation. None inherits: from the organism, then from the defaults.

    ``messages``: deliveries. ``hops``: longest causal path. ``depth``: live thread tree.
    ``seconds``: time; ``math.inf`` for none. ``tokens``: of all calls of models, what is asked and
    what is answered; ``cost``: by the prices of the ``llm`` section; ``math.inf`` for no bound.
    ``repeats``: messages in a row between two agents without new content. ``on_short``: what a call
    meets whose tokens or cost do not fit any more. A listener's own know messages (its deliveries in
    one conversation), seconds (the sum of its dispatches), tokens and cost only.
    """

    messages: int | None = None
    hops: int | None = None
    depth: int | None = None
    seconds: float | None = None
    tokens: float | None = None
    cost: float | None = None
    repeats: float | None = None
    on_short: str | None = None

    def over(self, base: Budgets) -> Budgets:
        """These, and where they say nothing, the base's."""
        return Budgets(
            **{
                each.name: getattr(base, each.name) if (own := getattr(self, each.name)) is None else own
                for each in fields(Budgets)
            }
        )


DEFAULT_BUDGETS: Final = Budgets(
    messages=BUDGET_MESSAGES,
    hops=BUDGET_HOPS,
    depth=BUDGET_DEPTH,
    seconds=math.inf,
    tokens=math.inf,  # a bound in money and tokens is the operator's to know
    cost=math.inf,
    repeats=REPEATS,
    on_short=OnShort.REFUSE,
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class WireLimits:
    """What a document may cost before and while it is parsed."""

    max_bytes: int = MAX_STRANGER_BYTES
    max_model_bytes: int = MAX_MODEL_BYTES
    max_markup: int = MAX_MARKUP
    max_attributes: int = MAX_ATTRIBUTES
    max_depth: int = MAX_DEPTH
    max_text: int = MAX_TEXT
    thread_parse_bytes: int = THREAD_PARSE_BYTES


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimits:
    """What an organism remembers at most.

    Slots are messages of a thread's or a conversation's context, bytes their XML in UTF-8 (and the
    nudges that came with them), todos those open in one conversation. At ``max_threads`` live
    threads, over all conversations, strangers wait. ``keep_finished`` conversations stay readable,
    with what their pruned threads had.
    """

    max_slots_per_thread: int = MAX_SLOTS_PER_THREAD
    max_slots_per_conversation: int = MAX_SLOTS_PER_CONVERSATION
    max_bytes_per_conversation: int = MAX_CONTEXT_BYTES
    max_threads: int = MAX_THREADS
    max_todos: int = MAX_TODOS
    on_full: str = OnFull.FORGET_OLDEST
    keep_finished: int = KEEP_FINISHED


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EventLimits:
    """What the bus of an organism keeps and runs at most.

    ``max_history`` events (0 keeps none) of at most ``max_history_bytes`` stay readable;
    ``max_concurrent_handlers`` subscribers run at once, one that takes longer than ``slow_after``
    seconds not counted; ``buffer`` events wait for each. At the end what waits is delivered for
    ``grace`` seconds.
    """

    max_history: int = MAX_HISTORY
    max_history_bytes: int = MAX_HISTORY_BYTES
    max_concurrent_handlers: int = MAX_CONCURRENT_EVENT_HANDLERS
    buffer: int = MAILBOX
    slow_after: float = EVENT_SLOW_AFTER
    grace: float = EVENT_GRACE


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StepConfig:
    """One edit of the pipeline, as a file declares it: ``{after: repair, tap: app.hooks.log}``.

    ``edit``: after, before, replace or without; ``at``: the name of a step. ``kind`` is the
    ready-made step (``tap``, ``pace`` …; ``by`` for a replacement, empty for ``without``), and
    ``arguments`` are its own, by their names: callables, or (in ``paths``) import paths for them.
    """

    edit: str
    at: str
    kind: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    paths: Mapping[str, str] = field(default_factory=dict[str, str])
    name: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """One stream of messages that ``phloem run`` attaches: a ``path`` (``-`` is stdin) or a ``command``.

    ``framing``: xml, ndjson or lines; ``to``: the listener that lines without an address are for.
    """

    name: str
    path: str = ""
    command: Sequence[str] = ()
    framing: str = "xml"
    to: str = ""
    priority: bool = False


@final
@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """One listener as it is declared: classes and callables, or import paths for them."""

    name: str
    payload_class: type_or_types | None = None
    handler: AnyHandler | None = None
    description: str = ""
    is_agent: bool = False
    peers: Sequence[str] | None = None
    broadcast: bool = False
    prompt: str = ""
    payload_class_path: str | Sequence[str] = field(default="", kw_only=True)
    handler_path: str = field(default="", kw_only=True)
    responds_with: type_or_types | None = field(default=None, kw_only=True)
    responds_with_path: str | Sequence[str] = field(default="", kw_only=True)
    max_concurrent: int | None = field(
        default=None, kw_only=True
    )  # None: agents the organism's, others unbounded
    retries: int = field(default=0, kw_only=True)
    retry_base_delay: float = field(default=RETRY_BASE_DELAY, kw_only=True)
    retry_max_delay: float = field(default=RETRY_MAX_DELAY, kw_only=True)
    handler_timeout: float | None = field(default=None, kw_only=True)  # None: the organism's
    budgets: Budgets | None = field(default=None, kw_only=True)
    usage: str | None = field(default=None, kw_only=True)  # of an agent; None: the organism's
    runs_on: str = field(default=RunsOn.TRIO, kw_only=True)
    client_facing: bool = field(default=False, kw_only=True)  # a person watches what it says, and answers
    service: bool = field(default=False, kw_only=True)  # every listener may address it, whatever its peers
    # of an agent without a handler: phloem's own calls the model for it
    model: str = field(default="", kw_only=True)  # empty: the llm section's default_model
    temperature: float | None = field(default=None, kw_only=True)  # None: the llm section's defaults
    max_tokens: int | None = field(default=None, kw_only=True)
    max_history_tokens: int | None = field(default=None, kw_only=True)
    wait: str = field(default=Wait.EACH, kw_only=True)
    stream: bool = field(default=False, kw_only=True)  # its answer is told on the bus as it comes
    accept_early: bool = field(default=False, kw_only=True)  # what is whole goes while the rest still comes
    max_attempts: int | None = field(default=None, kw_only=True)  # None: the organism's
    idempotent: bool = field(default=False, kw_only=True)  # may get a message of an answer that is not whole


@final
@dataclass(frozen=True, slots=True)
class OrganismConfig:
    """One organism as it is declared."""

    name: str = "unnamed"
    listeners: Sequence[ListenerConfig] = ()
    identity_path: str = ""
    port: int = PORT
    thread_scheduling: str = ThreadScheduling.BREADTH_FIRST
    max_concurrent_pipelines: int = MAX_CONCURRENT_PIPELINES
    max_concurrent_handlers: int = MAX_CONCURRENT_HANDLERS
    max_concurrent_per_agent: int = MAX_CONCURRENT_PER_AGENT
    llm_config: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)  # it may hold secrets
    max_sync_handlers: int = field(default=MAX_SYNC_HANDLERS, kw_only=True)
    max_in_flight: int = field(default=MAX_IN_FLIGHT, kw_only=True)
    max_attempts: int = field(default=MAX_ATTEMPTS, kw_only=True)
    handler_timeout: float = field(default=HANDLER_TIMEOUT, kw_only=True)
    shutdown_grace: float = field(default=SHUTDOWN_GRACE, kw_only=True)
    budgets: Budgets = field(default=Budgets(), kw_only=True)
    keep_outcomes: int = field(default=KEEP_OUTCOMES, kw_only=True)
    keep_outcome_bytes: int = field(default=KEEP_OUTCOME_BYTES, kw_only=True)
    wire: WireLimits = field(default=WireLimits(), kw_only=True)
    memory: MemoryLimits = field(default=MemoryLimits(), kw_only=True)
    events: EventLimits = field(default=EventLimits(), kw_only=True)
    usage: str = field(default=Usage.CARDS, kw_only=True)  # a card and an example: a quarter of the tokens
    allow_unknown_peers: bool = field(default=False, kw_only=True)  # a misspelt peer is found at start
    pipeline: Sequence[StepConfig] = field(default=(), kw_only=True)
    sources: Sequence[SourceConfig] = field(default=(), kw_only=True)
    egress: Sequence[str] = field(
        default=(), kw_only=True
    )  # listeners whose handlers take envelopes as bytes
    # keys of a file whose part is not built yet, even where they only say the default
    declared: frozenset[str] = field(default=frozenset(), kw_only=True, repr=False, compare=False)
