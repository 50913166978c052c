"""The interface of the session step, which runs before ``/invocations``' handler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from fastapi import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from ..contract.headers import SESSION_ID
from .control_request import CLOSE, NEW_SESSION, REQUEST_TYPE, peek_control_request

NOT_ENABLED: Final = "Invalid payload. stateful sessions not enabled"

#: The request to pass on to the handler.
Next = tuple[Scope, Receive]


class SessionMiddleware(Protocol):
    """Processes each request to ``/invocations`` before its handler."""

    async def __call__(
        self,
        headers: Mapping[bytes, bytes],
        handler: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> Next | None:
        """Return the request to pass on to the handler; None if it was answered.

        Raises:
            HTTPException: the request is rejected.
        """


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
        headers: Mapping[bytes, bytes],
        handler: ASGIApp,  # noqa: ARG002 - the interface's signature
        scope: Scope,
        receive: Receive,
        send: Send,  # noqa: ARG002 - it answers only by raising
    ) -> Next | None:
        if headers.get(SESSION_ID) and not self.passes_header:
            raise HTTPException(400, NOT_ENABLED)
        document, receive = await peek_control_request(headers, receive)
        # Any other type belongs to a protocol of the handler.
        if document is not None and document[REQUEST_TYPE] in (NEW_SESSION, CLOSE):
            raise HTTPException(400, NOT_ENABLED)
        return scope, receive
