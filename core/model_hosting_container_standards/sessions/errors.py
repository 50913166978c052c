"""The HTTP error for a session that does not exist."""

from __future__ import annotations

import inspect

from fastapi import FastAPI, HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..exceptions import SessionNotFoundError


def not_found_error(error: SessionNotFoundError) -> HTTPException:
    """Return the error as a 400."""
    return HTTPException(400, f"Bad request: {error}")


def add_not_found_handler(app: FastAPI) -> None:
    """Make the app answer 400 when a handler raises :class:`SessionNotFoundError`.

    The response is made by the app's own handler of HTTP errors. Without this, an
    engine's handler of ``ValueError``, the base class, would answer.
    """

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, SessionNotFoundError)
        http_error = not_found_error(error)
        handlers = request.app.exception_handlers
        kind = next(kind for kind in type(http_error).__mro__ if kind in handlers)
        response = handlers[kind](request, http_error)
        answered: Response = (
            await response if inspect.isawaitable(response) else response
        )
        return answered

    app.exception_handlers.setdefault(SessionNotFoundError, answer)
