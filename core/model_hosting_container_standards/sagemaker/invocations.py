"""What stands between a request to ``/invocations`` and the handler that answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..common.fastapi.body import decode_json, read_body, replace_body
from .headers import (
    ADAPTER_IDENTIFIER,
    CUSTOM_ATTRIBUTES,
    header_text,
    sagemaker_headers,
)
from .lora.adapter_header import AdapterField
from .sessions.refusal import refuse_sessions

_ROUTE_ATTRIBUTE: Final = re.compile(
    r"(?:^|[,;])\s*route\s*=\s*([^,;\s]*)\s*(?=[,;]|$)"
)


class Invocations:
    """The ASGI app of ``/invocations``: session step, adapter step, handler.

    Args:
        handler: what answers.
        adapter: the body field of the adapter header, or None to leave bodies alone.
        routes: where the ``route`` attribute may send a request instead; None when the
            handler is a customer's, which sees the attribute itself.
    """

    def __init__(
        self,
        handler: ASGIApp,
        adapter: AdapterField | None,
        routes: Mapping[str, ASGIApp] | None,
    ) -> None:
        self.handler = handler
        self.adapter = adapter
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = sagemaker_headers(scope)
        handler = self.handler
        if self.routes is not None and CUSTOM_ATTRIBUTES in headers:
            handler = self._chosen_route(header_text(headers[CUSTOM_ATTRIBUTES]))
        try:
            receive = await refuse_sessions(headers, receive)
            if self.adapter is not None and ADAPTER_IDENTIFIER in headers:
                adapter_id = headers[ADAPTER_IDENTIFIER]
                scope, receive = await self.adapter.inject(adapter_id, scope, receive)
        except ClientDisconnect:
            return  # Nobody is left to be answered.
        await handler(scope, receive, send)

    def _chosen_route(self, attributes: str) -> ASGIApp:
        chosen = set(_ROUTE_ATTRIBUTE.findall(attributes))
        if not chosen:
            return self.handler
        routes = self.routes or {}
        if len(chosen) == 1 and (route := chosen.pop()) in routes:
            return routes[route]
        allowed = ", ".join(sorted(routes)) or "none, as this server has no such route"
        raise HTTPException(
            400,
            "X-Amzn-SageMaker-Custom-Attributes: route= must be one of the inference "
            f"routes of this server: {allowed}.",
        )


class ByBody:
    """Sends a request to the route that fits its body, as the first known key tells."""

    def __init__(self, routes: Mapping[str, ASGIApp]) -> None:
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            raw = await read_body(receive)
        except ClientDisconnect:
            return
        await self._choose(raw)(scope, replace_body(receive, raw), send)

    def _choose(self, raw: bytes) -> ASGIApp:
        try:
            document = decode_json(raw)
        except (ValueError, RecursionError) as error:
            raise HTTPException(400, f"The body is no JSON: {error}") from None
        if isinstance(document, dict):
            for key, route in self.routes.items():
                if key in document:
                    return route
        keys = ", ".join(repr(key) for key in self.routes)
        raise HTTPException(400, f"The body must be a JSON object with one of {keys}.")
