"""The adapter step of ``/invocations``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ...exceptions import AdapterError, StorageError
from ..headers import header_text
from .adapter import Adapter
from .adapter_header import AdapterField, inject
from .lifecycle import Lifecycle

if TYPE_CHECKING:
    from .adapters import Adapters


class AdapterStep:
    """Leads a request to the adapter its header names.

    Args:
        fields: the body fields that get the adapter's name; none: the handler looks at
            the header itself, and the request is passed on as it is.
        adapters: what is registered, if this package registers adapters here.
    """

    def __init__(self, fields: Sequence[AdapterField], adapters: Lifecycle) -> None:
        self.fields = fields
        self.adapters = adapters

    async def __call__(
        self,
        handler: ASGIApp,
        adapter_id: bytes,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Let ``handler`` answer by the adapter.

        Raises:
            HTTPException: there is no such adapter, or the body cannot hold its name.
        """
        name = header_text(adapter_id)
        adapters = self.adapters.current
        if adapters is None:
            _check_absent(self.adapters, name)
        if adapters is None or adapters.backend is None:
            return await self._answer(handler, name, scope, receive, send)
        leased = await _lease(adapters, name)
        try:
            return await self._answer(handler, name, scope, receive, send)
        finally:
            if leased is not None:
                adapters.give_back(leased)

    async def _answer(
        self, handler: ASGIApp, name: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            scope, receive = await inject(self.fields, name, scope, receive)
        except ClientDisconnect:
            return  # Nobody is left to be answered.
        await handler(scope, receive, send)


def _check_absent(adapters: Lifecycle, name: str) -> None:
    try:
        adapters.check_absent(name)
    except AdapterError as error:
        raise HTTPException(error.status_code, str(error)) from None


async def _lease(adapters: Adapters, name: str) -> Adapter | None:
    """Return the adapter, ready to answer; None for what the engine has without us."""
    try:
        return await adapters.lease_loaded(name)
    except AdapterError as error:
        if adapters.finds(name):
            return None
        raise HTTPException(error.status_code, str(error)) from None
    except StorageError as error:
        raise HTTPException(507, str(error)) from None
