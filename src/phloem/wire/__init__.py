"""Bytes <-> envelope. No trio; the innermost ring that knows XML.

``parsing`` is the one hardened parser (``gate`` before it, ``names`` for what tags leave
behind, ``diagnosis`` for why it refused), ``repair`` what may be mended (``prose`` around a
payload, ``mending`` inside it), ``envelope`` the ``<message>`` and its schema, ``text`` the
characters of XML. Outer rings import from the modules, or from here.
"""

from __future__ import annotations

from .envelope import NAMESPACE, Envelope, EnvelopeReader, is_envelope, write_envelope
from .parsing import Element, Parser, canonical
from .repair import Mend, Mended, Shape, Shapes, read_document
from .text import escaped, first_bad_char, is_xml_text, printable, quoted

__all__ = [
    "NAMESPACE",
    "Element",
    "Envelope",
    "EnvelopeReader",
    "Mend",
    "Mended",
    "Parser",
    "Shape",
    "Shapes",
    "canonical",
    "escaped",
    "first_bad_char",
    "is_envelope",
    "is_xml_text",
    "printable",
    "quoted",
    "read_document",
    "write_envelope",
]
