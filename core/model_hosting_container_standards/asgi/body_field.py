"""Write an adapter's or a session's id into a field of a JSON body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import HTTPException
from starlette.types import Receive, Scope

from .body import JSON_BODY, JSONBody, read_body, replace_json_body, take_whole


class BodyField(msgspec.Struct, frozen=True):
    """A body field, by its dotted path, such as ``"model"`` or ``"lora.name"``.

    Args:
        owner: what the id belongs to, for error messages.

    Raises:
        ValueError: the path is empty, has empty parts, or is not a string.
    """

    path: str
    owner: str = "adapter"

    def __post_init__(self) -> None:
        if problem := _problem(self.path):
            raise ValueError(
                f"The path of the {self.owner}'s id {problem}. Use the name of a body "
                "field such as 'model', or 'lora.name' for a nested one."
            )

    def write(self, document: dict[str, Any], value: Any) -> None:
        """Write an id into a body; missing parents are created.

        Raises:
            HTTPException: 400, a parent is not a JSON object.
        """
        *parents, field = self.path.split(".")
        holder = document
        for parent in parents:
            holder = self._check_object(holder.setdefault(parent, {}))
        holder[field] = self.combine(holder.get(field), value)

    def combine(self, old: Any, value: Any) -> Any:  # noqa: ARG002 - for subclasses
        """Return the new value of a field whose value is ``old``."""
        return value

    def _check_object(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise HTTPException(
                400,
                f"The {self.owner}'s id is written to {self.path!r}: its parents must "
                "be JSON objects.",
            )
        return value


def _problem(path: object) -> str | None:
    """Return what is wrong with a path; None if it is valid."""
    if not isinstance(path, str):
        return f"is not a string: {path!r}"
    if not path:
        return "is empty"
    return None if all(path.split(".")) else f"has an empty part: {path!r}"


async def edit_body(
    scope: Scope, receive: Receive, header: str, edit: Callable[[dict[str, Any]], None]
) -> tuple[Scope, Receive]:
    """Return the request with an edited body; repeated edits decode it only once.

    Args:
        header: name of the header that requires the edit, for the error message.

    Raises:
        HTTPException: 400, the body is not a JSON object.
    """
    if JSON_BODY in scope:
        scope[JSON_BODY].also(edit)
        return scope, receive
    raw = take_whole(receive)
    if raw is None:
        raw = await read_body(receive)
    try:
        body = JSONBody(raw, edit)
    except (ValueError, TypeError):
        raise HTTPException(
            400, f"{header} needs a request body that is a JSON object."
        ) from None
    return replace_json_body(scope, receive, body)
