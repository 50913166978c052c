"""OpenTelemetry spans, if the process has configured the SDK."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..contract.headers import ADAPTER_IDENTIFIER, header_text
from ..request_id import REQUEST_ID
from .route_labels import ADAPTER, ADAPTERS, INVOCATIONS, route_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_NAME: Final = "model_hosting_container_standards"
_TRACED: Final = frozenset({INVOCATIONS, ADAPTERS, ADAPTER})


def configured_tracer() -> Tracer | None:
    """Return a tracer of OpenTelemetry's SDK; None if the SDK is not configured.

    Nothing is imported for it: code that configures the SDK has imported it.
    """
    trace = sys.modules.get("opentelemetry.trace")
    sdk = sys.modules.get("opentelemetry.sdk.trace")
    if trace is None or sdk is None:
        return None
    if not isinstance(trace.get_tracer_provider(), sdk.TracerProvider):
        return None
    tracer: Tracer = trace.get_tracer(_NAME)
    return tracer


class Tracing:
    """Middleware that creates a span per request to ``/invocations`` and ``/adapters``.

    The span continues the client's trace and is the parent of the engine's spans. It
    contains neither the body nor exception messages, which may quote the body.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer, routes: Mapping[str, str]) -> None:
        from opentelemetry import context, propagate, trace

        self.app = app
        self._tracer = tracer
        self._routes = routes
        self._trace = trace
        self._context = context
        self._propagator = propagate.get_global_textmap()
        fields = self._propagator.fields
        self._fields = {field.lower().encode(): field for field in fields}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = route_of(scope, self._routes) if scope["type"] == "http" else ""
        if route not in _TRACED:
            await self.app(scope, receive, send)
        elif (span := self._outer_span()) is not None:
            span.set_attributes(_own_attributes(scope))
            await self.app(self._with_context(scope), receive, send)
        else:
            await self._trace_request(route, scope, receive, send)

    def _outer_span(self) -> Span | None:
        """Return the server span of an outer instrumentation, if there is one.

        OpenTelemetry's instrumentation of FastAPI starts one, for instance.
        """
        server = self._trace.SpanKind.SERVER
        span = self._trace.get_current_span()
        # A span that is not sampled has no kind.
        if span.get_span_context().is_valid and getattr(span, "kind", server) is server:
            return span
        return None

    async def _trace_request(
        self, route: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        span = self._tracer.start_span(
            f"{scope['method']} {route}",
            context=self._propagator.extract(self._carrier(scope)),
            kind=self._trace.SpanKind.SERVER,
            attributes=_http_attributes(scope, route),
        )
        # Not `use_span`: the context manager takes as long as another span.
        token = self._context.attach(self._trace.set_span_in_context(span))
        try:
            await self._answer(span, scope, receive, send)
        finally:
            self._context.detach(token)
            span.end()

    async def _answer(
        self, span: Span, scope: Scope, receive: Receive, send: Send
    ) -> None:
        traced = TracedSend(span, send)
        try:
            await self.app(self._with_context(scope), receive, traced)
        except Exception as error:
            self._fail(span, type(error).__name__)
            raise
        if traced.status >= 500:
            self._fail(span, str(traced.status))

    def _fail(self, span: Span, kind: str) -> None:
        span.set_attribute("error.type", kind)
        span.set_status(self._trace.StatusCode.ERROR)

    def _carrier(self, scope: Scope) -> dict[str, str]:
        return {
            field: value.decode("latin-1")
            for name, value in scope["headers"]
            if (field := self._fields.get(name)) is not None
        }

    def _with_context(self, scope: Scope) -> Scope:
        """Return the scope with headers that name our span as the parent."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        added = [(k.lower().encode(), v.encode("latin-1")) for k, v in carrier.items()]
        kept = (header for header in scope["headers"] if header[0] not in self._fields)
        return {**scope, "headers": [*kept, *added]}


class TracedSend:
    """A ``send`` that records the response status in a span."""

    __slots__ = ("send", "span", "status")

    def __init__(self, span: Span, send: Send) -> None:
        self.span = span
        self.send = send
        self.status = 0

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.span.set_attribute("http.response.status_code", self.status)
        return self.send(message)


def _http_attributes(scope: Scope, route: str) -> dict[str, str]:
    return {
        "http.request.method": scope["method"],
        "http.route": route,
        "url.path": scope["path"],
        **_own_attributes(scope),
    }


def _own_attributes(scope: Scope) -> dict[str, str]:
    attributes = {"sagemaker.request_id": REQUEST_ID.get() or ""}
    for name, value in scope["headers"]:
        if name == ADAPTER_IDENTIFIER:
            attributes["sagemaker.adapter"] = header_text(value)
    return attributes
