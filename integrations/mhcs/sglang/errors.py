"""SGLang's answers to invalid requests, without what the client sent or our paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response

Handler = Callable[[Request, RequestValidationError], Awaitable[Response]]

#: Errors that one answer lists.
_MAX_ERRORS: Final = 5


class _Invalid(RequestValidationError):
    """A validation error whose text names fields and reasons only."""

    def __str__(self) -> str:
        errors: Sequence[Mapping[str, Any]] = self.errors()
        shown = "; ".join(map(_describe, errors[:_MAX_ERRORS]))
        more = len(errors) - _MAX_ERRORS
        return f"{shown}; and {more} more" if more > 0 else shown


class _Errors(list[Any]):
    """Errors that are not shown: the text of :class:`_Invalid` says all."""

    def __str__(self) -> str:
        return ""


def hide_requests(app: FastAPI) -> None:
    """Make SGLang's handler of invalid requests answer without their content.

    It shows the errors of pydantic, in which the body is, and the source files of its
    routes.
    """
    handler = app.exception_handlers.get(RequestValidationError)
    if handler is not None and not getattr(handler, "hides_requests", False):
        app.exception_handlers[RequestValidationError] = _hiding(handler)


def _hiding(handler: Any) -> Handler:
    async def answer(request: Request, error: RequestValidationError) -> Response:
        errors = [_without_input(each) for each in error.errors()]
        response: Response = await handler(request, _Invalid(_Errors(errors)))
        return response

    answer.hides_requests = True  # type: ignore[attr-defined]
    return answer


def _without_input(error: Any) -> dict[str, Any]:
    return {key: error[key] for key in ("type", "loc", "msg") if key in error}


def _describe(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error.get("loc", ()))
    return f"{place}: {error.get('msg', 'invalid')}"
