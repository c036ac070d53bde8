"""What a call says: the agent's prompt, its peers, how to answer, the history, and what there is to do.

Decides the order of these, what of a long history is left out, and that each message of the history is
said once. Never asks a model, reads no memory and counts no budget. Pure: the same dialogue and the same
draw give the same messages. For ``driving`` and ``completing``, which have it read what a running
dispatch has heard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from phloem.config import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE
from phloem.messages import Random
from phloem.pump.conversation import Delivery
from phloem.pump.hearing import Heard, Trust, heard, unanswered

from .provenance import Frames, open_frames, visible
from .requests import LLMMessage, LLMRequest, Role

if TYPE_CHECKING:
    from .facade import LLM

__all__ = ["Dialogue", "assemble", "question_for", "request_for", "tokens_of"]

_LISTED: Final = 20  # open requests told by name; an agent that waits for more only needs to know how many
_OURS: Final = "phloem tells you:"
_TOLD: Final = {  # phloem's own words of its own messages, whose quotes stand in the block below them
    "huh": "phloem did not accept what you sent last, and delivered nothing of it that is quoted here. The "
    "block says where it is wrong, what was found and what is expected; correct that and answer again.",
    "systemerror": "phloem could not have something done that you sent. The block says what and why.",
    "todoregistered": "phloem has noted your todo.",
    "todoclosed": "phloem has closed your todo.",
}
_NUDGED: Final = "phloem reminds you of todos of yours; what is said of them in the block is your own note:"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """What an agent has heard and said on its thread, and what it hears now.

    ``forgotten``: how many older messages memory no longer has. ``now`` None: nothing, as the caller has
    something to ask of his own. ``unanswered``: (listener, payload) of what the agent still waits for;
    without a name, what only stands in line for it.
    """

    history: Sequence[Heard] = ()
    forgotten: int = 0
    now: Heard | None = None
    unanswered: Sequence[tuple[str, str]] = ()


def assemble(
    dialogue: Dialogue,
    *,
    random: Random,
    max_history_tokens: int,
    prompt: str = "",
    usage: str = "",
    answering: str = "",
    user_message: str = "",
) -> list[LLMMessage]:
    """The messages of one call, in their order; those without a word in them are left out.

    Of the history the newest stay that are within ``max_history_tokens`` together (an estimate, by their
    bytes), each whole and with what the agent answered; the others are counted in one line. ``now`` and
    ``user_message``, a word of the agent's own developer, stand last and stay, whatever their size.
    """
    now = dialogue.now
    every = [*dialogue.history, *([] if now is None else [now])]
    frames = open_frames(random, _texts(every, prompt, usage, answering, user_message))
    history, left_out = _newest(dialogue, frames, max_history_tokens)
    ours = [prompt, usage, answering, frames.note if history or now is not None else ""]
    messages = [LLMMessage(Role.SYSTEM, text) for text in ours if text.strip()]
    if left_out:
        messages.append(LLMMessage(Role.USER, _left_out(left_out)))
    messages += history
    if now is not None:
        messages.append(LLMMessage(Role.USER, _now(now, dialogue.unanswered, frames)))
    if user_message:
        messages.append(LLMMessage(Role.USER, user_message))
    return messages


def request_for(llm: LLM, delivery: Delivery) -> LLMRequest:
    """What an agent without code asks its model, at the message that it is given."""
    forgotten, history, now = heard(delivery)
    dialogue = Dialogue(history=history, forgotten=forgotten, now=now, unanswered=unanswered(delivery))
    told = llm.told(delivery)
    return _request(llm, delivery, dialogue, answering=told.answering if told else "")


def question_for(llm: LLM, delivery: Delivery, user_message: str, *, include_history: bool) -> LLMRequest:
    """What a handler asks its model; the message it is given is the last of its history."""
    dialogue = Dialogue()
    if include_history:
        forgotten, history, now = heard(delivery)
        dialogue = Dialogue(history=[*history, now], forgotten=forgotten)
    return _request(llm, delivery, dialogue, user_message=user_message)


def _request(
    llm: LLM, delivery: Delivery, dialogue: Dialogue, *, answering: str = "", user_message: str = ""
) -> LLMRequest:
    told, most = llm.told(delivery), delivery.listener.max_history_tokens
    return LLMRequest(
        assemble(
            dialogue,
            random=llm.random,
            max_history_tokens=llm.settings.max_history_tokens if most is None else most,
            prompt=told.system_prompt if told else "",
            usage=told.peer_schemas if told else "",
            answering=answering,
            user_message=user_message,
        )
    )


def tokens_of(messages: Sequence[LLMMessage]) -> int:
    """About how many tokens these are."""
    return sum(
        -(-len(each.content.encode("utf-8", "replace")) // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE
        for each in messages
    )


def _texts(every: Sequence[Heard], *ours: str) -> Iterator[str]:
    """All that the word of the frames must not stand in."""
    for each in every:
        yield from (each.sender, each.xml, each.nudge, each.answer)
    yield from ours


def _newest(dialogue: Dialogue, frames: Frames, most: int) -> tuple[list[LLMMessage], int]:
    """As much of the history as fits, from its newest end on; and how many messages do not stand there."""
    turns: list[list[LLMMessage]] = []
    for each in reversed(dialogue.history):
        turn = [LLMMessage(Role.USER, _framed(each, frames))]
        if each.answer.strip():
            turn.append(LLMMessage(Role.ASSISTANT, each.answer))
        most -= tokens_of(turn)
        if most < 0:
            break
        turns.append(turn)
    left_out = dialogue.forgotten + len(dialogue.history) - len(turns)
    return [message for turn in reversed(turns) for message in turn], left_out


def _left_out(count: int) -> str:
    if count == 1:
        return f"{_OURS} the oldest message here, and your answer to it, is left out."
    return f"{_OURS} the oldest {count} messages here, and your answers to them, are left out."


def _framed(message: Heard, frames: Frames) -> str:
    """A message in its frame; phloem's words of its own ones stand above that, and hold nobody else's."""
    block = frames.framed(message.sender, message.trust, message.xml)
    if message.trust is not Trust.SYSTEM:
        return block
    return f"{_TOLD.get(message.tag.casefold(), _OURS)}\n{block}"


def _now(now: Heard, unanswered: Sequence[tuple[str, str]], frames: Frames) -> str:
    parts = [_framed(now, frames)]
    if now.nudge:
        parts.append(f"{_NUDGED}\n{frames.framed('phloem', Trust.SYSTEM, now.nudge)}")
    if unanswered:
        parts.append(_waiting(unanswered))
    return "\n\n".join(parts)


def _waiting(unanswered: Sequence[tuple[str, str]]) -> str:
    """What is still to come, so that the agent need not ask for it again."""
    sent = [(name, tag) for name, tag in unanswered if name]
    told = _sent(sent) if sent else ""
    if in_line := len(unanswered) - len(sent):
        told += f" {in_line} more {'message stands' if in_line == 1 else 'messages stand'} in line for you."
    return f"{_OURS} {told.strip()} If there is nothing else to send until then, write <wait/>."


def _sent(sent: Sequence[tuple[str, str]]) -> str:
    named = [f'{visible(tag) or "a payload"} to "{visible(name)}"' for name, tag in sent[:_LISTED]]
    more = len(sent) - len(named)
    listed = ", ".join(named) + (f" and {more} more" if more else "")
    return f"still being worked on: {listed}. You will be called with each answer; do not send these again."
