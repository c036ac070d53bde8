"""What leaves the organism: a delivery as the canonical envelope, stamped by the pump.

Decides what the handler of a listener in ``egress`` is given in its payload's place. Writes it
nowhere: the handler does. Pure; a dispatch calls it as it enters such a handler, and each
attempt of one delivery gives the same bytes.
"""

from __future__ import annotations

from phloem.wire.envelope import write_envelope

from .conversation import Delivery

__all__ = ["envelope_of"]


def envelope_of(delivery: Delivery) -> bytes:
    """``<message>`` in canonical form: from, to and thread as the pump knows them, and the payload.

    The payload's text is the very one that its listener's contract has read.
    """
    return write_envelope(
        sender=delivery.sender,
        to=delivery.listener.name,
        thread=delivery.thread.id,
        payloads=(delivery.text,),
    )
