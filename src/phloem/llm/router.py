"""Which backend takes a request, and when it is tried again.

Decides the order of attempts over all backends, how long is waited between them, and what the caller is
told in the end. Knows no wire format, no conversation and no budget: a call is one request here, and whoever
pays for it is told what each attempt has used. Whoever opens an organism opens one router; ``calls`` asks it.

How a failure is taken: the backend is out for what it asked for (429) or for its own backoff, and another
one that is up is tried at once. Only when none is up is anything waited for: the earliest, and only if it
is back before the caller's deadline.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Protocol, TypeVar, final

import trio

from phloem.errors import BackendError, ConfigurationError, ConfigurationFault, NoBackend, ProviderError
from phloem.messages import Clock, Faults, Random

from .backend_settings import CUSTOM, SCRIPTED
from .choosing import PROVIDER_MODELS, Chooser, route
from .gateway import BackendView, Gateway
from .opening import open_backends
from .outage import Outage, worth_another
from .places import Crowd
from .requests import Deltas, LLMMessage, LLMRequest, LLMResponse, Role, TokenUsage
from .settings import LLMSettings
from .streaming import open_deltas

__all__ = ["Payer", "Router", "open_router"]

NOT_FOUND: Final = 404
WILDCARD: Final = "*"
ANY: Final = "any model"
UNPAID: Final = "not tried again: there is no budget left for another attempt"

T = TypeVar("T")


class Payer(Protocol):
    """Who pays for a call, and is told of every attempt of it. Sync; never a checkpoint."""

    def spent(self, backend: str, usage: TokenUsage | None, /) -> None:
        """An attempt has used so much; None: its answer is whole, and nobody says how much.

        What was not whole is an estimate, by the prompt and the text that came. Attempts of which nothing
        came are not told of.
        """
        ...

    def affords(self) -> bool:
        """Whether there may be another attempt."""
        ...


@asynccontextmanager
async def open_router(
    settings: LLMSettings, *, random: Random, clock: Clock, faults: Faults | None = None
) -> AsyncIterator[Router]:
    """The router of these settings, with its backends open. They are closed with it.

    ``faults`` stand before every attempt, at the point ``provider`` under the backend's name. Raises
    ConfigurationError for backends that cannot be made, all at once. Cancelled means: all closed.
    """
    async with AsyncExitStack() as stack:
        backends = await open_backends(settings.backends, stack, clock)
        crowd = Crowd()
        gateways = [
            Gateway(
                own,
                backend,
                place,
                Outage(settings.retry_base_delay, settings.retry_max_delay, random),
                faults,
                crowd,
            )
            for place, (own, backend) in enumerate(zip(settings.backends, backends, strict=True))
        ]
        yield Router(settings, gateways)


@final
@dataclass(slots=True)
class _Call:
    """One request on its way through attempts, and the backends it can go to, in order of rank."""

    request: LLMRequest
    tokens: int
    named: list[Gateway]  # for its model; they go before
    any: list[Gateway]  # that take any
    payer: Payer | None = None
    attempts: int = 0
    failed_last: Gateway | None = None
    error: BackendError | None = None
    trail: list[str] = field(default_factory=list[str])

    @property
    def gateways(self) -> list[Gateway]:
        return [*self.named, *self.any]

    def told(self, backend: str, usage: TokenUsage | None) -> None:
        if self.payer is not None:
            self.payer.spent(backend, usage)


@final
class Router:
    """Answers requests through the configured backends. Made by ``open_router``."""

    def __init__(self, settings: LLMSettings, gateways: Sequence[Gateway]) -> None:
        self.settings = settings
        self._gateways = tuple(gateways)
        self._chooser = Chooser(settings.strategy)

    @property
    def backends(self) -> tuple[BackendView, ...]:
        """What each backend is like now, in the order of the file. Never a checkpoint."""
        return tuple(gateway.view() for gateway in self._gateways)

    def statistics(self) -> dict[str, dict[str, Any]]:
        """The same as plain data, by backend. Never a checkpoint."""
        return {view.name: asdict(view) for view in self.backends}

    async def complete(self, request: LLMRequest, payer: Payer | None = None) -> LLMResponse:
        """The whole answer, with ``backend`` and ``model`` set: who gave it, and under which name.

        What the request leaves open is filled in: model, temperature, max_tokens. At most ``retries`` + 1
        attempts over all backends, and none that ``payer`` cannot afford; each has its backend's ``timeout``.

        Raises the last attempt's BackendError; NoBackend for a model that no backend takes, a request too
        large for the rate of each, if none is up before the deadline around the call, or if the task would
        wait in vain for a place (it holds streams open); ConfigurationError without a model. Checkpoint.
        Cancelled means: the call was cut, its tokens and its place are given back.
        """
        return await self._through(
            replace(request, stream=False),
            payer,
            lambda gateway, call: gateway.complete(call.request, call.tokens, call.told),
        )

    @asynccontextmanager
    async def stream(self, request: LLMRequest, payer: Payer | None = None) -> AsyncIterator[Deltas]:
        """``async with router.stream(request) as deltas: async for delta in deltas``.

        Entered once the first piece (or the end) is there; until then attempts are made as by
        ``complete``, with the same errors. After it nothing is tried again: what breaks off is a
        TruncatedError whose ``partial`` is all text that was handed out. The backend's ``timeout`` bounds
        the whole stream; it fires while the next piece is waited for, never in the caller's own code.

        Checkpoint. Cancelled, and left early, means: the stream is closed, its place is given back, and
        what had come is counted by estimate.
        """
        async with AsyncExitStack() as stack:
            yield await self._through(
                replace(request, stream=True),
                payer,
                lambda gateway, call: open_deltas(gateway, call.request, call.tokens, call.told, stack),
            )

    async def probe(self, backend: str, model: str | None = None) -> LLMResponse:
        """One tiny call to that backend and no other, tried once: whether it answers.

        It goes by the rules of any call: it takes its tokens from the rate and waits for a place, and a
        backend that is out is not called. ``model`` None: the default, if that backend takes it, else the
        first one that the configuration names for it. Raises BackendError, NoBackend for a name that is
        none's. Checkpoint. Cancelled means: as for ``complete``.
        """
        own = backend.casefold()
        gateway = next((each for each in self._gateways if each.name.casefold() == own), None)
        if gateway is None:
            names = ", ".join(repr(each.name) for each in self._gateways) or "none is configured"
            raise NoBackend(f"found the backend {backend!r}, expected one of: {names}", backend=backend)
        request = LLMRequest(
            [LLMMessage(Role.USER, "ping")],
            model or self._some_model(gateway),
            temperature=self.settings.temperature,
            max_tokens=1,
        )
        tokens = _tokens(request)
        if not gateway.fits(tokens):
            raise _too_large([gateway], request, tokens)
        await trio.lowlevel.checkpoint_if_cancelled()
        answer = await gateway.complete(request, tokens) if gateway.up else None
        if answer is None:
            if gateway.stuck:
                raise _no_place([gateway])
            out = gateway.outage.until - trio.current_time()
            raise NoBackend(f"backend {gateway.name!r} is out for {out:.3g} s", backend=gateway.name)
        return answer

    # -- attempts ---------------------------------------------------------------------------------

    async def _through(
        self,
        request: LLMRequest,
        payer: Payer | None,
        attempt: Callable[[Gateway, _Call], Awaitable[T | None]],
    ) -> T:
        """The first attempt that succeeds."""
        call = self._call(request)
        call.payer = payer
        try:
            while True:
                gateway = await self._free(call)
                try:
                    result = await attempt(gateway, call)
                except BackendError as error:
                    if not self._goes_on(call, gateway, error):
                        last = _told(call.error or error, call.trail)
                        if last is not error:
                            raise last from error
                        raise
                else:
                    if result is not None:
                        return result
                    # It went out, or got stuck, while the call waited for its turn there: no attempt.
        finally:
            call.error = None  # its traceback leads to this frame

    def _goes_on(self, call: _Call, gateway: Gateway, error: BackendError) -> bool:
        """Whether another attempt follows a failed one."""
        call.attempts += 1
        call.trail.append(f"{gateway.name}: {error}")
        # Who takes any model need not have one that is somebody else's: its word ends nothing.
        unknown = isinstance(error, ProviderError) and error.status_code == NOT_FOUND
        if unknown and call.named and gateway in call.any:
            call.any.remove(gateway)
        else:
            call.failed_last, call.error = gateway, error
            if not worth_another(error):
                return False
        if call.attempts > self.settings.retries:
            return False
        if call.payer is None or call.payer.affords():
            return True
        (call.error or error).add_note(UNPAID)
        return False

    async def _free(self, call: _Call) -> Gateway:
        """The next backend by the strategy; when none is up, the earliest once it is back."""
        while True:
            gateway = self._chosen(call)
            if gateway is not None:
                return gateway
            await trio.lowlevel.checkpoint_if_cancelled()
            able = [each for each in call.gateways if not each.stuck]
            if not able:
                if call.error is not None:
                    raise _told(call.error, call.trail)
                raise _no_place(call.gateways)
            earliest = min(each.outage.until for each in able)
            if earliest >= trio.current_effective_deadline():
                if call.error is not None:
                    raise _told(call.error, call.trail)
                raise _none_up(call.gateways, call.request.model)
            await trio.sleep_until(earliest)

    def _chosen(self, call: _Call) -> Gateway | None:
        # One that has failed just now may be up again at once, where chance drew no delay; if another is
        # up as well, it is that one's turn.
        up = [each for each in call.gateways if each.up and not each.stuck]
        others = [each for each in up if each is not call.failed_last]
        free = others or up
        for group in (call.named, call.any):
            gateway = self._chooser.pick(group, free.__contains__)
            if gateway is not None:
                return gateway
        return None

    # -- requests ---------------------------------------------------------------------------------

    def _call(self, request: LLMRequest) -> _Call:
        """The request as it goes out, and where it can go. Raises ConfigurationError, NoBackend."""
        settings = self.settings
        model = request.model or settings.default_model
        if not model:
            where, expected = "llm.default_model", "the model of calls that name none"
            raise ConfigurationError([ConfigurationFault(where, "nothing", expected)])
        way = route(model, settings.backends)
        named, anything = self._ranked(way.named), self._ranked(way.any)
        if not named and not anything:
            raise NoBackend(self._nowhere(model), model=model)
        request = replace(
            request,
            model=way.model,
            temperature=settings.temperature if request.temperature is None else request.temperature,
            max_tokens=settings.max_tokens if request.max_tokens is None else request.max_tokens,
        )
        tokens = _tokens(request)
        call = _Call(
            request,
            tokens,
            [each for each in named if each.fits(tokens)],
            [each for each in anything if each.fits(tokens)],
        )
        if not call.gateways:
            raise _too_large([*named, *anything], request, tokens)
        return call

    def _ranked(self, places: Sequence[int]) -> list[Gateway]:
        return sorted((self._gateways[place] for place in places), key=lambda each: each.rank)

    def _nowhere(self, model: str) -> str:
        takes = "; ".join(
            f"{own.name!r} takes {', '.join(own.supported_models or PROVIDER_MODELS.get(own.kind, (ANY,)))}"
            for own in self.settings.backends
        )
        without = "".join(
            f"; {name!r} was left out, for {variable} is not set"
            for name, variable in self.settings.left_out.items()
        )
        return f"no backend takes the model {model!r}: {takes or 'none is configured'}{without}"

    def _some_model(self, gateway: Gateway) -> str:
        """A model to probe a backend with, by what the configuration says."""
        own, settings = gateway.settings, self.settings
        for model in (settings.default_model, *own.supported_models, *settings.prices):
            if model and WILDCARD not in model:
                way = route(model, settings.backends)
                if gateway in (self._gateways[place] for place in (*way.named, *way.any)):
                    return way.model
        if own.kind in (SCRIPTED, CUSTOM):
            return own.name  # they answer to anything
        raise NoBackend(f"no model is known for backend {own.name!r}: name one", backend=own.name)


def _tokens(request: LLMRequest) -> int:
    """What a call is reserved of its backend's rate."""
    return request.prompt_tokens + (request.max_tokens or 0)


def _told(error: BackendError, trail: Sequence[str]) -> BackendError:
    """The error, with what came before it."""
    if len(trail) > 1:
        error.add_note("\n".join(f"attempt {number}: {each}" for number, each in enumerate(trail, 1)))
    return error


def _too_large(gateways: Sequence[Gateway], request: LLMRequest, tokens: int) -> NoBackend:
    limits = ", ".join(f"{each.name!r} {each.bucket.capacity}" for each in gateways)
    text = (
        f"a request of about {tokens} tokens ({request.prompt_tokens} asked, at most {request.max_tokens} "
        f"answered) is more than rate_limit_tpm of each backend that takes {request.model!r}: {limits}"
    )
    return NoBackend(text, model=request.model)


def _no_place(gateways: Sequence[Gateway]) -> NoBackend:
    every = ", ".join(f"{each.name!r} {each.settings.max_concurrent}" for each in gateways)
    return NoBackend(
        "every place is held by streams of tasks that wait for a place, as this one would: it would never be "
        f"free; read a stream to its end before the next call, or raise max_concurrent: {every}"
    )


def _none_up(gateways: Sequence[Gateway], model: str) -> NoBackend:
    now = trio.current_time()
    outs = ", ".join(f"{each.name!r} for {each.outage.until - now:.3g} s" for each in gateways)
    return NoBackend(
        f"no backend of {model!r} is up before the caller's deadline; out are {outs}", model=model
    )
