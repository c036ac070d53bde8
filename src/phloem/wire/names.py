"""What strangers' tags may leave behind in the parser.

libxml2 interns every name it reads in a table of the reading thread, and lxml keeps that
table as long as the thread: a stranger who invents tags would fill memory for good (87 MB
after fifty documents). Decides how many new names a thread may learn; never looks at text.
Called by ``parsing``, which reads what is over the limit in a thread that ends.
"""

from __future__ import annotations

import re
from typing import Final, final

from .gate import MARKUP

__all__ = ["Vocabulary"]

MOST_BYTES: Final = 512 * 1024  # an organism's own contracts need a few KiB
MOST_TAGS: Final = 8_192  # each costs about 100 bytes beside its text
_ENTITY: Final = re.compile(rb"&([\w.\-:\x80-\xff]++)")


@final
class Vocabulary:
    """The tags that one thread's parser has met. Belongs to that thread."""

    __slots__ = ("_bytes", "_known")

    def __init__(self) -> None:
        self._known: set[bytes] = set()
        self._bytes = 0

    def admits(self, raw: bytes) -> bool:
        """Whether this thread may parse the document; then its tags count as known.

        A tag is taken with all its attributes, an end tag with its slash: coarse, and
        nothing that is interned escapes it.
        """
        new = set(MARKUP.findall(raw))
        if b"&" in raw:
            new.update(_ENTITY.findall(raw))
        new -= self._known
        if not new:
            return True
        size = self._bytes + sum(map(len, new))
        if size > MOST_BYTES or len(self._known) + len(new) > MOST_TAGS:
            return False
        self._known |= new
        self._bytes = size
        return True
