"""``X-Amzn-SageMaker-Adapter-Identifier``: the client's choice of an adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from fastapi import HTTPException
from starlette.types import Receive, Scope

from ...common.fastapi.body import JSONBody, read_body, replace_json_body
from ...common.fastapi.endpoint import with_json_request
from ...common.handler import handler_registry

H = TypeVar("H", bound=Callable[..., Any])

_ATTRIBUTE: Final = "__adapter_fields__"


class AdapterField(msgspec.Struct, frozen=True):
    """The field of a JSON body that names the adapter.

    ``path`` is the field's dotted path. The adapter's id replaces what is there, or is
    appended to it after ``separator``.
    """

    path: str
    append: bool = False
    separator: str | None = None

    def __post_init__(self) -> None:
        _check_path(self.path)
        if self.append and self.separator is None:
            raise ValueError(
                "append=True needs a separator between the field's value and the id."
            )
        if self.separator is not None and not self.append:
            raise ValueError(
                f"separator={self.separator!r} is only used with append=True."
            )

    def write(self, document: dict[str, Any], adapter_id: str) -> None:
        """Write the adapter's id into a body.

        Raises:
            HTTPException: 400, the body has no such field and cannot get one.
        """
        *parents, field = self.path.split(".")
        owner = document
        for parent in parents:
            owner = self._check_object(owner.setdefault(parent, {}))
        owner[field] = self._value(owner.get(field), adapter_id)

    def _value(self, old: Any, adapter_id: str) -> str:
        if self.separator is None or old is None:
            return adapter_id
        if not isinstance(old, str):
            raise HTTPException(
                400, f"The adapter's id is appended to {self.path!r}: send a string."
            )
        return f"{old}{self.separator}{adapter_id}"

    def _check_object(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise HTTPException(
                400,
                f"The adapter's id belongs into {self.path!r}: its parents must be "
                "JSON objects.",
            )
        return value


def inject_adapter_id(
    adapter_path: str, append: bool = False, separator: str | None = None
) -> Callable[[H], H]:
    """Write the id of the adapter header into the body of the decorated handler.

    ``adapter_path`` is the dotted path of a field of the JSON body. A request without
    the header reaches the handler as it came. Takes effect on ``/invocations``, once
    the app is bootstrapped.

    Raises:
        ValueError: the path is empty or no string, or only one of ``append`` and
            ``separator`` is given.
    """
    field = AdapterField(adapter_path, append, separator)

    def decorate(handler: H) -> H:
        endpoint = with_json_request(handler)
        setattr(endpoint, _ATTRIBUTE, (*adapter_fields(handler), field))
        # Registered by a decorator below this one: meant is what this one returns.
        handler_registry.replace(handler, endpoint)
        return endpoint  # type: ignore[return-value]

    return decorate


def adapter_fields(handler: Callable[..., Any]) -> tuple[AdapterField, ...]:
    """Return what :func:`inject_adapter_id` was told for this handler."""
    fields: tuple[AdapterField, ...] | None = getattr(handler, _ATTRIBUTE, None)
    if fields is not None:
        return fields
    inner = getattr(handler, "func", None) or getattr(handler, "__wrapped__", None)
    return () if inner is None else adapter_fields(inner)


async def inject(
    fields: Sequence[AdapterField], name: str, scope: Scope, receive: Receive
) -> tuple[Scope, Receive]:
    """Return the request with the adapter's name in its body.

    Raises:
        HTTPException: 400, the body is no JSON object, or cannot hold the id.
    """

    def edit(document: dict[str, Any]) -> None:
        for field in fields:
            field.write(document, name)

    try:
        body = JSONBody(await read_body(receive), edit)
    except (ValueError, TypeError, RecursionError):
        raise HTTPException(
            400,
            "X-Amzn-SageMaker-Adapter-Identifier needs a request body that is a JSON "
            "object.",
        ) from None
    return replace_json_body(scope, receive, body)


def _check_path(path: Any) -> None:
    if not (isinstance(path, str) and all(path.split("."))):
        raise ValueError(
            f"adapter_path={path!r} is no path of a body field: write a name such as "
            "'model', or 'lora.name' for a nested one."
        )
