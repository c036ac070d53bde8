"""The command line: one file per command, ``main`` for the entry point.

    app          the group, and the way every error takes
    demo check send run
                 the commands
    shell        options, logging and complaints they share
    batch        one organism over one batch
    source lines documents
                 bytes -> messages' bytes
    requests fields scalars
                 a message's bytes -> a payload and where it goes
    results writing
                 outcomes -> lines, in order
    exit_codes signals standard progress console
                 how it ends, and what is seen of it

Outermost ring: imports everything, nobody imports it.
"""

from __future__ import annotations

from .app import main

__all__ = ["main"]
