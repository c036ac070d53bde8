"""Payload classes of other libraries, by what they offer and never by their name.

Decides what such a class must have (``xsd()`` and ``xml_value()`` to write, and one of
``parse`` with ``get_xobject``, ``from_element``, ``from_xml`` to read), and how each is
asked. Trusts none of them: what they write is parsed strictly and canonicalised, what they
read has passed their XSD first. Called by ``contract`` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast, final

from lxml import etree, objectify

from phloem.errors import ContractError, InvalidMessage
from phloem.messages import Fault, HuhCode
from phloem.wire.parsing import Element, canonical, quoted

__all__ = ["markup_of", "offers_markup", "reader_of", "schema_of", "writes_itself"]

_XS: Final = "{http://www.w3.org/2001/XMLSchema}"
_MISSING: Final = "add a classmethod from_element(element), or from_xml(text), that makes an instance"


def offers_markup(cls: type) -> bool:
    """Whether the class writes itself and says what it writes."""
    return callable(getattr(cls, "xsd", None)) and callable(getattr(cls, "xml_value", None))


def writes_itself(payload: object) -> bool:
    """Whether the payload has a ``to_xml()`` of its own."""
    return callable(getattr(type(payload), "to_xml", None))


def markup_of(written: object) -> str:
    """Text of what a foreign method returned: an element, a tree of one, str or bytes."""
    if isinstance(written, str):
        return written
    if isinstance(written, bytes):
        try:
            return written.decode("utf-8")
        except UnicodeDecodeError as error:
            fault = Fault(HuhCode.BAD_CHAR, "/", f"byte {error.start} is no UTF-8", "UTF-8")
            raise InvalidMessage([fault]) from None
    getroot = getattr(written, "getroot", None)
    element = getroot() if callable(getroot) else written
    if not isinstance(element, etree._Element):
        fault = Fault(HuhCode.TYPE, "/", quoted(type(written).__name__), "text, bytes or an element")
        raise InvalidMessage([fault])
    return canonical(element)


def schema_of(cls: type) -> tuple[str, str]:
    """The XSD text of a foreign class and the tag of its root element; raises ``ContractError``."""
    where = cls.__qualname__
    try:
        text = markup_of(cast("Callable[[], Any]", cls.xsd)())  # type: ignore[attr-defined] # duck typing
        root = etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False, no_network=True))
        etree.XMLSchema(root)
    except (InvalidMessage, etree.LxmlError, TypeError, ValueError) as error:
        raise ContractError(f"{where}.xsd(): no usable XSD ({quoted(str(error))})") from None
    if root.get("targetNamespace"):
        raise ContractError(f"{where}.xsd(): found a target namespace; payloads have none, so drop it")
    tags = [tag for element in root.iterchildren(f"{_XS}element") if (tag := element.get("name"))]
    if cls.__name__ in tags:
        return text, cls.__name__
    if len(tags) == 1:
        return text, tags[0]
    raise ContractError(f"{where}.xsd(): expected one global element, or one called {cls.__name__}")


def reader_of(cls: type) -> Callable[[Element], Any]:
    """How an instance is made of an element; raises ``ContractError`` if there is no way."""
    offer: Any = cls
    if callable(getattr(cls, "get_xobject", None)):
        if callable(getattr(cls, "parse", None)):
            return lambda element: offer.parse(_exact(element))
        return lambda element: offer.get_xobject().xml_in(_exact(element), _Trail())
    if callable(getattr(cls, "from_element", None)):
        return lambda element: offer.from_element(element)
    if callable(getattr(cls, "from_xml", None)):
        return lambda element: offer.from_xml(canonical(element))
    raise ContractError(f"{cls.__qualname__}: found no way to read it from XML; {_MISSING}")


@final
class _Trail:
    """The error context that ``xml_in`` of the reference's classes asks for."""

    def __init__(self) -> None:
        self.trace: list[str] = []

    def next(self, node: str) -> _Trail:
        return self


class _Text(objectify.StringElement):
    """A leaf that is its text. objectify would guess: ``007`` read as a number is ``7``."""

    def __bool__(self) -> bool:
        return (self.text or "").strip() in ("true", "1")

    def __int__(self) -> int:
        return int(self.text or "")

    def __float__(self) -> float:
        return float(self.text or "")


def _exact(element: Element) -> Any:
    """The same document, in the dress the reference's classes read."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
    parser.set_element_class_lookup(etree.ElementDefaultClassLookup(element=_Text))
    return etree.fromstring(canonical(element).encode(), parser)
