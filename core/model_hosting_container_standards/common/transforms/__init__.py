"""JMESPath shapes: from a request to the arguments an engine wants. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Shape = Mapping[str, Any]


class CaseInsensitiveDict(dict[str, Any]):
    """A mapping whose lookups ignore the case of keys, as HTTP headers do."""

    def __init__(self, items: Mapping[str, Any]) -> None:
        super().__init__({key.lower(): value for key, value in items.items()})

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.lower(), default)


def compile_shape(shape: Shape) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return a function that fills ``shape`` from a document.

    ``shape`` maps names to JMESPath expressions, or to shapes of their own. What an
    expression does not find is None.

    Raises:
        ValueError: an expression is no JMESPath.
    """
    import jmespath
    from jmespath.exceptions import JMESPathError

    fields: dict[str, Callable[[Mapping[str, Any]], Any]] = {}
    for name, expression in shape.items():
        if isinstance(expression, Mapping):
            fields[name] = compile_shape(expression)
            continue
        try:
            fields[name] = jmespath.compile(expression).search
        except (JMESPathError, TypeError) as error:
            raise ValueError(
                f"{name!r}: {expression!r} is no JMESPath expression: {error}"
            ) from None
    return lambda document: {name: find(document) for name, find in fields.items()}
