"""The protocol of sticky sessions, on ``/invocations``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, Final

from fastapi import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi.body_field import BodyField, edit_body
from ..contract.headers import NEW_SESSION_ID, SESSION_ID, header_text
from ..exceptions import SessionNotFoundError, StorageError
from ..logging_config import get_logger
from .control_request import CLOSE, NEW_SESSION, REQUEST_TYPE, peek_control_request
from .engine_sessions import EngineSessions
from .errors import not_found
from .manager import Session, SessionManager
from .new_session import NewSessionSend, control_request, with_session_id
from .session_middleware import Next

logger = get_logger(__name__)

_HEADER: Final = "X-Amzn-SageMaker-Session-Id"
_CLOSED_HEADER: Final = "X-Amzn-SageMaker-Closed-Session-Id"


class SessionProtocol:
    """The session step of a server that has them.

    Args:
        sessions: where they are.
        engine: the engine's own, if it has some.
        field: the body field that gets the session's id, as the engine calls it.
    """

    def __init__(
        self,
        sessions: SessionManager,
        engine: EngineSessions | None,
        field: BodyField | None,
    ) -> None:
        self.sessions = sessions
        self.engine = engine
        self.field = field

    async def __call__(
        self,
        headers: Mapping[bytes, bytes],
        handler: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> Next | None:
        control, receive = await peek_control_request(headers, receive)
        sent = headers.get(SESSION_ID)
        session_id = header_text(sent) if sent else None
        if control is not None:
            response = await self._control(control, session_id, scope, receive)
            await response(scope, receive, send)
            return None
        if session_id is None:
            return scope, receive
        if session_id == NEW_SESSION:
            await self._begin(handler, scope, receive, send)
            return None
        return await self._lead(self._find(session_id), scope, receive)

    async def _lead(self, session: Session, scope: Scope, receive: Receive) -> Next:
        """Return a request of a session with its id in the body, where that goes."""
        if (field := self.field) is None:
            return scope, receive

        def edit(document: dict[str, Any]) -> None:
            field.write(document, session.engine_id)

        return await edit_body(scope, receive, _HEADER, edit)

    async def _begin(
        self, handler: ASGIApp, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Begin a session by the first request of it, which the handler answers.

        No session is left behind where that fails: the client learns of none.
        """
        with _storage(NEW_SESSION):
            session = await self._create(*control_request(scope, NEW_SESSION))
        if isinstance(session, Response):
            return await session(scope, receive, send)
        beginning = NewSessionSend(_headers(session), send)
        try:
            scope = with_session_id(scope, session.session_id)
            following = await self._lead(session, scope, receive)
            await handler(*following, beginning)
        finally:
            if not beginning.has_begun:
                await self._abandon(session, scope)

    async def _abandon(self, session: Session, scope: Scope) -> None:
        if self.engine is not None:
            await self.engine.close(session.engine_id, *control_request(scope, CLOSE))
        try:
            await asyncio.to_thread(session.remove)
        except (SessionNotFoundError, StorageError) as error:
            logger.info("A session that has not begun is not closed: %s", error)

    async def _control(
        self,
        control: Mapping[str, Any],
        session_id: str | None,
        scope: Scope,
        receive: Receive,
    ) -> Response:
        wanted = control[REQUEST_TYPE]
        if wanted not in (NEW_SESSION, CLOSE):
            raise HTTPException(
                400, f"Bad request: {REQUEST_TYPE} is {NEW_SESSION} or {CLOSE}."
            )
        if len(control) > 1:
            raise HTTPException(
                400, f"Bad request: nothing may stand beside {REQUEST_TYPE}."
            )
        with _storage(wanted):
            if wanted == CLOSE:
                return await self._close(session_id, scope, receive)
            session = await self._create(scope, receive)
        if isinstance(session, Response):
            return session
        text = f"Session {session.session_id} created"
        return PlainTextResponse(text, headers=_headers(session))

    async def _create(self, scope: Scope, receive: Receive) -> Session | Response:
        """Begin a session, or return what the engine answers instead."""
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
            # Not the threads of handlers: those may all be busy with long requests.
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
        session = self._find(session_id)
        if self.engine is not None:
            refusal = await self.engine.close(session.engine_id, scope, receive)
            if refusal is not None:
                return refusal
        try:
            await asyncio.to_thread(session.remove)
        except SessionNotFoundError as error:
            raise not_found(error) from None
        return PlainTextResponse(
            f"Session {session_id} closed", headers={_CLOSED_HEADER: session_id}
        )

    def _find(self, session_id: str) -> Session:
        try:
            return self.sessions.get_session(session_id)
        except SessionNotFoundError as error:
            raise not_found(error) from None
        except StorageError as error:
            logger.error("A session cannot be looked up: %s", error)
            raise HTTPException(507, "Sessions cannot be read: no storage.") from None


@contextmanager
def _storage(wanted: str) -> Iterator[None]:
    """Answer 507 where sessions cannot be stored."""
    try:
        yield
    except StorageError as error:
        logger.error("%s: %s", wanted, error)
        raise HTTPException(507, f"{wanted} failed: no storage.") from None


def _headers(session: Session) -> dict[str, str]:
    """Return what tells a client of its new session."""
    value = f"{session.session_id}; Expires={_time(session.expires_at)}"
    return {SESSION_ID.decode(): value, NEW_SESSION_ID.decode(): value}


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
