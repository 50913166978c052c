"""The session step of ``/invocations``: what is asked before the handler is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from fastapi import HTTPException
from starlette.types import Receive, Scope, Send

from ..headers import SESSION_ID
from .control import CLOSE, NEW_SESSION, REQUEST_TYPE, peek_control_request

NOT_ENABLED: Final = "Invalid payload. stateful sessions not enabled"

#: The request to go on with; None: it has been answered.
Next = tuple[Scope, Receive] | None


class SessionStep(Protocol):
    """Looks at each request to ``/invocations`` before its handler does."""

    async def __call__(
        self, headers: Mapping[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> Next:
        """Answer the request, or return what goes on to the handler.

        Raises:
            HTTPException: it is to be refused.
        """


class NoSessions:
    """The step of a server that has no sessions: refuses whoever wants one."""

    async def __call__(
        self,
        headers: Mapping[bytes, bytes],
        scope: Scope,
        receive: Receive,
        send: Send,  # noqa: ARG002 - raised is all it answers
    ) -> Next:
        if headers.get(SESSION_ID):
            raise HTTPException(400, NOT_ENABLED)
        document, receive = await peek_control_request(headers, receive)
        # Any other type is somebody's own protocol.
        if document is not None and document[REQUEST_TYPE] in (NEW_SESSION, CLOSE):
            raise HTTPException(400, NOT_ENABLED)
        return scope, receive
