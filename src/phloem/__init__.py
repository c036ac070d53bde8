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

from typing import TYPE_CHECKING

__version__ = "0.1.0"

__all__ = [
    "AbandonedMessage",
    "AccessRefused",
    "Addressed",
    "AgentEvent",
    "Attached",
    "BatchMessage",
    "BatchResult",
    "BatchResults",
    "Boot",
    "Budgets",
    "BufferSlot",
    "CallerError",
    "Cause",
    "Clock",
    "ConfigurationError",
    "ConfigurationFault",
    "ContextBuffer",
    "ContextView",
    "Contract",
    "ContractError",
    "Conversation",
    "ConversationFailed",
    "ConversationState",
    "DeadLetter",
    "Deadlock",
    "Delivered",
    "Doc",
    "Document",
    "Ending",
    "EventBus",
    "EventBusClosed",
    "EventDropped",
    "EventHandler",
    "EventLimits",
    "EventStream",
    "EventType",
    "Fault",
    "Faults",
    "ForeignGuest",
    "Forgotten",
    "HandlerMetadata",
    "HandlerResponse",
    "History",
    "HistoryGap",
    "Host",
    "HostGone",
    "Huh",
    "HuhCode",
    "Ids",
    "Incoming",
    "InternalError",
    "InvalidEvent",
    "InvalidMessage",
    "InvalidToken",
    "JournalError",
    "Lagged",
    "Listener",
    "ListenerConfig",
    "Livelock",
    "LoggingObserver",
    "MemoryLimits",
    "Message",
    "MessageRejected",
    "NeverReached",
    "NoDispatch",
    "NoResponse",
    "NotConfluent",
    "NotDeterministic",
    "NotSimulated",
    "Observer",
    "Observers",
    "OnFull",
    "Opened",
    "Organism",
    "OrganismClosed",
    "OrganismConfig",
    "OrganismInThread",
    "Outcome",
    "OutcomeForgotten",
    "Overflow",
    "Part",
    "Pattern",
    "PhloemError",
    "Pipeline",
    "PublishCircle",
    "PumpEvent",
    "Random",
    "Receipt",
    "ResourceLeft",
    "Returned",
    "RunsOn",
    "ScheduleFailure",
    "ScopedBus",
    "SenderError",
    "SenderRefused",
    "ShutdownReport",
    "SimulationError",
    "SimulationUnsupported",
    "SlotMetadata",
    "Source",
    "SourceConfig",
    "Step",
    "StepConfig",
    "StreamOverflowed",
    "Subscription",
    "SystemError",
    "ThreadScheduling",
    "TodoClosed",
    "TodoComplete",
    "TodoRegistered",
    "TodoRegistry",
    "TodoUntil",
    "TodoWatcher",
    "TooManyTodos",
    "Usage",
    "WireLimits",
    "WorldError",
    "WouldDeadlock",
    "__version__",
    "branch",
    "deadline",
    "drop_if",
    "example",
    "expand",
    "get_context_buffer",
    "get_event_bus",
    "get_todo_registry",
    "limit",
    "load_config",
    "on_host",
    "open_event_bus",
    "open_organism",
    "open_organism_in_thread",
    "pace",
    "parse_element",
    "rate",
    "reject_if",
    "sample",
    "tap",
    "to_element",
    "transform",
    "xmlify",
    "xsd",
]

if TYPE_CHECKING:
    from .config import (
        Budgets,
        EventLimits,
        ListenerConfig,
        MemoryLimits,
        OnFull,
        OrganismConfig,
        RunsOn,
        SourceConfig,
        StepConfig,
        ThreadScheduling,
        Usage,
        WireLimits,
    )
    from .contract import Contract, Doc, Pattern, example, parse_element, to_element, xmlify, xsd
    from .embedding import on_host, open_organism
    from .embedding.threads import OrganismInThread, open_organism_in_thread
    from .errors import (
        AccessRefused,
        CallerError,
        ConfigurationError,
        ConfigurationFault,
        ContractError,
        ConversationFailed,
        Deadlock,
        EventBusClosed,
        EventDropped,
        ForeignGuest,
        HostGone,
        InternalError,
        InvalidEvent,
        InvalidMessage,
        InvalidToken,
        JournalError,
        Livelock,
        MessageRejected,
        NeverReached,
        NoDispatch,
        NoResponse,
        NotConfluent,
        NotDeterministic,
        NotSimulated,
        OrganismClosed,
        OutcomeForgotten,
        PhloemError,
        PublishCircle,
        ResourceLeft,
        ScheduleFailure,
        SenderError,
        SenderRefused,
        SimulationError,
        SimulationUnsupported,
        StreamOverflowed,
        TooManyTodos,
        WorldError,
        WouldDeadlock,
    )
    from .events import (
        AgentEvent,
        Delivered,
        EventBus,
        EventHandler,
        EventStream,
        EventType,
        HistoryGap,
        Lagged,
        Overflow,
        ScopedBus,
        Subscription,
        open_event_bus,
    )
    from .feeding.attached import Attached
    from .feeding.batches import BatchMessage, BatchResult, BatchResults
    from .loading import load_config
    from .memory.history import BufferSlot, Forgotten, History, SlotMetadata
    from .memory.todos import TodoWatcher
    from .messages import (
        AbandonedMessage,
        Cause,
        Clock,
        ConversationState,
        DeadLetter,
        Ending,
        Fault,
        Faults,
        HandlerMetadata,
        HandlerResponse,
        Host,
        Huh,
        HuhCode,
        Ids,
        Outcome,
        Random,
        Receipt,
        ShutdownReport,
        SystemError,
    )
    from .organism import Organism
    from .primitives import Boot, TodoClosed, TodoComplete, TodoRegistered, TodoUntil
    from .pump import Listener, LoggingObserver, Observer, Observers
    from .pump.conversing import Conversation
    from .pump.items import Addressed, Document, Incoming, Message, Opened, Part, Returned
    from .pump.listening import get_event_bus
    from .pump.pipeline import Pipeline
    from .pump.reading import ContextView
    from .pump.ready_made import (
        Step,
        branch,
        deadline,
        drop_if,
        expand,
        limit,
        pace,
        rate,
        reject_if,
        sample,
        tap,
        transform,
    )
    from .pump.sources import Source
    from .pump.telling import PumpEvent
    from .pump.within import ContextBuffer, TodoRegistry, get_context_buffer, get_todo_registry
else:  # type checkers see the imports above, and so a misspelt name as an error
    from importlib import import_module
    from types import MappingProxyType

    _HOME = MappingProxyType(
        {
            name: module
            for module, names in (
                (
                    ".config",
                    "Budgets EventLimits ListenerConfig MemoryLimits OnFull OrganismConfig RunsOn "
                    "SourceConfig StepConfig ThreadScheduling Usage WireLimits",
                ),
                (".contract", "Contract Doc Pattern example parse_element to_element xmlify xsd"),
                (
                    ".errors",
                    "AccessRefused CallerError ConfigurationError ConfigurationFault ContractError "
                    "ConversationFailed Deadlock EventBusClosed EventDropped ForeignGuest HostGone "
                    "InternalError InvalidEvent InvalidMessage InvalidToken JournalError Livelock "
                    "MessageRejected NeverReached NoDispatch NoResponse NotConfluent NotDeterministic "
                    "NotSimulated OrganismClosed OutcomeForgotten PhloemError PublishCircle ResourceLeft "
                    "ScheduleFailure SenderError SenderRefused SimulationError SimulationUnsupported "
                    "StreamOverflowed TooManyTodos WorldError WouldDeadlock",
                ),
                (".embedding", "on_host open_organism"),
                (".embedding.threads", "OrganismInThread open_organism_in_thread"),
                (
                    ".events",
                    "AgentEvent Delivered EventBus EventHandler EventStream EventType HistoryGap Lagged "
                    "Overflow ScopedBus Subscription open_event_bus",
                ),
                (".loading", "load_config"),
                (".memory.history", "BufferSlot Forgotten History SlotMetadata"),
                (".memory.todos", "TodoWatcher"),
                (
                    ".messages",
                    "AbandonedMessage Cause Clock ConversationState DeadLetter Ending Fault Faults "
                    "HandlerMetadata HandlerResponse Host Huh HuhCode Ids Outcome Random Receipt "
                    "ShutdownReport SystemError",
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
                (".pump.telling", "PumpEvent"),
                (".pump.within", "ContextBuffer TodoRegistry get_context_buffer get_todo_registry"),
                (".feeding.batches", "BatchMessage BatchResult BatchResults"),
                (".feeding.attached", "Attached"),
                (".pump.sources", "Source"),
            )
            for name in names.split()
        }
    )

    def __getattr__(name):
        if (module := _HOME.get(name)) is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(module, __name__), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
