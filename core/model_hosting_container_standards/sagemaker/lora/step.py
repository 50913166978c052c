"""The adapter step of ``/invocations``, and of the engine's inference routes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ...common.fastapi.form import append_to_form, form_boundary
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
        takes_forms: whether forms get the name too: the engine's own routes take them.
    """

    def __init__(
        self,
        fields: Sequence[AdapterField],
        adapters: Lifecycle,
        *,
        takes_forms: bool,
    ) -> None:
        self.fields = fields
        self.adapters = adapters
        self.takes_forms = takes_forms

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
            scope, receive = await self._inject(name, scope, receive)
        except ClientDisconnect:
            return  # Nobody is left to be answered.
        await handler(scope, receive, send)

    async def _inject(
        self, name: str, scope: Scope, receive: Receive
    ) -> tuple[Scope, Receive]:
        boundary = form_boundary(scope) if self.takes_forms else None
        if boundary is None:
            return await inject(self.fields, name, scope, receive)
        fields = {field.path: name for field in self.fields}
        return await append_to_form(scope, receive, boundary, fields)


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
