"""What the requests of a route declare of one field."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..exceptions import HandlerNotCallableError
from .endpoint import resolved_signature

_UNIONS: Final = (Union, types.UnionType)


def declared_fields(
    endpoint: Callable[..., Any], name: str
) -> Iterator[Sequence[FieldInfo | None]]:
    """Yield, for each parameter, what its type says of a field.

    There are several where the type is a union. None: it is not a request, or one
    without the field.
    """
    try:
        parameters = resolved_signature(endpoint).parameters.values()
    except HandlerNotCallableError:
        return
    for parameter in parameters:
        yield [_field(kind, name) for kind in _alternatives(parameter.annotation)]


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in _UNIONS:
        for part in get_args(annotation):
            yield from _alternatives(part)
    else:
        yield annotation


def _field(kind: Any, name: str) -> FieldInfo | None:
    is_request = isinstance(kind, type) and issubclass(kind, BaseModel)
    return kind.model_fields.get(name) if is_request else None
