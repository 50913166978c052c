"""Adapter selection by header, on ``/invocations`` and the engine's own routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fastapi import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..asgi.form import append_to_form, read_boundary
from ..contract.headers import ADAPTER_IDENTIFIER, CONTENT_TYPE, header_text
from ..exceptions import AdapterError, StorageError
from .adapter_id import AdapterField, inject
from .runtime import AdapterRuntime

if TYPE_CHECKING:
    from .registry import AdapterRegistry


class AdapterMiddleware:
    """Routes a request to the adapter that its header names.

    Args:
        fields: the body fields that receive the adapter's name. Without any, the
            handler reads the header itself and the body is passed on unchanged.
        adapters: the adapters of this server.
        takes_forms: whether the name is also added to form bodies, which the engine's
            own routes accept.
    """

    def __init__(
        self,
        fields: Sequence[AdapterField],
        adapters: AdapterRuntime,
        *,
        takes_forms: bool,
    ) -> None:
        self.fields = fields
        self.adapters = adapters
        self.takes_forms = takes_forms

    async def __call__(
        self,
        handler: ASGIApp,
        headers: Mapping[bytes, bytes],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Select the adapter, write its name into the body and call ``handler``.

        Raises:
            HTTPException: the adapter does not exist, or the body cannot hold its name.
        """
        name = header_text(headers[ADAPTER_IDENTIFIER])
        adapters = self.adapters.current
        if adapters is None:
            _check_unavailable(self.adapters, name)
        elif adapters.backend is not None:
            await _select(adapters, name)
        boundary = read_boundary(headers.get(CONTENT_TYPE, b""))
        try:
            if boundary is None or not self.takes_forms:
                scope, receive = await inject(self.fields, name, scope, receive)
            else:
                fields = {field.path: name for field in self.fields}
                scope, receive = await append_to_form(scope, receive, boundary, fields)
        except ClientDisconnect:
            return
        await handler(scope, receive, send)


def _check_unavailable(adapters: AdapterRuntime, name: str) -> None:
    try:
        adapters.check_unavailable(name)
    except AdapterError as error:
        raise HTTPException(error.status_code, str(error)) from None


async def _select(adapters: AdapterRegistry, name: str) -> None:
    """Select a registered adapter; a name that the engine itself resolves passes."""
    try:
        await adapters.select(name)
    except AdapterError as error:
        if not adapters.resolves_natively(name):
            raise HTTPException(error.status_code, str(error)) from None
    except StorageError as error:
        raise HTTPException(507, str(error)) from None
