"""SageMaker's protocol of sticky sessions, on every route that has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, Final

from fastapi import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..contract.headers import NEW_SESSION_ID, SESSION_ID, header_text
from ..exceptions import SessionNotFoundError, StorageError
from ..logging_config import get_logger
from .control_request import CLOSE, NEW_SESSION, REQUEST_TYPE
from .engine_sessions import EngineSessions
from .errors import not_found_error
from .manager import Session, SessionManager
from .new_session import NewSessionSend, control_request, replace_session_id
from .session_middleware import SESSION, Next

logger = get_logger(__name__)

_CLOSED_HEADER: Final = "X-Amzn-SageMaker-Closed-Session-Id"


class SessionProtocol:
    """The session middleware of a server with sessions on.

    Args:
        sessions: the sessions of the server.
        engine: the engine's own sessions, if it has any.
    """

    def __init__(self, sessions: SessionManager, engine: EngineSessions | None) -> None:
        self.sessions = sessions
        self.engine = engine

    async def __call__(
        self,
        control: Mapping[str, Any] | None,
        headers: Mapping[bytes, bytes],
        handler: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> Next | None:
        session_id = header_text(headers.get(SESSION_ID, b""))
        if control is not None:
            response = await self._answer_control(
                control, session_id or None, scope, receive
            )
            await response(scope, receive, send)
            return None
        if session_id == NEW_SESSION:
            await self._begin(handler, scope, receive, send)
            return None
        return {**scope, SESSION: await self._find(session_id)}, receive

    async def _begin(
        self, handler: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Begin a session, and let the handler answer its first request.

        If that fails, the session is closed again, as the client never gets its id.
        """
        with _storage_errors(NEW_SESSION):
            session = await self._create(*control_request(scope, NEW_SESSION))
        if isinstance(session, Response):
            return await session(scope, receive, send)
        new_send = NewSessionSend(_session_headers(session), send)
        try:
            scope = replace_session_id(scope, session.session_id)
            await handler({**scope, SESSION: session}, receive, new_send)
        finally:
            if not new_send.has_begun:
                await self._discard(session, scope)

    async def _discard(self, session: Session, scope: Scope) -> None:
        if self.engine is not None:
            await self.engine.close(session.engine_id, *control_request(scope, CLOSE))
        try:
            await asyncio.to_thread(session.remove)
        except (SessionNotFoundError, StorageError) as error:
            logger.info("A session whose first request failed stays open: %s", error)

    async def _answer_control(
        self,
        control: Mapping[str, Any],
        session_id: str | None,
        scope: Scope,
        receive: Receive,
    ) -> Response:
        request_type = control[REQUEST_TYPE]
        if request_type not in (NEW_SESSION, CLOSE):
            raise HTTPException(
                400, f"Bad request: {REQUEST_TYPE} must be {NEW_SESSION} or {CLOSE}."
            )
        if len(control) > 1:
            raise HTTPException(
                400, f"Bad request: send no other keys with {REQUEST_TYPE}."
            )
        with _storage_errors(request_type):
            if request_type == CLOSE:
                return await self._close(session_id, scope, receive)
            session = await self._create(scope, receive)
        if isinstance(session, Response):
            return session
        text = f"Session {session.session_id} created"
        return PlainTextResponse(text, headers=_session_headers(session))

    async def _create(self, scope: Scope, receive: Receive) -> Session | Response:
        """Begin a session; return the engine's Response if it reports a failure."""
        engine_id = None
        if self.engine is not None:
            engine_id = await self.engine.create(scope, receive)
            if isinstance(engine_id, Response):
                return engine_id
            if engine_id is None:
                raise HTTPException(
                    424, "Failed to create session: the engine's answer has no id."
                )
        try:
            # Not in Starlette's thread pool: long requests of handlers may fill it.
            return await asyncio.to_thread(self.sessions.create_session, engine_id)
        except StorageError:
            if self.engine is not None:
                await self.engine.close(engine_id, *control_request(scope, CLOSE))
            raise

    async def _close(
        self, session_id: str | None, scope: Scope, receive: Receive
    ) -> Response:
        if session_id is None:
            raise HTTPException(
                424, "Failed to close session: invalid session_id: None"
            )
        session = await self._find(session_id)
        if self.engine is not None:
            refusal = await self.engine.close(session.engine_id, scope, receive)
            if refusal is not None:
                return refusal
        try:
            await asyncio.to_thread(session.remove)
        except SessionNotFoundError as error:
            raise not_found_error(error) from None
        return PlainTextResponse(
            f"Session {session_id} closed", headers={_CLOSED_HEADER: session_id}
        )

    async def _find(self, session_id: str) -> Session:
        get = self.sessions.get_session
        try:
            if self.sessions.reads_block:
                return await asyncio.to_thread(get, session_id)
            return get(session_id)
        except SessionNotFoundError as error:
            raise not_found_error(error) from None
        except StorageError as error:
            logger.error("A session cannot be looked up: %s", error)
            raise HTTPException(507, "Sessions cannot be read: no storage.") from None


@contextmanager
def _storage_errors(request_type: str) -> Iterator[None]:
    """Turn a :class:`StorageError` into a 507."""
    try:
        yield
    except StorageError as error:
        logger.error("%s: %s", request_type, error)
        raise HTTPException(507, f"{request_type} failed: no storage.") from None


def _session_headers(session: Session) -> dict[str, str]:
    """Return the response headers that announce a new session."""
    value = f"{session.session_id}; Expires={_format_time(session.expires_at)}"
    return {SESSION_ID.decode(): value, NEW_SESSION_ID.decode(): value}


def _format_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
