"""What a payload class may be, and what is said of one that may not."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, make_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import annotated_types as at
import pytest
import typing_extensions

from phloem.config import WireLimits
from phloem.contract import Doc, Pattern, contract_of, encode, parse_element, xmlify, xsd
from phloem.errors import ContractError
from phloem.wire.parsing import Parser

PARSER = Parser(WireLimits())
T = TypeVar("T")
UserId = NewType("UserId", str)


class Empty(enum.Enum):
    pass


class Flags(enum.Flag):
    A = 1


class Pair(NamedTuple):
    a: int


class Keys(TypedDict):
    a: int


class Plain:
    pass


Number = typing_extensions.TypeAliasType("Number", Annotated[int, at.Ge(0)])


@xmlify
@dataclass
class Tree:
    """A class of a module that refers to itself."""

    name: str
    children: list[Tree] = field(default_factory=list)


def roundtrip(payload: Any) -> Any:
    return parse_element(type(payload), PARSER.parse(encode(payload)))


@pytest.mark.parametrize(
    ("hint", "says"),
    [
        (Any, "union"),
        (object, "union"),
        (list, r"list\[str\]"),
        (dict, "dict"),
        (tuple, "tuple"),
        (Sequence[int], r"use list\[...\]"),
        (Mapping[str, int], "use dict"),
        (Callable[[], int], "carries no code"),
        (type[int], "Literal"),
        (Pair, "dataclass"),
        (Keys, "dataclass"),
        (Plain, "dataclass"),
        (T, "not generic"),
        (complex, "two float"),
        (bytearray, "use bytes"),
        (Empty, "without members"),
        (Flags, "set of a plain Enum"),
        (dict[tuple[int, int], str], "keys"),
        (set[list[int]], "list"),
        (list[int] | list[str], "List"),
        (Literal[1, "1"], "read alike"),
        (Literal["\x00"], "XML"),
        (Annotated[int, at.MultipleOf(3)], "__post_init__"),
        (Annotated[int, at.Predicate(bool)], "__post_init__"),
        (Annotated[int, at.MinLen(1)], "length"),
        (Annotated[int, Pattern("a")], "pattern"),
        (Annotated[str, Pattern("(?:a)")], "plain groups"),
        (Annotated[str, at.Ge(1)], "bound"),
        (Annotated[int, at.Ge(0.5)], "use a int"),
        (Annotated[int, at.Ge(5), at.Le(1)], "nothing is within"),
        (Annotated[int, at.Gt(5), at.Le(5)], "nothing is within"),
        (Annotated[int | str, at.Ge(1)], "member"),
        (Annotated[Plain, at.Ge(1)], "dataclass"),
        (Annotated[list[int], at.Len(3, 1)], "swap"),
        (Annotated[datetime, at.Ge(datetime(2020, 1, 1))], "numbers and dates"),
    ],
)
def test_an_unsupported_type_is_refused_with_its_field_and_what_to_use_instead(hint: Any, says: str) -> None:
    cls = make_dataclass("Refused", [("fine", int), ("wrong_one", hint)])
    with pytest.raises(ContractError, match=rf"^Refused\.wrong_one: .*{says}"):
        contract_of(cls)


def test_an_initvar_is_refused_and_classvars_and_init_false_stay_off_the_wire() -> None:
    @dataclass
    class Kept:
        limit: ClassVar[int] = 3
        name: str = "a"
        computed: int = field(default=7, init=False)

    assert encode(Kept("b")) == "<Kept><Name>b</Name></Kept>"
    assert roundtrip(Kept("b")) == Kept("b")

    @dataclass
    class Given:
        seed: InitVar[int]

    with pytest.raises(ContractError, match=r"seed: found an InitVar"):
        contract_of(Given)


def test_two_fields_with_one_tag_are_refused() -> None:
    cls = make_dataclass("Twice", [("user_name", str), ("userName", str)])
    with pytest.raises(ContractError, match="UserName is that of 'user_name'"):
        contract_of(cls)


def test_generic_dataclasses_are_refused() -> None:
    @dataclass
    class Box(Generic[T]):
        inside: T

    with pytest.raises(ContractError, match="generic"):
        contract_of(Box)


def test_xmlify_under_dataclass_is_refused() -> None:
    with pytest.raises(ContractError, match="put @dataclass below @xmlify"):

        @dataclass
        @xmlify
        class Wrong:
            name: str


def test_a_subclass_has_a_contract_of_its_own() -> None:
    @xmlify
    @dataclass
    class Base:
        name: str

    @dataclass
    class Derived(Base):
        age: int = 0

    assert contract_of(Base) is contract_of(Base)
    assert contract_of(Derived) is not contract_of(Base)
    assert encode(Derived("a", 1)) == "<Derived><Name>a</Name><Age>1</Age></Derived>"

    class Bare(Base):
        pass

    with pytest.raises(ContractError, match="dataclass"):
        contract_of(Bare)


def test_a_class_that_refers_to_itself_comes_back() -> None:
    tree = Tree("a", [Tree("b", [Tree("c")]), Tree("d")])
    assert roundtrip(tree) == tree


def test_classes_local_to_a_function_may_name_each_other_before_they_exist() -> None:
    @xmlify
    @dataclass
    class First:
        second: Second | None = None

    @xmlify
    @dataclass
    class Second:
        first: First | None = None

    assert roundtrip(First(Second(First()))) == First(Second(First()))
    assert "__phloem_frame__" not in vars(First)


def test_a_name_that_never_gets_a_value_is_told_with_its_field() -> None:
    @xmlify
    @dataclass
    class Lost:
        thing: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ContractError, match=r"Lost\.thing: name 'Nowhere' is not defined"):
        contract_of(Lost)


def test_a_field_called_like_its_type_finds_the_type() -> None:
    @xmlify
    @dataclass
    class Day:
        date: date = date(2020, 1, 1)

    assert roundtrip(Day(date(2021, 2, 3))) == Day(date(2021, 2, 3))


def test_aliases_newtypes_and_nested_annotated_are_seen_through() -> None:
    @dataclass
    class Seen:
        user: UserId
        number: Number
        maybe: Annotated[Optional[Annotated[int, at.Ge(1)]], at.Le(9), Doc("how many")]  # noqa: UP045
        either: Union[int, Union[str, None]]  # noqa: UP007

    fields = {each.name: each for each in contract_of(Seen).fields}
    assert fields["maybe"].doc == "how many"
    assert fields["maybe"].constraints == ("at least 1", "at most 9")
    assert fields["number"].constraints == ("at least 0",)
    assert roundtrip(Seen(UserId("u"), 1, 2, None)) == Seen(UserId("u"), 1, 2, None)


def test_two_nested_classes_of_one_name_keep_their_own_types() -> None:
    one = make_dataclass("Inner", [("a", int)])
    two = make_dataclass("Inner", [("b", str)])
    outer = make_dataclass("Outer", [("x", one), ("y", two)])
    payload = outer(one(1), two("z"))
    assert roundtrip(payload) == payload
    assert 'name="Inner_2"' in xsd(outer)
    with pytest.raises(ContractError, match="Inner"):
        contract_of(make_dataclass("Torn", [("x", one | two)]))


def test_constraints_and_docs_reach_the_xsd() -> None:
    @dataclass
    class Bounded:
        """What is bounded."""

        count: Annotated[int, at.Interval(ge=1, lt=5), typing_extensions.Doc("how many")]
        price: Annotated[Decimal, at.Gt(0)]
        name: Annotated[str, at.Len(2, 4), Pattern("^[a-z]+$")]
        some: Annotated[list[int], at.MinLen(1), at.MaxLen(3)]

    text = xsd(Bounded)
    for facet in (
        'minInclusive value="1"', 'maxExclusive value="5"', 'minExclusive value="0"', 'minLength value="2"',
        'maxLength value="4"', 'pattern value="[a-z]+"', 'minOccurs="1" maxOccurs="3"',
        "documentation>how many<", "documentation>What is bounded.<",
    ):  # fmt: skip
        assert facet in text


def test_what_the_class_already_calls_xsd_stays() -> None:
    @xmlify
    @dataclass
    class Own:
        xsd: str

    assert encode(Own("mine")) == "<Own><Xsd>mine</Xsd></Own>"
