"""Errors of model replicas, as clients see them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import HTTPException
from pydantic import ValidationError
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayError

from model_hosting_container_standards.logging_config import get_logger

logger = get_logger(__name__)


async def with_public_errors(
    outputs: AsyncGenerator[Any, None],
) -> AsyncGenerator[Any, None]:
    """Yield the outputs of a replica; its errors have no traceback and no paths.

    Ray's own ingress answers with the traceback of the replica.

    Raises:
        HTTPException: the error, with its status.
    """
    try:
        async with aclosing(outputs):
            async for output in outputs:
                yield output
    except RayError as error:
        logger.error("A replica has raised an error", exc_info=error)
        raise _public_error(error) from None


def _public_error(error: RayError) -> HTTPException:
    if isinstance(error, (ActorDiedError, ActorUnavailableError)):
        return HTTPException(503, "The replica of the model ended. Try again.")
    cause = getattr(error, "cause", None)
    if isinstance(status := getattr(cause, "status_code", None), int):
        text = getattr(cause, "detail", None) or getattr(cause, "message", str(cause))
        return HTTPException(status, text)
    if _is_of_client(cause):
        return HTTPException(400, str(cause))
    return HTTPException(500, "The model could not answer. Its log has the reason.")


def _is_of_client(cause: object) -> bool:
    """Whether an error is about the request, as some of vLLM's are."""
    names = {base.__name__ for base in type(cause).__mro__}
    return isinstance(cause, ValidationError) or "VLLMClientError" in names
