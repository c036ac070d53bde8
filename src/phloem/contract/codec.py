"""Encoder and decoder of one class as Python source, for messages that are as they should be.

Decides nothing that ``writing`` and ``reading`` do not decide: the generated functions take the straight
road only, and raise ``Slow`` (or stumble) at anything unusual, on which the caller asks
those. Interpreting the plan per message was tried: it costs five times as much. The
source is readable; a traceback shows its lines. Called by ``contract`` alone.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from math import isfinite
from typing import Any, Final, final

from phloem.wire.text import escaped

from .constraints import Facets
from .plans import Choice, Leaf, Many, Nothing, OneOf, Plan, Record, Row, Table
from .source import Source
from .types import BLANK, DOUBLE, SCALARS, non_finite
from .writing import member_for

__all__ = ["Slow", "decoder", "encoder"]


@final
class Slow(Exception):
    """Not the straight road: let ``writing`` or ``reading`` look at it."""


_write_str: Final = SCALARS[str].write
_DIGITS: Final = re.compile("-?[0-9]+")


def _unplain(text: str) -> str:
    """Text with characters that need a look: line breaks, or what XML cannot carry."""
    return escaped(_write_str(text))


def _float_text(value: float) -> str:
    return repr(value) if isfinite(value) else non_finite(value)


_NAMES: Final[Mapping[str, Any]] = {
    "Slow": Slow,
    "blank": BLANK,
    "digits": _DIGITS.fullmatch,
    "double": DOUBLE.fullmatch,
    "escaped": escaped,
    "float_text": _float_text,
    "unplain": _unplain,
}


def encoder(record: Record) -> Callable[[Any], str]:
    """From an instance to its canonical text."""
    source = Source(record, "encode", _NAMES)
    return source.build(_write_function)


def decoder(record: Record) -> Callable[[Any], Any]:
    """From an element (of the right name) to an instance."""
    source = Source(record, "decode", _NAMES)
    return source.build(_read_function)


# -- writing -----------------------------------------------------------------------------------


def _write_function(source: Source, record: Record, name: str) -> None:
    cls = source.bound("Class", record.cls)
    source.line(0, f"def {name}(it):")
    source.line(1, f"if type(it) is not {cls}: raise Slow")
    pieces: list[str] = []
    for field in record.fields:
        value = source.fresh("v")
        source.line(1, f"{value} = it.{field.name}")
        pieces.append(f"<{field.tag}>{_written(source, 1, field.plan, value)}</{field.tag}>")
    inside = "".join(pieces)
    if name == source.verb:  # the outermost; a class inside itself gets a second function, without its tag
        inside = f"<{record.tag}>{inside}</{record.tag}>"
    source.line(1, f"return f{_quoted(inside)}")
    source.line(0, "")


def _quoted(template: str) -> str:
    return '"' + template + '"'  # element names and braces only: nothing in it needs an escape


def _written(source: Source, depth: int, plan: Plan, value: str) -> str:
    """Lines that check ``value`` and turn it into text; what to put into the f-string."""
    line = source.line
    match plan:
        case Leaf():
            return _written_leaf(source, depth, plan, value)
        case Choice():
            line(depth, f"{value} = escaped({source.bound('write', plan.write)}({value}))")
        case Nothing():
            line(depth, f"if {value} is not None: raise Slow")
            return ""
        case Many():
            if plan.kind in (set, frozenset):
                line(depth, f"if {value}: raise Slow")  # sorting is not the straight road
                return "" if not plan.least else _never(source, depth)
            line(depth, f"if type({value}) is not {plan.kind.__name__}: raise Slow")
            _bounds(source, depth, f"len({value})", plan.least, plan.most)
            pieces, item = source.fresh("p"), source.fresh("v")
            line(depth, f"{pieces} = []")
            line(depth, f"for {item} in {value}:")
            inside = _written(source, depth + 1, plan.item, item)
            tag = plan.item.tag
            line(depth + 1, f"{pieces}.append(f{_quoted(f'<{tag}>{inside}</{tag}>')})")
            line(depth, f'{value} = "".join({pieces})')
        case Row():
            line(depth, f"if type({value}) is not tuple: raise Slow")
            items = [source.fresh("v") for _ in plan.items]
            if not items:
                line(depth, f"if {value}: raise Slow")
                return ""
            line(depth, f"{''.join(f'{item}, ' for item in items)}= {value}")
            row = [
                f"<{tag}>{_written(source, depth, inner, item)}</{tag}>"
                for tag, inner, item in zip(plan.tags, plan.items, items, strict=True)
            ]
            return "".join(row)
        case Table():
            line(depth, f"if type({value}) is not dict: raise Slow")
            _bounds(source, depth, f"len({value})", plan.least, plan.most)
            pieces, key, inner = source.fresh("p"), source.fresh("v"), source.fresh("v")
            line(depth, f"{pieces} = []")
            line(depth, f"for {key}, {inner} in {value}.items():")
            left = _written(source, depth + 1, plan.key, key)
            right = _written(source, depth + 1, plan.value, inner)
            pair = _quoted(f"<Item><Key>{left}</Key><Val>{right}</Val></Item>")
            line(depth + 1, f"{pieces}.append(f{pair})")
            line(depth, f'{value} = "".join({pieces})')
        case OneOf():
            which = source.fresh("m")
            for number, (tag, member) in enumerate(plan.members.items()):
                test = f"type({value}) is {source.bound('Type', _type_of(member))}"
                if isinstance(member, Choice) or _type_of(member) is object:
                    chosen = source.bound("chosen", partial(member_for, plan))
                    test = f"{chosen}({value}) == {tag!r}"
                line(depth, f"{'elif' if number else 'if'} {test}:")
                inside = _written(source, depth + 1, member, value)
                line(depth + 1, f"{which} = f{_quoted(f'<{tag}>{inside}</{tag}>')}")
            line(depth, "else: raise Slow")
            return f"{{{which}}}"
        case Record():
            line(depth, f"{value} = {source.function(plan)}({value})")
    return f"{{{value}}}"


def _type_of(plan: Plan) -> type:
    match plan:
        case Leaf():
            return plan.scalar.python
        case Nothing():
            return type(None)
        case Many():
            return plan.kind
        case Row():
            return tuple
        case Table():
            return dict
        case Record():
            return plan.cls
        case _:
            return object


def _never(source: Source, depth: int) -> str:
    source.line(depth, "raise Slow")
    return ""


def _written_leaf(source: Source, depth: int, plan: Leaf, value: str) -> str:
    line, python = source.line, plan.scalar.python
    if python not in (str, int, float, bool):
        # their texts hold no markup
        line(depth, f"{value} = {source.bound('write', plan.write)}({value})")
        return f"{{{value}}}"
    line(depth, f"if type({value}) is not {python.__name__}: raise Slow")
    _facets(source, depth, plan.facets, value)
    if python is str:
        line(depth, f"if {value}.isprintable():")
        for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            line(depth + 1, f"if '{char}' in {value}: {value} = {value}.replace('{char}', '{entity}')")
        line(depth, f"else: {value} = unplain({value})")
    elif python is float:
        line(depth, f"{value} = float_text({value})")
    elif python is bool:
        line(depth, f"{value} = 'true' if {value} else 'false'")
    return f"{{{value}}}"


def _facets(source: Source, depth: int, facets: Facets, value: str) -> None:
    for operator, limit in ((">=", facets.ge), (">", facets.gt), ("<=", facets.le), ("<", facets.lt)):
        if limit is not None:
            source.line(depth, f"if not {value} {operator} {source.bound('limit', limit)}: raise Slow")
    _bounds(source, depth, f"len({value})", facets.min_length or 0, facets.max_length)
    if facets.regex is not None:
        source.line(depth, f"if not {source.bound('matches', facets.regex.fullmatch)}({value}): raise Slow")


def _bounds(source: Source, depth: int, length: str, least: int, most: int | None) -> None:
    if least:
        source.line(depth, f"if {length} < {least}: raise Slow")
    if most is not None:
        source.line(depth, f"if {length} > {most}: raise Slow")


# -- reading -----------------------------------------------------------------------------------


def _read_function(source: Source, record: Record, name: str) -> None:
    cls = source.bound("Class", record.cls)
    source.line(0, f"def {name}(it):")
    if not record.fields:
        _read_nothing(source, 1, "it")
        source.line(1, f"return {cls}()")
        return
    _elements_only(source, 1, "it")
    children = [source.fresh("c") for _ in record.fields]
    source.line(1, f"{''.join(f'{child}, ' for child in children)}= it")
    arguments: list[str] = []
    positional = _positional(record)
    for number, (field, child) in enumerate(zip(record.fields, children, strict=True)):
        _is_child(source, 1, child, field.tag)
        keyword = "" if number < positional else f"{field.name}="
        arguments.append(f"{keyword}{_read(source, 1, field.plan, child)}")
    source.line(1, f"return {cls}({', '.join(arguments)})")
    source.line(0, "")


def _positional(record: Record) -> int:
    """How many fields its __init__ takes by position, in their order; keywords cost twice that."""
    taken = [
        name
        for name, parameter in inspect.signature(record.cls).parameters.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    number = 0
    for field, name in zip(record.fields, taken, strict=False):
        if field.name != name:
            break
        number += 1
    return number


def _is_child(source: Source, depth: int, child: str, tag: str) -> None:
    source.line(depth, f"if {child}.tag != {tag!r}: raise Slow")
    source.line(depth, f"if {child}.tail is not None and {child}.tail.strip(blank): raise Slow")


def _elements_only(source: Source, depth: int, element: str) -> None:
    source.line(depth, f"if {element}.keys(): raise Slow")
    source.line(depth, f"if {element}.text is not None and {element}.text.strip(blank): raise Slow")


def _read_nothing(source: Source, depth: int, element: str) -> None:
    source.line(depth, f"if {element}.keys() or {element}.text or len({element}): raise Slow")


def _read(source: Source, depth: int, plan: Plan, element: str) -> str:
    """Lines that read ``element``; the expression of its value."""
    line = source.line
    match plan:
        case Leaf():
            return _read_leaf(source, depth, plan, element)
        case Choice():
            line(depth, f"if {element}.keys() or len({element}): raise Slow")
            return f"{source.bound('values', plan.values)}[{element}.text or '']"
        case Nothing():
            _read_nothing(source, depth, element)
            return "None"
        case Many():
            _elements_only(source, depth, element)
            items, item = source.fresh("v"), source.fresh("c")
            line(depth, f"{items} = []")
            line(depth, f"for {item} in {element}:")
            _is_child(source, depth + 1, item, plan.item.tag)
            line(depth + 1, f"{items}.append({_read(source, depth + 1, plan.item, item)})")
            _bounds(source, depth, f"len({items})", plan.least, plan.most)
            if plan.kind in (set, frozenset):
                unique = source.fresh("v")
                line(depth, f"{unique} = {plan.kind.__name__}({items})")
                line(depth, f"if len({unique}) != len({items}): raise Slow")
                return unique
            return items if plan.kind is list else f"tuple({items})"
        case Row():
            if not plan.items:
                _read_nothing(source, depth, element)
                return "()"
            _elements_only(source, depth, element)
            return f"({', '.join(_unpacked(source, depth, plan.tags, plan.items, element))},)"
        case Table():
            _elements_only(source, depth, element)
            pairs, item, key = source.fresh("v"), source.fresh("c"), source.fresh("v")
            line(depth, f"{pairs} = {{}}")
            line(depth, f"for {item} in {element}:")
            _is_child(source, depth + 1, item, "Item")
            _elements_only(source, depth + 1, item)
            left, right = _unpacked(source, depth + 1, ("Key", "Val"), (plan.key, plan.value), item)
            line(depth + 1, f"{key} = {left}")
            line(depth + 1, f"if {key} in {pairs}: raise Slow")
            line(depth + 1, f"{pairs}[{key}] = {right}")
            _bounds(source, depth, f"len({pairs})", plan.least, plan.most)
            return pairs
        case OneOf():
            return _read_union(source, depth, plan, element)
        case Record():
            return f"{source.function(plan)}({element})"


def _unpacked(
    source: Source, depth: int, tags: tuple[str, ...], plans: tuple[Plan, ...], element: str
) -> list[str]:
    children = [source.fresh("c") for _ in plans]
    source.line(depth, f"{''.join(f'{child}, ' for child in children)}= {element}")
    values: list[str] = []
    for tag, plan, child in zip(tags, plans, children, strict=True):
        _is_child(source, depth, child, tag)
        values.append(_read(source, depth, plan, child))
    return values


def _read_union(source: Source, depth: int, plan: OneOf, element: str) -> str:
    line = source.line
    _elements_only(source, depth, element)
    only, tag, value = source.fresh("c"), source.fresh("t"), source.fresh("v")
    line(depth, f"{only}, = {element}")
    line(depth, f"if {only}.tail is not None and {only}.tail.strip(blank): raise Slow")
    line(depth, f"{tag} = {only}.tag")
    for number, (name, member) in enumerate(plan.members.items()):
        line(depth, f"{'elif' if number else 'if'} {tag} == {name!r}:")
        line(depth + 1, f"{value} = {_read(source, depth + 1, member, only)}")
    line(depth, "else: raise Slow")
    return value


def _read_leaf(source: Source, depth: int, plan: Leaf, element: str) -> str:
    line, python = source.line, plan.scalar.python
    line(depth, f"if {element}.keys() or len({element}): raise Slow")
    if python is str and not plan.facets.any:
        return f"{element}.text or ''"
    value = source.fresh("v")
    if python is str:
        line(depth, f"{value} = {element}.text or ''")
        _facets(source, depth, plan.facets, value)
    elif python is int:
        line(depth, f"{value} = {element}.text")
        line(depth, f"if not ({value}.isascii() and {value}.isdigit()) and not digits({value}): raise Slow")
        line(depth, f"{value} = int({value})")
        _facets(source, depth, plan.facets, value)
    elif python is float:
        line(depth, f"{value} = {element}.text")
        line(depth, f"if not double({value}): raise Slow")
        line(depth, f"{value} = float({value})")
        _facets(source, depth, plan.facets, value)
    else:
        line(depth, f"{value} = {source.bound('read', plan.read)}({element}.text or '')")
    return value
