"""What phloem agrees on with a payload class: its XSD, its text, and the way back.

Decides the order in which a document is judged, and where a contract lives: on its class,
so that no registry knows all classes and none outlives its program. Catches nothing a
payload's class raises but what makes its message invalid. Called by everyone who
meets payloads; sync, never a checkpoint, safe in any thread.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType
from typing import Any, Final, TypeVar, final

from lxml import etree

from phloem.config import MAX_DEPTH, MAX_TEXT, WireLimits
from phloem.errors import ContractError, InvalidMessage
from phloem.messages import Fault, HuhCode
from phloem.wire.parsing import Element, Parser, canonical, quoted

from . import foreign
from .analysis import analyse
from .codec import decoder, encoder
from .example import NoExample, example_of
from .hints import NotYetDefined, is_own_dataclass
from .immutable import is_immutable
from .plans import Field, Record
from .reading import read_element
from .schema import compiled, is_recursive, schema_of
from .shapes import ContractShape
from .verdicts import xsd_fault
from .writing import write_text

__all__ = ["Contract", "contract_of", "encode", "example", "parse_element", "to_element", "xmlify", "xsd"]

_T = TypeVar("_T")
_KEPT: Final = "__phloem_contract__"
_WAITING: Final = "__phloem_frame__"  # where to look for the names of a class that came too early


@final
class _PerThread(threading.local):
    """libxml2's schemas are not to be shared between threads."""

    schema: etree.XMLSchema | None = None


@final
class Contract:
    """One payload class: everything the pump needs of it. Made by ``contract_of``.

    ``immutable``: nobody can change an instance, so that one may be shared.
    """

    __slots__ = (
        "_decode",
        "_encode",
        "_here",
        "_parser",
        "_record",
        "_recursive",
        "doc",
        "fields",
        "immutable",
        "payload_class",
        "tag",
        "xsd_text",
    )

    def __init__(
        self,
        payload_class: type,
        tag: str,
        xsd_text: str,
        doc: str,
        record: Record | None,
        encode: Callable[[Any], str],
        decode: Callable[[Element], Any],
    ) -> None:
        self.payload_class = payload_class
        self.tag = tag
        self.xsd_text = xsd_text
        self.doc = doc
        self.fields: tuple[Field, ...] = record.fields if record else ()
        self._record = record
        self._recursive = record is not None and is_recursive(record)
        self.immutable = record is not None and is_immutable(record)
        self._encode = encode
        self._decode = decode
        self._here = _PerThread()
        self._parser = Parser(WireLimits())

    def __repr__(self) -> str:
        return f"<Contract {self.tag} of {self.payload_class.__module__}.{self.payload_class.__qualname__}>"

    @property
    def brings_xsd(self) -> bool:
        """Whether the class wrote its XSD itself: then there are no ``fields`` and no example."""
        return self._record is None

    @property
    def shape(self) -> ContractShape:
        """What the repairer may know: names of elements, and which hold only text."""
        return ContractShape(self.tag, self._record)

    def encode(self, payload: object) -> str:
        """The payload as canonical XML, in no namespace. Raises ``InvalidMessage`` with every fault."""
        try:
            text = self._encode(payload)
        except Exception:  # noqa: BLE001 -- whatever the straight road stumbled on, the slow one names
            text = self._encode_slowly(payload)
        if len(text) > MAX_TEXT and self._record is not None:
            text = self._encode_slowly(payload)  # looks at each text's length
        if self._recursive:
            self._check_depth(text)
        return text

    def decode(self, element: Element) -> Any:
        """A fresh instance. Strict and linear; raises ``InvalidMessage`` with every fault."""
        if element.tag == self.tag:
            try:
                return self._decode(element)
            except Exception:  # noqa: BLE001 -- whatever the straight road stumbled on, the slow one names
                pass
        return self._decode_slowly(element)

    def validate(self, element: Element) -> tuple[Fault, ...]:
        """What the XSD says against an element; () if nothing."""
        schema = self._schema()
        if schema.validate(element):
            return ()
        return tuple(xsd_fault(entry, self.tag) for entry in schema.error_log) or (
            Fault(HuhCode.TYPE, f"/{self.tag}", "an invalid element", "one that fits the XSD"),
        )

    def valid(self, element: Element) -> bool:
        """Whether the XSD takes it."""
        schema = self._here.schema
        return (schema or self._schema()).validate(element)

    def read(self, element: Element) -> Any:
        """Both judges: decoder, then XSD, whose error reports would be quadratic in the faults.

        A foreign class's own decoder is asked last, for it is not known to be strict.
        """
        if self._record is None:
            self._ask_xsd(element)
            return self.decode(element)
        payload = self.decode(element)
        if not self.valid(element):
            self._ask_xsd(element)
        return payload

    def example(self) -> str:
        """A text that passes the XSD and decodes; the same one every time. Raises ``ContractError``."""
        where = self.payload_class.__qualname__
        if self._record is None:
            raise ContractError(f"{where}: brings its own XSD; only classes that phloem reads have examples")
        try:
            text = example_of(self._record)
            self.read(self._parser.parse_own(text))
        except (NoExample, InvalidMessage) as error:
            raise ContractError(
                f"{where}: no example fits it ({quoted(str(error), 200)}); give defaults"
            ) from None
        return text

    def _schema(self) -> etree.XMLSchema:
        if self._here.schema is None:
            self._here.schema = compiled(self.xsd_text)
        return self._here.schema

    def _ask_xsd(self, element: Element) -> None:
        faults = self.validate(element)
        if faults:
            raise InvalidMessage(faults)

    def _encode_slowly(self, payload: object) -> str:
        if foreign.writes_itself(payload) or self._record is None:
            return _written_by_itself(payload, self.tag, self._parser)
        return write_text(self._record, payload)

    def _decode_slowly(self, element: Element) -> Any:
        if self._record is not None:
            return read_element(self._record, element)
        if element.tag != self.tag:
            found = quoted(str(element.tag))
            raise InvalidMessage([Fault(HuhCode.UNEXPECTED_ELEMENT, "/", found, f"the element {self.tag}")])
        try:
            return self._decode(element)
        except Exception as error:  # noqa: BLE001 -- a foreign class refuses in its own words
            said = str(error) or type(error).__name__
            fault = Fault(HuhCode.TYPE, f"/{self.tag}", "values its class refuses", quoted(said, 200))
            raise InvalidMessage([fault]) from None

    def _check_depth(self, text: str) -> None:
        depth = deepest = 0
        for at in re.finditer("<(/?)", text):
            depth += -1 if at[1] else 1
            deepest = max(deepest, depth)
        if deepest > MAX_DEPTH:
            found = f"{deepest} elements within one another"
            raise InvalidMessage([Fault(HuhCode.TOO_LARGE, f"/{self.tag}", found, f"at most {MAX_DEPTH}")])


# -- from a class --------------------------------------------------------------------------------


def contract_of(cls: type) -> Contract:
    """The contract of a payload class, made at first use and kept on the class itself.

    Raises ``ContractError``: which field cannot be carried, and what to use instead.
    """
    known = cls.__dict__.get(_KEPT)
    if known is not None:
        contract: Contract = known
        return contract
    try:
        return _made(cls, _names_from(cls.__dict__.get(_WAITING), cls))
    except NotYetDefined as error:
        raise ContractError(str(error)) from None


def xmlify(cls: type[_T]) -> type[_T]:
    """Give a dataclass its contract, ``.xsd()`` and ``.xml_value(name)``. Stands above ``@dataclass``.

    Raises ``ContractError``. A class that names one defined later gets its contract at first use.
    """
    if not isinstance(cls, type):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ContractError(f"@xmlify: found {quoted(repr(cls))}; use it on a class")
    if not is_own_dataclass(cls):
        raise ContractError(f"{cls.__qualname__}: @xmlify found no dataclass; put @dataclass below @xmlify")
    names = cls.__dict__["__dataclass_fields__"]
    if not hasattr(cls, "xsd") and "xsd" not in names:
        cls.xsd = classmethod(_class_xsd)  # type: ignore[attr-defined] # given to it here
    if not hasattr(cls, "xml_value") and "xml_value" not in names:
        cls.xml_value = _xml_value  # type: ignore[attr-defined] # given to it here
    frame = sys._getframe(1)
    try:
        _made(cls, _names_from(frame, cls))
    except NotYetDefined:
        setattr(cls, _WAITING, frame)
    return cls


def _class_xsd(cls: type) -> etree._ElementTree:
    """The XSD as a tree."""
    return etree.ElementTree(etree.fromstring(contract_of(cls).xsd_text))


def _xml_value(self: object, name: str = "") -> etree._ElementTree:
    """This instance as a tree, its root called ``name`` (by default like its class)."""
    root = to_element(self)
    if name:
        root.tag = name
    return etree.ElementTree(root)


def _is_ours(cls: type) -> bool:
    return getattr(getattr(cls, "xsd", None), "__func__", None) is _class_xsd


def _made(cls: type, names: Mapping[str, Any]) -> Contract:
    if foreign.offers_markup(cls) and not _is_ours(cls):
        contract = _foreign_contract(cls, names)
    elif is_own_dataclass(cls):
        contract = _own_contract(cls, names)
    else:
        raise ContractError(
            f"{cls.__module__}.{cls.__qualname__}: found neither a dataclass nor a class with xsd() and "
            "xml_value(); make it a dataclass"
        )
    try:
        setattr(cls, _KEPT, contract)
        if _WAITING in cls.__dict__:
            delattr(cls, _WAITING)
    except (AttributeError, TypeError):
        raise ContractError(
            f"{cls.__qualname__}: cannot hold its contract; use a class of Python code"
        ) from None
    return contract


def _own_contract(cls: type, names: Mapping[str, Any]) -> Contract:
    record = analyse(cls, names)
    text = schema_of(record)
    try:
        compiled(text)
    except etree.LxmlError as error:
        raise ContractError(
            f"{cls.__qualname__}: libxml2 refuses its XSD ({quoted(str(error), 200)})"
        ) from None
    write = _never if callable(getattr(cls, "to_xml", None)) else encoder(record)
    return Contract(cls, record.tag, text, record.doc, record, write, decoder(record))


def _foreign_contract(cls: type, names: Mapping[str, Any]) -> Contract:
    text, tag = foreign.schema_of(cls)
    try:
        read = foreign.reader_of(cls)
    except ContractError:
        if not is_own_dataclass(cls):
            raise
        record = analyse(cls, names)  # then its fields say how
        record.tag = tag
        read = partial(read_element, record)
    doc = (cls.__dict__.get("__doc__") or "").strip()
    return Contract(cls, tag, text, doc, None, _never, read)


def _never(payload: object) -> str:
    raise NotImplementedError  # sends Contract.encode on its slow road, where classes write themselves


def _written_by_itself(payload: object, tag: str | None, parser: Parser) -> str:
    """What a payload wrote by ``to_xml()`` or ``xml_value()``, strictly parsed and in canonical form."""
    name = tag or type(payload).__name__
    writer: Any = payload
    try:
        if foreign.writes_itself(payload):
            written = writer.to_xml()
        elif foreign.offers_markup(type(payload)):
            written = writer.xml_value(name)
        else:
            fault = Fault(
                HuhCode.TYPE, f"/{name}", quoted(type(payload).__name__), "a payload that writes itself"
            )
            raise InvalidMessage([fault])
    except InvalidMessage:
        raise
    except Exception as error:  # noqa: BLE001 -- user code; its message cannot be sent, and that is all
        fault = Fault(HuhCode.TYPE, f"/{name}", quoted(f"{type(error).__name__}: {error}", 200), "XML")
        raise InvalidMessage([fault]) from None
    return canonical(parser.parse(foreign.markup_of(written)))


def _names_from(frame: FrameType | None, cls: type) -> Mapping[str, Any]:
    """What was local where a class was defined: through class bodies up to the function around them."""
    names: dict[str, Any] = {}
    while frame is not None and frame.f_locals is not frame.f_globals:
        names = {**frame.f_locals, **names}
        if frame.f_code.co_flags & _OPTIMIZED:  # a function; a class body has no such locals
            break
        frame = frame.f_back
    return {**names, cls.__name__: cls}


_OPTIMIZED: Final = 0x1  # inspect.CO_OPTIMIZED


# -- for everyone ------------------------------------------------------------------------------------


def encode(payload: object) -> str:
    """The canonical text of any payload, also of one that has nothing but ``to_xml()``."""
    cls = type(payload)
    if foreign.writes_itself(payload) and not is_own_dataclass(cls) and not foreign.offers_markup(cls):
        return _written_by_itself(payload, None, Parser(WireLimits()))
    return contract_of(cls).encode(payload)


def xsd(cls: type) -> str:
    """The XSD of a payload class."""
    return contract_of(cls).xsd_text


def example(cls: type) -> str:
    """A message of this class to copy: passes its XSD and decodes."""
    return contract_of(cls).example()


def parse_element(cls: type[_T], element: Element) -> _T:
    """The instance an element stands for; raises ``InvalidMessage`` with every fault."""
    payload: _T = contract_of(cls).read(element)
    return payload


def to_element(payload: object) -> Element:
    """The payload as an element; raises ``InvalidMessage`` with every fault."""
    return Parser(WireLimits()).parse_own(encode(payload))
