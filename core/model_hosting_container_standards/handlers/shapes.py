"""JMESPath shapes, which map a request to the arguments of an engine's handler."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

Shape = Mapping[str, Any]
Find = Callable[[Mapping[str, Any]], Any]


class CaseInsensitiveDict(dict[str, Any]):
    """A mapping whose lookups ignore the case of keys, as HTTP headers do."""

    def __init__(self, items: Mapping[str, Any]) -> None:
        super().__init__({key.lower(): value for key, value in items.items()})

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.lower(), default)


def compile_shape(shape: Shape) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return a function that evaluates ``shape`` over a document.

    ``shape`` maps names to JMESPath expressions or to nested shapes. An expression
    without a match is None.

    Raises:
        ValueError: an expression is not valid JMESPath.
    """
    fields: dict[str, Find] = {
        name: compile_shape(expression)
        if isinstance(expression, Mapping)
        else compile_path(name, expression)
        for name, expression in shape.items()
    }
    return lambda document: {name: find(document) for name, find in fields.items()}


def compile_path(name: str, expression: str) -> Find:
    """Return a function that evaluates a JMESPath expression over a document.

    Raises:
        ValueError: it is not valid JMESPath; the text begins with ``name``.
    """
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        find: Find = jmespath.compile(expression).search
    except (JMESPathError, TypeError) as error:
        raise ValueError(
            f"{name!r}: {expression!r} is not a JMESPath expression: {error}"
        ) from None
    return find


def fill_defaults(body: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    """Set missing fields of ``body``; ``defaults`` maps dotted paths to values."""
    for path, value in defaults.items():
        *parents, field = path.split(".")
        owner: Any = body
        for parent in parents:
            owner = owner.setdefault(parent, {})
            if not isinstance(owner, dict):
                break  # The client sent something other than an object there.
        else:
            owner.setdefault(field, copy.deepcopy(value))
