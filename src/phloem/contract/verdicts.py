"""What libxml2 says against a document, in our words for faults.

Decides which of our codes each of the XSD's complaints gets, and how much of its words is
repeated. Judges nothing itself. Called by ``contract`` alone.
"""

from __future__ import annotations

import re
from typing import Any, Final

from phloem.messages import Fault, HuhCode

__all__ = ["xsd_fault"]

_QUOTE: Final = re.compile(r"'([^']{57})[^']{4,}'")
_CODES: Final = (
    ("SCHEMAV_CVC_COMPLEX_TYPE_3", HuhCode.ATTRIBUTE),
    ("SCHEMAV_CVC_COMPLEX_TYPE_2_3", HuhCode.STRAY_TEXT),
    ("SCHEMAV_CVC_ENUMERATION", HuhCode.ENUM),
    ("SCHEMAV_CVC_DATATYPE", HuhCode.TYPE),
    ("SCHEMAV_ELEMENT_CONTENT", HuhCode.UNEXPECTED_ELEMENT),
    ("SCHEMAV_CVC_ELT", HuhCode.UNEXPECTED_ELEMENT),
)
_FACETS: Final = ("LENGTH", "PATTERN", "INCLUSIVE", "EXCLUSIVE", "DIGITS")


def xsd_fault(entry: Any, tag: str) -> Fault:
    """One entry of a schema's error log; ``tag`` is where it stands if the entry does not say."""
    name = str(entry.type_name)
    code = next((code for start, code in _CODES if name.startswith(start)), HuhCode.TYPE)
    if any(word in name for word in _FACETS):
        code = HuhCode.FACET
    if code is HuhCode.UNEXPECTED_ELEMENT and "Missing child" in entry.message:
        code = HuhCode.MISSING_ELEMENT
    said = _QUOTE.sub(r"'\1…'", str(entry.message))
    return Fault(code, entry.path or f"/{tag}", "what its XSD refuses", said[:400])
