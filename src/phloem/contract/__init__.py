"""dataclass <-> element <-> XSD <-> words for a model.

names        field name -> element name
patterns     regular expressions that mean the same to Python and XSD
constraints  what Annotated says: Doc, Pattern, bounds, lengths
types        one table of scalars: Python <-> XSD <-> text
plans        the shape of a class as a tree; everything below reads it
analysis     dataclass -> plan; refusals
schema       plan -> XSD
codec        instance <-> element, with every fault
compiled     the same as generated code, for what has no fault
foreign      classes that bring their own XSD
example      a message to copy
natural      what stands in it where the contract leaves it open
prompts      cards and usage instructions: what a model is told
immutable    whether an instance may be shared
verdicts     what an XSD refuses, as faults
shapes       what the repairer may know
contract     all of it for one class; the functions everyone calls
"""

from .constraints import Doc, Pattern
from .contract import Contract, contract_of, encode, example, parse_element, to_element, xmlify, xsd
from .plans import Field
from .prompts import Peer, card, fingerprint, peer_words, usage_instructions

__all__ = [
    "Contract",
    "Doc",
    "Field",
    "Pattern",
    "Peer",
    "card",
    "contract_of",
    "encode",
    "example",
    "fingerprint",
    "parse_element",
    "peer_words",
    "to_element",
    "usage_instructions",
    "xmlify",
    "xsd",
]
