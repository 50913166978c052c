"""Fields of a JSON body into which a step of ours writes an id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import HTTPException
from starlette.types import Receive, Scope

from .body import JSON_BODY, JSONBody, read_body, replace_json_body


class BodyField(msgspec.Struct, frozen=True):
    """The dotted path of a field, such as ``"model"`` or ``"lora.name"``.

    ``owner`` says whose id it is, for errors.
    """

    path: str
    owner: str = "adapter"

    def __post_init__(self) -> None:
        path: object = self.path
        if not (isinstance(path, str) and all(path.split("."))):
            raise ValueError(
                f"{self.path!r} is no path of a body field for the {self.owner}'s id: "
                "write a name such as 'model', or 'lora.name' for a nested one."
            )

    def write(self, document: dict[str, Any], value: Any) -> None:
        """Write an id into a body; parents that are missing are made.

        Raises:
            HTTPException: 400, a parent is no JSON object.
        """
        *parents, field = self.path.split(".")
        holder = document
        for parent in parents:
            holder = self._check_object(holder.setdefault(parent, {}))
        holder[field] = self.combine(holder.get(field), value)

    def combine(self, old: Any, value: Any) -> Any:  # noqa: ARG002 - for others
        """Return what is written where ``old`` is."""
        return value

    def _check_object(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise HTTPException(
                400,
                f"The {self.owner}'s id belongs into {self.path!r}: its parents must "
                "be JSON objects.",
            )
        return value


async def edit_body(
    scope: Scope, receive: Receive, header: str, edit: Callable[[dict[str, Any]], None]
) -> tuple[Scope, Receive]:
    """Return the request with an edited body, which is decoded once, however often.

    Raises:
        HTTPException: 400, the body is no JSON object, which ``header`` needs.
    """
    if JSON_BODY in scope:
        scope[JSON_BODY].also(edit)
        return scope, receive
    try:
        body = JSONBody(await read_body(receive), edit)
    except (ValueError, TypeError, RecursionError):
        raise HTTPException(
            400, f"{header} needs a request body that is a JSON object."
        ) from None
    return replace_json_body(scope, receive, body)
