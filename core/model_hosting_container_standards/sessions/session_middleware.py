"""The session step of ``/invocations``: what is asked before the handler is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from fastapi import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from ..contract.headers import SESSION_ID
from .control_request import CLOSE, NEW_SESSION, REQUEST_TYPE, peek_control_request

NOT_ENABLED: Final = "Invalid payload. stateful sessions not enabled"

#: The request to go on with.
Next = tuple[Scope, Receive]


class SessionMiddleware(Protocol):
    """Looks at each request to ``/invocations`` before its handler does."""

    async def __call__(
        self,
        headers: Mapping[bytes, bytes],
        handler: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> Next | None:
        """Answer the request, or return what goes on to the handler.

        Raises:
            HTTPException: it is to be refused.
        """


class SessionsDisabled:
    """The step of a server that has no sessions: refuses requests for one.

    Args:
        own_header: whether the handler is a customer's, which may have sessions of its
            own: then the header reaches it.
    """

    def __init__(self, own_header: bool) -> None:
        self.own_header = own_header

    async def __call__(
        self,
        headers: Mapping[bytes, bytes],
        handler: ASGIApp,  # noqa: ARG002 - for sessions that begin
        scope: Scope,
        receive: Receive,
        send: Send,  # noqa: ARG002 - raised is all it answers
    ) -> Next | None:
        if headers.get(SESSION_ID) and not self.own_header:
            raise HTTPException(400, NOT_ENABLED)
        document, receive = await peek_control_request(headers, receive)
        # Any other type is somebody's own protocol.
        if document is not None and document[REQUEST_TYPE] in (NEW_SESSION, CLOSE):
            raise HTTPException(400, NOT_ENABLED)
        return scope, receive
