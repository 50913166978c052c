"""What a client gets when a handler's session is over."""

from __future__ import annotations

import inspect

from fastapi import FastAPI, HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..exceptions import SessionNotFoundError


def not_found(error: SessionNotFoundError) -> HTTPException:
    """Return the contract's answer."""
    return HTTPException(400, f"Bad request: {error}")


def answer_not_found(app: FastAPI) -> None:
    """Let the app give that answer where a handler raises the error.

    It looks like the app's own errors, and goes before an engine's handler of
    ValueErrors, which would show it in another way.
    """

    async def answer(request: Request, error: Exception) -> Response:
        assert isinstance(error, SessionNotFoundError)
        http_error = not_found(error)
        handlers = request.app.exception_handlers
        kind = next(kind for kind in type(http_error).__mro__ if kind in handlers)
        response = handlers[kind](request, http_error)
        found: Response = await response if inspect.isawaitable(response) else response
        return found

    app.exception_handlers.setdefault(SessionNotFoundError, answer)
