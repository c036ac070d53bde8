# What type checkers know of the front door: each public name, from where ``__init__.py`` loads it.

from .config import (
    Budgets as Budgets,
    EventLimits as EventLimits,
    ListenerConfig as ListenerConfig,
    MemoryLimits as MemoryLimits,
    OnFull as OnFull,
    OnShort as OnShort,
    OrganismConfig as OrganismConfig,
    RunsOn as RunsOn,
    SourceConfig as SourceConfig,
    StepConfig as StepConfig,
    ThreadScheduling as ThreadScheduling,
    Usage as Usage,
    Wait as Wait,
    WireLimits as WireLimits,
)
from .contract import (
    Contract as Contract,
    Doc as Doc,
    Pattern as Pattern,
    example as example,
    parse_element as parse_element,
    to_element as to_element,
    xmlify as xmlify,
    xsd as xsd,
)
from .embedding import (
    on_host as on_host,
    open_organism as open_organism,
)
from .embedding.threads import (
    OrganismInThread as OrganismInThread,
    open_organism_in_thread as open_organism_in_thread,
)
from .errors import (
    AccessRefused as AccessRefused,
    AuthenticationError as AuthenticationError,
    BackendError as BackendError,
    CallerError as CallerError,
    ConfigurationError as ConfigurationError,
    ConfigurationFault as ConfigurationFault,
    ContractError as ContractError,
    ConversationFailed as ConversationFailed,
    Deadlock as Deadlock,
    EventBusClosed as EventBusClosed,
    EventDropped as EventDropped,
    ForeignGuest as ForeignGuest,
    HostGone as HostGone,
    InternalError as InternalError,
    InvalidEvent as InvalidEvent,
    InvalidMessage as InvalidMessage,
    InvalidToken as InvalidToken,
    JournalError as JournalError,
    Livelock as Livelock,
    MessageRejected as MessageRejected,
    NeverReached as NeverReached,
    NoBackend as NoBackend,
    NoDispatch as NoDispatch,
    NoResponse as NoResponse,
    NotConfluent as NotConfluent,
    NotDeterministic as NotDeterministic,
    NotSimulated as NotSimulated,
    OrganismClosed as OrganismClosed,
    OutcomeForgotten as OutcomeForgotten,
    PhloemError as PhloemError,
    ProviderError as ProviderError,
    PublishCircle as PublishCircle,
    RateLimitError as RateLimitError,
    ResourceLeft as ResourceLeft,
    ScheduleFailure as ScheduleFailure,
    SenderError as SenderError,
    SenderRefused as SenderRefused,
    SimulationError as SimulationError,
    SimulationUnsupported as SimulationUnsupported,
    StreamOverflowed as StreamOverflowed,
    TooManyTodos as TooManyTodos,
    TruncatedError as TruncatedError,
    WorldError as WorldError,
    WouldDeadlock as WouldDeadlock,
)
from .events import (
    AgentEvent as AgentEvent,
    Delivered as Delivered,
    EventBus as EventBus,
    EventHandler as EventHandler,
    EventStream as EventStream,
    EventType as EventType,
    HistoryGap as HistoryGap,
    Lagged as Lagged,
    Overflow as Overflow,
    ScopedBus as ScopedBus,
    Subscription as Subscription,
    open_event_bus as open_event_bus,
)
from .feeding.attached import (
    Attached as Attached,
)
from .feeding.batches import (
    BatchMessage as BatchMessage,
    BatchResult as BatchResult,
    BatchResults as BatchResults,
)
from .llm.completing import (
    complete as complete,
)
from .llm.facade import (
    LLM as LLM,
)
from .llm.requests import (
    Backend as Backend,
    Deltas as Deltas,
    LLMDelta as LLMDelta,
    LLMMessage as LLMMessage,
    LLMRequest as LLMRequest,
    LLMResponse as LLMResponse,
    Role as Role,
    StopReason as StopReason,
    StreamingBackend as StreamingBackend,
    TokenUsage as TokenUsage,
    ToolCall as ToolCall,
)
from .llm.script import (
    Rule as Rule,
    Scripted as Scripted,
)
from .llm.scripted import (
    ScriptedBackend as ScriptedBackend,
)
from .llm.usage import (
    UsageRow as UsageRow,
)
from .loading import (
    load_config as load_config,
)
from .memory.history import (
    BufferSlot as BufferSlot,
    Forgotten as Forgotten,
    History as History,
    SlotMetadata as SlotMetadata,
)
from .memory.todos import (
    TodoWatcher as TodoWatcher,
)
from .messages import (
    AbandonedMessage as AbandonedMessage,
    Cause as Cause,
    Clock as Clock,
    ConversationState as ConversationState,
    DeadLetter as DeadLetter,
    Ending as Ending,
    Fault as Fault,
    Faults as Faults,
    HandlerMetadata as HandlerMetadata,
    HandlerResponse as HandlerResponse,
    Host as Host,
    Huh as Huh,
    HuhCode as HuhCode,
    Ids as Ids,
    Outcome as Outcome,
    Random as Random,
    Receipt as Receipt,
    ShutdownReport as ShutdownReport,
    SystemError as SystemError,
)
from .organism import (
    Organism as Organism,
)
from .primitives import (
    Boot as Boot,
    TodoClosed as TodoClosed,
    TodoComplete as TodoComplete,
    TodoRegistered as TodoRegistered,
    TodoUntil as TodoUntil,
)
from .pump import (
    Listener as Listener,
    LoggingObserver as LoggingObserver,
    Observer as Observer,
    Observers as Observers,
)
from .pump.conversing import (
    Conversation as Conversation,
)
from .pump.items import (
    Addressed as Addressed,
    Document as Document,
    Incoming as Incoming,
    Message as Message,
    Opened as Opened,
    Part as Part,
    Returned as Returned,
)
from .pump.listening import (
    get_event_bus as get_event_bus,
)
from .pump.pipeline import (
    Pipeline as Pipeline,
)
from .pump.reading import (
    ContextView as ContextView,
)
from .pump.ready_made import (
    Step as Step,
    branch as branch,
    deadline as deadline,
    drop_if as drop_if,
    expand as expand,
    limit as limit,
    pace as pace,
    rate as rate,
    reject_if as reject_if,
    sample as sample,
    tap as tap,
    transform as transform,
)
from .pump.sources import (
    Source as Source,
)
from .pump.telling import (
    PumpEvent as PumpEvent,
)
from .pump.within import (
    ContextBuffer as ContextBuffer,
    TodoRegistry as TodoRegistry,
    get_context_buffer as get_context_buffer,
    get_todo_registry as get_todo_registry,
)

__all__: list[str]
__version__: str
