"""``X-Amzn-SageMaker-Adapter-Identifier``: the client's choice of an adapter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from fastapi import HTTPException
from starlette.types import Receive, Scope

from ..asgi.body_field import BodyField, edit_body
from ..handlers.metadata import get_metadata, set_metadata

H = TypeVar("H", bound=Callable[..., Any])

_ATTRIBUTE: Final = "__adapter_fields__"
_HEADER: Final = "X-Amzn-SageMaker-Adapter-Identifier"


class AdapterField(BodyField, frozen=True):
    """The field of a JSON body that names the adapter.

    The adapter's id replaces the value, or is appended to it after ``separator``.
    """

    append: bool = False
    separator: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.append and self.separator is None:
            raise ValueError(
                "The separator is missing: append=True needs one, between the field's "
                "value and the id."
            )
        if self.separator is not None and not self.append:
            raise ValueError(
                f"The separator {self.separator!r} has no effect without append=True: "
                "give both or neither."
            )

    def combine(self, old: Any, value: Any) -> Any:
        if self.separator is None or old is None:
            return value
        if not isinstance(old, str):
            raise HTTPException(
                400, f"The adapter's id is appended to {self.path!r}: send a string."
            )
        return f"{old}{self.separator}{value}"


def inject_adapter_id(
    adapter_path: str, append: bool = False, separator: str | None = None
) -> Callable[[H], H]:
    """Write the id of the adapter header into the body of the decorated handler.

    ``adapter_path`` is the dotted path of a field of the JSON body. A request without
    the header is passed on unchanged. Takes effect on the handler's routes once the app
    is bootstrapped.

    Raises:
        ValueError: the path is empty or not a string, or only one of ``append`` and
            ``separator`` is given.
    """
    field = AdapterField(adapter_path, append=append, separator=separator)

    def decorate(handler: H) -> H:
        return set_metadata(handler, _ATTRIBUTE, (*adapter_fields(handler), field))

    return decorate


def adapter_fields(handler: Callable[..., Any]) -> tuple[AdapterField, ...]:
    """Return the fields that :func:`inject_adapter_id` declared on this handler."""
    fields: tuple[AdapterField, ...] = get_metadata(handler, _ATTRIBUTE) or ()
    return fields


def inject(
    fields: Sequence[AdapterField], name: str, scope: Scope, receive: Receive
) -> Awaitable[tuple[Scope, Receive]]:
    """Return the request with the adapter's name in its body.

    Raises:
        HTTPException: 400, the body is not a JSON object, or cannot hold the id.
    """

    def edit(document: dict[str, Any]) -> None:
        for field in fields:
            field.write(document, name)

    return edit_body(scope, receive, _HEADER, edit)
