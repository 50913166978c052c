"""An answer of a layer, in the form that the app's own errors have."""

from __future__ import annotations

from fastapi import HTTPException
from starlette.types import Receive, Scope, Send

from ...common.fastapi.middleware.errors import NotingSend, answer_error


async def refuse(
    error: HTTPException, scope: Scope, receive: Receive, send: Send
) -> None:
    await answer_error(error, scope, receive, NotingSend(send))
