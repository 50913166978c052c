"""The session step, which runs before the handlers of routes with sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi.body import peek_body
from ..asgi.body_field import BodyField, edit_body
from ..contract.headers import SESSION_ID
from .control_request import (
    CLOSE,
    CONTROL_REQUEST_LIMIT,
    NEW_SESSION,
    REQUEST_TYPE,
    control_request_in,
    may_be_control,
)

NOT_ENABLED: Final = "Invalid payload. stateful sessions not enabled"

#: The key of a scope for the request's session.
SESSION: Final = "model_hosting_container_standards.session"
_HEADER: Final = "X-Amzn-SageMaker-Session-Id"

#: The request to pass on to the handler.
Next = tuple[Scope, Receive]


class SessionMiddleware(Protocol):
    """Processes the requests of sessions to a route before its handler.

    These are requests with the header of a session, and control requests.
    """

    async def __call__(
        self,
        control: Mapping[str, Any] | None,
        headers: Mapping[bytes, bytes],
        handler: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> Next | None:
        """Return the request to pass on to the handler; None if it was answered.

        Args:
            control: the body of a control request, which begins or closes a session.

        Raises:
            HTTPException: the request is rejected.
        """


async def call_in_session(
    session: SessionMiddleware,
    headers: Mapping[bytes, bytes],
    handler: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    """Run the session step of a request that needs it, and the handler if it passes.

    Raises:
        HTTPException: the request is rejected.
    """
    control = None
    if may_be_control(headers):
        body, receive = await peek_body(receive, CONTROL_REQUEST_LIMIT)
        control = control_request_in(body)
    if control is not None or headers.get(SESSION_ID):
        try:
            passed = await session(control, headers, handler, scope, receive, send)
        except ClientDisconnect:
            return
        if passed is None:
            return
        scope, receive = passed
    await handler(scope, receive, send)


class SessionIdInBody:
    """Writes the engine's id of a request's session into fields of its body."""

    def __init__(self, app: ASGIApp, fields: Sequence[BodyField]) -> None:
        self.app = app
        self.fields = fields

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the id, and call the app.

        Raises:
            HTTPException: 400, the body is not a JSON object, or cannot hold the id.
        """
        if SESSION in scope:
            engine_id = scope[SESSION].engine_id

            def edit(document: dict[str, Any]) -> None:
                for field in self.fields:
                    field.write(document, engine_id)

            try:
                scope, receive = await edit_body(scope, receive, _HEADER, edit)
            except ClientDisconnect:
                return
        await self.app(scope, receive, send)


def with_session_id(app: ASGIApp, fields: Sequence[BodyField] | None) -> ASGIApp:
    """Return ``app`` with the session's id in its requests, if there is a field."""
    return SessionIdInBody(app, fields) if fields else app


class SessionsDisabled:
    """The session middleware of a server with sessions off: rejects session requests.

    Args:
        passes_header: pass the session header on, to a customer's handler that may
            implement sessions itself.
    """

    def __init__(self, passes_header: bool) -> None:
        self.passes_header = passes_header

    async def __call__(
        self,
        control: Mapping[str, Any] | None,
        headers: Mapping[bytes, bytes],
        handler: ASGIApp,  # noqa: ARG002 - the interface's signature
        scope: Scope,
        receive: Receive,
        send: Send,  # noqa: ARG002 - it answers only by raising
    ) -> Next | None:
        if headers.get(SESSION_ID) and not self.passes_header:
            raise HTTPException(400, NOT_ENABLED)
        # Any other type belongs to a protocol of the handler.
        if control is not None and control[REQUEST_TYPE] in (NEW_SESSION, CLOSE):
            raise HTTPException(400, NOT_ENABLED)
        return scope, receive
