"""``complete``: what a handler asks a model, as the agent whose handler it is.

Decides who may ask: a running handler, in its own task, for itself. What the model is told beside the
question is ``assembly``'s, what it may cost ``calls``'. Called by handlers.
"""

from __future__ import annotations

import math
from typing import Any, Final

import trio

from phloem.errors import AccessRefused, ConfigurationError, ConfigurationFault, NoDispatch, TruncatedError
from phloem.pump.conversation import Delivery
from phloem.pump.within import Here
from phloem.wire.parsing import quoted
from phloem.wire.text import shown

from .assembly import question_for
from .calls import call
from .facade import LLM
from .requests import LLMRequest, StopReason

__all__ = ["complete"]

_WHERE: Final = "expected to be awaited by a running handler on Trio, in its own tasks"
_NOT_WHOLE: Final = {
    StopReason.LENGTH: "was cut off at max_tokens",
    StopReason.CONTENT_FILTER: "was cut off by the provider's content filter",
    StopReason.OTHER: "was ended for a reason that phloem does not know",
}


async def complete(
    user_message: str,
    *,
    model: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    include_history: bool = True,
    agent_name: str | None = None,
    thread_id: str | None = None,
) -> str:
    """A model's whole answer to ``user_message``, asked by the running handler as its agent.

    The model is told the agent's prompt, its peers, and (``include_history``) what it has heard on its
    thread and sent then, the message at hand last; what others said is marked as theirs. What is None is
    the listener's to say, then the ``llm`` section's. ``agent_name`` and ``thread_id`` are there for code
    that was written for the reference: they must be the handler's own.

    Checkpoint. Cancelled means: the call was cancelled, and its reservation given back. That is also how
    a handler ends whose conversation has no budget left for the call; nothing is asked then.

    Raises TruncatedError for an answer that is not whole, also where it stopped at ``max_tokens``: its
    ``partial`` is what there is. Else BackendError, ConfigurationError without a model, a backend or (under
    a budget of cost) a price, AccessRefused for another's name or thread, ValueError for arguments that are
    none, and NoDispatch outside of a running handler, in a worker thread, in a host's loop, and in a task
    that is shielded from its dispatch.
    """
    delivery = _own_dispatch(agent_name, thread_id)
    _check(user_message, model, temperature, max_tokens)
    core: Any = delivery.conversation.core
    llm: LLM | None = core.llm
    if llm is None:
        fault = ConfigurationFault("llm", "an organism without models", "an llm section with backends")
        raise ConfigurationError([fault])
    question = question_for(llm, delivery, user_message, include_history=include_history)
    request = LLMRequest(question.messages, model or "", temperature, max_tokens)
    response = await call(llm, delivery, request)
    lacks = _NOT_WHOLE.get(response.finish_reason)
    if lacks is not None:
        raise TruncatedError(
            f"found an answer of {len(response.content)} characters that {lacks}, expected a whole one",
            partial=response.content,
            backend=response.backend,
            model=response.model,
        )
    return response.content


def _own_dispatch(agent_name: str | None, thread_id: str | None) -> Delivery:
    """The dispatch that the caller stands in. Raises NoDispatch, AccessRefused."""
    try:
        delivery = Here().delivery
    except NoDispatch as error:
        raise NoDispatch(f"{error}; a program asks organism.llm.complete(request)") from None
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        raise NoDispatch(f"found a call from another event loop, {_WHERE}") from None
    scope = delivery.scope
    if scope is not None and trio.current_effective_deadline() > scope.deadline:
        raise NoDispatch(f"found a task that the end of its dispatch does not reach, {_WHERE}")
    name = delivery.listener.name
    if agent_name is not None and str(agent_name).casefold() != name.casefold():
        raise AccessRefused(f"found the agent {quoted(str(agent_name))}, expected {quoted(name)}")
    if thread_id is not None and str(thread_id) != delivery.thread.id:
        raise AccessRefused(f"found the thread {quoted(str(thread_id))}, expected this handler's own")
    return delivery


def _check(user_message: object, model: object, temperature: object, max_tokens: object) -> None:
    """Raises ValueError for the first argument that is none."""
    if not isinstance(user_message, str) or not user_message.strip():
        raise ValueError(f"user_message: found {shown(user_message)}, expected a text")
    if model is not None and (not isinstance(model, str) or not model.strip()):
        raise ValueError(f"model: found {shown(model)}, expected a model's name or None")
    if temperature is not None and (
        isinstance(temperature, bool)
        or not isinstance(temperature, int | float)
        or not 0 <= temperature < math.inf
    ):
        raise ValueError(f"temperature: found {shown(temperature)}, expected a number from 0 or None")
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        raise ValueError(f"max_tokens: found {shown(max_tokens)}, expected a whole number from 1 or None")
