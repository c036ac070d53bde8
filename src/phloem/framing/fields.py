"""Payloads <-> JSON fields: ``{"name": "Ada"}`` <-> ``Greeting(name="Ada")``. Pure.

Decides how each type of a dataclass's fields is read and written; what is written reads
back as the same object. Collects every fault with its path (``payload.lines[2].amount``).
Never validates what the contract will: sending the payload does. For ``requests`` and
``texts`` (in) and the command line's results (out); one table serves one run.

Where JSON alone would not tell members of a union apart, a value is written, and may be
given, as ``{"$type": "Decimal", "$value": "5"}``; a dict whose keys a JSON object would
change is written as a list of pairs.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, Final, Literal, NewType, Union, final, get_args, get_origin, get_type_hints

from phloem.errors import InvalidMessage
from phloem.messages import Fault, HuhCode

from .scalars import SCALARS, Digits, Form, as_list, as_object, complain, enum_form, literal_form, shown

__all__ = ["FieldTable"]

_SEQUENCES: Final = {
    list: list,
    Sequence: list,
    MutableSequence: list,
    set: set,
    AbstractSet: set,
    frozenset: frozenset,
}
_MAPPINGS: Final = (dict, Mapping, MutableMapping)
_TYPE, _VALUE = "$type", "$value"


class _UnsupportedError(Exception):
    """A type that JSON fields cannot say; the text names it."""


@final
class FieldTable:
    """What has been learnt about the types of one run."""

    def __init__(self) -> None:
        self._forms: dict[Any, Form] = {}

    def read(self, kind: type, value: object, path: str = "payload") -> Any:
        """The payload that these JSON fields describe. Raises InvalidMessage with every fault."""
        faults: list[Fault] = []
        try:
            payload = self._dataclass(kind).read(value, path, faults)
        except _UnsupportedError as error:
            faults.append(Fault(HuhCode.TYPE, path, f"fields for {error}", 'the payload as XML, in "xml"'))
            payload = None
        if faults:
            raise InvalidMessage(faults)
        return payload

    def write(self, payload: object) -> dict[str, Any] | None:
        """The payload's fields, or None where its class has none that JSON can say."""
        if not is_dataclass(payload) or isinstance(payload, type):
            return None
        try:
            written: dict[str, Any] = self._dataclass(type(payload)).write(payload)
        except _UnsupportedError:
            return None
        return written

    # -- forms ---------------------------------------------------------------------------------
    def _form(self, kind: Any) -> Form:
        if (form := self._forms.get(kind)) is None:
            form = self._forms[kind] = self._build(kind)
        return form

    def _build(self, kind: Any) -> Form:
        while True:  # what only names another type
            if isinstance(kind, NewType):
                kind = kind.__supertype__
            elif get_origin(kind) is Annotated:
                kind = get_args(kind)[0]
            elif hasattr(kind, "__value__"):  # a type alias of Python 3.12
                kind = kind.__value__
            else:
                break
        if kind is None:
            kind = type(None)
        if kind in SCALARS:
            return SCALARS[kind]
        origin, arguments = get_origin(kind) or kind, get_args(kind)
        if origin is Union or origin is types.UnionType:
            return self._union(kind, arguments)
        if origin is Literal:
            return literal_form([(each, self._form(type(each)).write(each)) for each in arguments])
        if origin in _SEQUENCES:
            return self._sequence(kind, _SEQUENCES[origin], arguments[0] if arguments else str)
        if origin is tuple:
            if len(arguments) == 2 and arguments[1] is ...:
                return self._sequence(kind, tuple, arguments[0])
            return self._tuple(kind, arguments)
        if origin in _MAPPINGS:
            return self._dict(kind, *(arguments or (str, str)))
        if isinstance(kind, type) and issubclass(kind, Enum):
            return enum_form(kind)
        if isinstance(kind, type) and is_dataclass(kind):
            return self._dataclass(kind)
        raise _UnsupportedError(_name(kind))

    def _dataclass(self, kind: type) -> Form:
        if (form := self._forms.get(kind)) is not None:
            return form
        if not is_dataclass(kind):
            raise _UnsupportedError(f"{_name(kind)}, which is no dataclass")
        members: dict[str, Form] = {}
        required: list[str] = []

        def read(value: Any, path: str, faults: list[Fault]) -> Any:
            if (given := as_object(value)) is None:
                complain(faults, path, value, f"an object with the fields of {kind.__name__}")
                return None
            before = len(faults)
            values: dict[str, Any] = {}
            for name, item in given.items():
                if (member := members.get(name)) is not None:
                    values[name] = member.read(item, f"{path}.{name}", faults)
                else:
                    known = ", ".join(members) or "no field at all"
                    found = f"a field {shown(name)}"
                    faults.append(Fault(HuhCode.UNEXPECTED_ELEMENT, f"{path}.{name[:60]}", found, known))
            for name in required:
                if name not in given:
                    faults.append(
                        Fault(HuhCode.MISSING_ELEMENT, f"{path}.{name}", "nothing", f"a value for {name}")
                    )
            if len(faults) > before:
                return None
            try:
                return kind(**values)
            except Exception as error:  # noqa: BLE001 - the payload class's own checks; any of them is a fault
                found = f"{type(error).__name__}: {error}"[:60]
                faults.append(Fault(HuhCode.FACET, path, found, f"fields that {kind.__name__} takes"))
                return None

        def write(payload: Any) -> dict[str, Any]:
            return {name: form.write(getattr(payload, name)) for name, form in members.items()}

        form = self._forms[kind] = Form(kind.__name__, read, write, lambda value: type(value) is kind)
        try:
            hints = get_type_hints(kind)
            for each in fields(kind):
                if each.init:
                    members[each.name] = self._form(hints[each.name])
                    if each.default is MISSING and each.default_factory is MISSING:
                        required.append(each.name)
        except (NameError, TypeError) as error:  # an annotation that does not resolve from outside
            del self._forms[kind]
            raise _UnsupportedError(f"{_name(kind)} ({error})") from error
        except _UnsupportedError:
            del self._forms[kind]
            raise
        return form

    def _union(self, kind: Any, arguments: tuple[Any, ...]) -> Form:
        members = [self._form(each) for each in arguments]
        nullable = any(each is type(None) for each in arguments)
        others = [form for form, each in zip(members, arguments, strict=True) if each is not type(None)]
        expected = "one of " + ", ".join(form.name for form in others) + (" or null" if nullable else "")

        def read(value: Any, path: str, faults: list[Fault]) -> Any:
            if value is None and nullable:
                return None
            if (told := as_object(value)) is not None and told.keys() == {_TYPE, _VALUE}:
                for form in others:
                    if form.name == told[_TYPE]:
                        return form.read(told[_VALUE], path, faults)
            if len(others) == 1:
                return others[0].read(value, path, faults)
            for form in others:
                tried: list[Fault] = []
                result = form.read(value, path, tried)
                if not tried:
                    return result
            complain(faults, path, value, expected, HuhCode.UNION)
            return None

        def write(value: Any) -> Any:
            if value is None:
                return None
            form = next((each for each in others if each.owns(value)), others[0])
            written = form.write(value)
            if len(others) == 1:
                return written
            faults: list[Fault] = []
            again = read(_reread(written), "", faults)
            if not faults and form.owns(again) and again == value:
                return written
            return {_TYPE: form.name, _VALUE: written}

        return Form(_name(kind), read, write, lambda value: any(form.owns(value) for form in members))

    def _sequence(self, kind: Any, build: Any, argument: Any) -> Form:
        item = self._form(argument)

        def read(value: Any, path: str, faults: list[Fault]) -> Any:
            if (given := as_list(value)) is None:
                complain(faults, path, value, "a list")
                return None
            before = len(faults)
            items = [item.read(each, f"{path}[{number}]", faults) for number, each in enumerate(given)]
            return build(items) if len(faults) == before else None  # a fault's None may not fit a set

        def write(value: Any) -> list[Any]:
            written = [item.write(each) for each in value]
            return (
                written if build in (list, tuple) else sorted(written, key=json.dumps)
            )  # a set has no order

        def owns(value: Any) -> bool:
            return type(value) is build and all(item.owns(each) for each in value)

        return Form(_name(kind), read, write, owns)

    def _tuple(self, kind: Any, arguments: tuple[Any, ...]) -> Form:
        items = [self._form(each) for each in arguments]

        def read(value: Any, path: str, faults: list[Fault]) -> Any:
            given = as_list(value)
            if given is None or len(given) != len(items):
                found = shown(value) if given is None else f"a list of {len(given)}"
                faults.append(Fault(HuhCode.TYPE, path, found, f"a list of {len(items)}"))
                return None
            pairs = enumerate(zip(items, given, strict=True))
            return tuple(form.read(each, f"{path}[{number}]", faults) for number, (form, each) in pairs)

        def write(value: Any) -> list[Any]:
            return [form.write(each) for form, each in zip(items, value, strict=True)]

        def owns(value: Any) -> bool:
            fits = issubclass(type(value), tuple) and len(value) == len(items)
            return fits and all(map(_owns, items, value))

        return Form(_name(kind), read, write, owns)

    def _dict(self, kind: Any, key_type: Any, value_type: Any) -> Form:
        key_form, value_form = self._form(key_type), self._form(value_type)

        def read_key(text: str, path: str, faults: list[Fault]) -> object:
            tried: list[Fault] = []
            key = key_form.read(text, path, tried)
            if tried:
                try:
                    again = _parse(text)
                except ValueError:
                    again = text  # no JSON: complained about as the string it is
                key = key_form.read(again, path, faults)
            return key

        def read(value: Any, path: str, faults: list[Fault]) -> Any:
            before = len(faults)
            result: dict[Any, Any] = {}
            pairs: list[tuple[Any, Any]]
            if (given := as_object(value)) is not None:
                pairs = [(read_key(key, f"{path}.{key[:60]}", faults), each) for key, each in given.items()]
            elif (rows := _pairs(value)) is not None:
                pairs = [
                    (key_form.read(row[0], f"{path}[{n}][0]", faults), row[1]) for n, row in enumerate(rows)
                ]
            else:
                complain(faults, path, value, "an object, or a list of [key, value] pairs")
                return None
            for key, each in pairs:
                at = f"{path}.{key}"[:200]
                item = value_form.read(each, at, faults)
                if len(faults) > before:
                    continue  # what is left is only looked at for further faults
                if key in result:
                    faults.append(Fault(HuhCode.DUPLICATE_ELEMENT, at, "the same key again", "each key once"))
                result[key] = item
            return result

        def write(value: Any) -> Any:
            written: dict[str, Any] = {}
            for key, each in value.items():
                json_key = key_form.write(key)
                text = json_key if type(json_key) is str else json.dumps(json_key)
                faults: list[Fault] = []
                again = read_key(text, "", faults)
                if faults or type(again) is not type(key) or again != key or text in written:
                    return [[key_form.write(key), value_form.write(each)] for key, each in value.items()]
                written[text] = value_form.write(each)
            return written

        def owns(value: Any) -> bool:
            fits = issubclass(type(value), dict) and all(map(key_form.owns, value))
            return fits and all(map(value_form.owns, value.values()))

        return Form(_name(kind), read, write, owns)


def _owns(form: Form, value: object) -> bool:
    return form.owns(value)


def _pairs(value: Any) -> list[list[Any]] | None:
    rows = as_list(value)
    return rows if rows is not None and all(len(as_list(row) or ()) == 2 for row in rows) else None


def _parse(text: str) -> Any:
    return json.loads(text, parse_float=Digits)


def _reread(written: object) -> Any:
    return _parse(json.dumps(written))


def _name(kind: Any) -> str:
    if isinstance(kind, type) and not get_args(kind):
        return kind.__name__
    return str(kind).replace("typing.", "")
