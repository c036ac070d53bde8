"""An organism whose one listener of interest works one at a time, beside another that echoes.

For the tests of how an organism fills up and comes to rest.
"""

from __future__ import annotations

from typing import Any

from phloem.config import ListenerConfig, OrganismConfig

from .listeners import Note, echo


def organism_of(handler: Any, **settings: Any) -> OrganismConfig:
    return OrganismConfig(
        "resting",
        [
            ListenerConfig("one", Note, handler, "One at a time.", max_concurrent=1),
            ListenerConfig("echo", Note, echo, "Echoes."),
        ],
        **settings,
    )
