"""Bytes <-> envelope. No trio; the innermost ring that knows XML.

``parsing`` is the one hardened parser (``gate`` before it, ``names`` for what tags leave
behind, ``diagnosis`` for why it refused), ``repair`` what may be mended (``prose`` around a
payload, ``mending`` inside it), ``envelope`` the ``<message>`` and its schema, ``text`` the
characters of XML. ``answers`` reads what a model wrote (``around`` and ``quoting`` what stands
around the payloads, ``items`` the payloads, ``marks`` what a tag may be, ``leaves`` a broken text,
``fitting`` what no contract allows), ``early`` the same while it still streams. Outer
rings import from the modules, or from here.
"""

from __future__ import annotations

from .answers import Answer, AnswerPart, Way, read_answer
from .early import EarlyReader
from .envelope import NAMESPACE, Envelope, EnvelopeReader, is_envelope, write_envelope
from .parsing import Element, Parser, canonical
from .repair import Mend, Mended, Shape, Shapes, read_document
from .text import escaped, first_bad_char, is_xml_text, printable, quoted

__all__ = [
    "NAMESPACE",
    "Answer",
    "AnswerPart",
    "EarlyReader",
    "Element",
    "Envelope",
    "EnvelopeReader",
    "Mend",
    "Mended",
    "Parser",
    "Shape",
    "Shapes",
    "Way",
    "canonical",
    "escaped",
    "first_bad_char",
    "is_envelope",
    "is_xml_text",
    "printable",
    "quoted",
    "read_answer",
    "read_document",
    "write_envelope",
]
