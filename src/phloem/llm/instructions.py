"""How an agent without code is told to write its answer.

Decides every word of it; the same contracts give the same bytes. What the agent may send its peers is said
with them (``usage_instructions``): here stand the frames, and what it may respond with. The words follow
what is read (``wire.answers``) and routed. Pure; for ``driving``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from phloem.contract import Contract
from phloem.contract.prompts import card

__all__ = ["answer_instructions"]

_ANSWERING: Final = """\
# Answering
A program reads your whole answer. In it, each payload stands in a frame that says where it goes:

<send to="NAME">PAYLOAD</send>
<respond>PAYLOAD</respond>

- <send> brings a payload to the peer of that name, or with your own name to yourself. You may send several, \
each in a frame of its own: they are worked on at the same time, and you are called again {again}.
- <respond> answers your caller, and ends your part. Sends and responds cannot stand in one answer: respond \
once nothing is left to be sent.
- A payload without a frame is read as well if it can be meant in one way only: for the one peer that takes \
it, or for your caller. If in doubt, write the frame.
{waiting}- What else you write, before or after, is kept as your reasoning; it is delivered to nobody. Do \
not quote payloads in it. Put your frames on lines of their own, one after the other, with no text between \
them.
- Write every payload whole, with the elements of its card in their order and nothing else in it: no \
attributes, and no envelope. Who it is from is known. In text, & is written &amp; and < is written &lt;.
- If phloem does not accept something, you are told where and why, and may correct it."""
_EACH: Final = "with each answer as it comes"
_ALL: Final = "once, with all their answers"
_WAITING: Final = """\
- While answers to what you sent are still to come and there is nothing to send meanwhile, write <wait/> and \
no payload.
"""
_ANY: Final = "You may respond with whatever your caller takes."
_NOTHING: Final = "You respond with nothing: there is no payload for it."


def answer_instructions(responds_with: Sequence[Contract] | None, *, gathers: bool = False) -> str:
    """All an agent is told of answering; None: it is not said what it responds with. Ends with a line feed.

    ``gathers``: it hears all answers at once, so there is nothing it could wait for. Raises
    ``ContractError`` where a payload has no example.
    """
    if responds_with is None:
        told = [_ANY]
    elif responds_with:
        told = [_response(contract) for contract in responds_with]
    else:
        told = [_NOTHING]
    answering = _ANSWERING.format(again=_ALL if gathers else _EACH, waiting="" if gathers else _WAITING)
    return "\n\n".join([answering, *told]) + "\n"


def _response(contract: Contract) -> str:
    example = "".join(char if char.isprintable() else f"&#{ord(char)};" for char in contract.example())
    return f"You may respond with {card(contract)}\nExample: <respond>{example}</respond>"
