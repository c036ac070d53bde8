"""Annotations as objects, also when they were written as text.

Decides where the names in a string annotation are looked up: what was local where the class
was defined, the class itself, its module, and last its own body. Called by ``analysis`` and
``contract``.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Mapping
from typing import Any, final

from phloem.errors import ContractError

__all__ = ["NotYetDefined", "is_own_dataclass", "resolved"]


@final
class NotYetDefined(Exception):
    """An annotation names something that does not exist (yet)."""


def is_own_dataclass(cls: type) -> bool:
    """Whether @dataclass was applied to this very class, not only to one it inherits from."""
    return "__dataclass_fields__" in cls.__dict__


def resolved(cls: type, names: Mapping[str, Any]) -> dict[str, Any]:
    """Each field's annotation as an object, own and inherited.

    Raises ``NotYetDefined``, or ``ContractError`` for what is no type at all.
    """
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if not is_own_dataclass(base):
            continue
        module = sys.modules.get(base.__module__)
        # own scope last: `date: date = ...` must find the type, not the default
        scope = {
            **vars(base),
            **(vars(module) if module else {}),
            **(names if "." in base.__qualname__ else {}),  # a class of a module knows no function's locals
            base.__name__: base,
            cls.__name__: cls,
        }
        for name, annotation in inspect.get_annotations(base).items():
            # a class as its holder, for only there a ClassVar is allowed
            holder = type("Holder", (), {"__annotations__": {name: annotation}})
            try:
                hints.update(typing.get_type_hints(holder, globalns=scope, include_extras=True))
            except NameError as error:
                raise NotYetDefined(
                    f"{base.__qualname__}.{name}: {error}; define it, or import it outside TYPE_CHECKING"
                ) from None
            except (TypeError, SyntaxError, AttributeError) as error:
                raise ContractError(
                    f"{base.__qualname__}.{name}: {annotation!r} is no type ({error})"
                ) from None
    return hints
