"""phloem: a message pump for organisms of agents, grown in Trio nurseries.

The front door: decides which names are public and where each lives. Loads a name only
when it is asked for, so that ``phloem --help`` loads neither trio nor lxml. For those
who use phloem; nobody inside comes in this way.
"""

# The house, from the outermost ring inwards; an outer ring imports inner ones only.
#
#   cli/            one file per command
#   testing/        simulate, explore, sweep, exhaust; faults, invariants, the pytest plugin
#   embedding/      the same organism inside any anyio program; one file of it says asyncio
#   organism        an organism on Trio: the only file that knows every part
#   feeding/        streams and batches of messages into an organism
#   framing/        bytes -> pieces -> requests                                no trio
#   llm/            models: the router, the calls of agents, the handler of those without code
#   loading         organism.yaml -> OrganismConfig; every fault at once
#   primitives      the listeners phloem brings: boot, todo, todo-complete
#   pump/           the life of a message: routing, run queue, dispatch, replies, ledger
#   events/         the bus: what anyone may watch, and nobody hurts anybody with
#   contract/       dataclass <-> element <-> XSD <-> words for a model        no trio
#   wire/           bytes <-> envelope: the parser, the limits, the repair     no trio
#   memory/         what an organism remembers of a conversation               no trio
#   guarding        the one place that catches whatever user code raises
#   config          OrganismConfig, ListenerConfig, limits; reads no file
#   errors          the error tree, by who is to blame
#   messages        what handlers see and return, and the ports as protocols

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import Any

__version__ = "0.1.0"

# Type checkers read ``__init__.pyi`` instead, which has the same names from the same places.
_PLACES = (
    (
        ".config",
        "Budgets EventLimits ListenerConfig MemoryLimits OnFull OnShort OrganismConfig RunsOn "
        "SourceConfig StepConfig ThreadScheduling Usage Wait WireLimits",
    ),
    (".contract", "Contract Doc Pattern example parse_element to_element xmlify xsd"),
    (".embedding", "on_host open_organism"),
    (".embedding.threads", "OrganismInThread open_organism_in_thread"),
    (
        ".errors",
        "AccessRefused AuthenticationError BackendError CallerError ConfigurationError "
        "ConfigurationFault ContractError ConversationFailed Deadlock EventBusClosed EventDropped "
        "ForeignGuest HostGone InternalError InvalidEvent InvalidMessage InvalidToken JournalError "
        "Livelock MessageRejected NeverReached NoBackend NoDispatch NoResponse NotConfluent "
        "NotDeterministic NotSimulated OrganismClosed OutcomeForgotten PhloemError ProviderError "
        "PublishCircle RateLimitError ResourceLeft ScheduleFailure SenderError SenderRefused "
        "SimulationError SimulationUnsupported StreamOverflowed TooManyTodos TruncatedError "
        "WorldError WouldDeadlock",
    ),
    (
        ".events",
        "AgentEvent Delivered EventBus EventHandler EventStream EventType HistoryGap Lagged Overflow "
        "ScopedBus Subscription open_event_bus",
    ),
    (".feeding.attached", "Attached"),
    (".feeding.batches", "BatchMessage BatchResult BatchResults"),
    (".llm.completing", "complete"),
    (".llm.facade", "LLM"),
    (
        ".llm.requests",
        "Backend Deltas LLMDelta LLMMessage LLMRequest LLMResponse Role StopReason StreamingBackend "
        "TokenUsage ToolCall",
    ),
    (".llm.script", "Rule Scripted"),
    (".llm.scripted", "ScriptedBackend"),
    (".llm.usage", "UsageRow"),
    (".loading", "load_config"),
    (".memory.history", "BufferSlot Forgotten History SlotMetadata"),
    (".memory.todos", "TodoWatcher"),
    (
        ".messages",
        "AbandonedMessage Cause Clock ConversationState DeadLetter Ending Fault Faults "
        "HandlerMetadata HandlerResponse Host Huh HuhCode Ids Outcome Random Receipt ShutdownReport "
        "SystemError",
    ),
    (".organism", "Organism"),
    (".primitives", "Boot TodoClosed TodoComplete TodoRegistered TodoUntil"),
    (".pump", "Listener LoggingObserver Observer Observers"),
    (".pump.conversing", "Conversation"),
    (".pump.items", "Addressed Document Incoming Message Opened Part Returned"),
    (".pump.listening", "get_event_bus"),
    (".pump.pipeline", "Pipeline"),
    (".pump.reading", "ContextView"),
    (
        ".pump.ready_made",
        "Step branch deadline drop_if expand limit pace rate reject_if sample tap transform",
    ),
    (".pump.sources", "Source"),
    (".pump.telling", "PumpEvent"),
    (".pump.within", "ContextBuffer TodoRegistry get_context_buffer get_todo_registry"),
)
_HOME = MappingProxyType({name: module for module, names in _PLACES for name in names.split()})

__all__ = ["__version__", *sorted(_HOME)]  # pyright: ignore[reportUnsupportedDunderAll] # the stub has the list


def __getattr__(name: str) -> Any:
    if (module := _HOME.get(name)) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module, __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
