"""Sessions of a route whose ``Security`` dependencies may refuse a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..asgi.body import replay
from ..asgi.security_check import SecurityCheck
from ..contract.headers import SESSION_ID
from .control_request import NEW_SESSION
from .session_middleware import Next, SessionMiddleware

_BEGINS: Final = NEW_SESSION.encode()


class ProtectedSessions:
    """A session step that only begins and closes sessions of permitted clients.

    The session step precedes the route, and so the route's own dependencies.

    Args:
        session: the session step.
        security: the check of the route that would answer.
    """

    def __init__(self, session: SessionMiddleware, security: SecurityCheck) -> None:
        self.session = session
        self.security = security

    async def __call__(
        self,
        control: Mapping[str, Any] | None,
        headers: Mapping[bytes, bytes],
        handler: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> Next | None:
        if control is not None or headers.get(SESSION_ID) == _BEGINS:
            # A dependency may read the body, which is needed again.
            messages: list[Message] = []
            recording = _record(receive, messages)
            if not await self.security.permits(scope, recording, send):
                return None
            receive = replay(messages, receive)
        return await self.session(control, headers, handler, scope, receive, send)


def _record(receive: Receive, messages: list[Message]) -> Receive:
    async def recording() -> Message:
        message = await receive()
        messages.append(message)
        return message

    return recording


def protect(
    session: SessionMiddleware, security: SecurityCheck | None
) -> SessionMiddleware:
    """Return ``session`` for a route with this check, if it has one."""
    return session if security is None else ProtectedSessions(session, security)
