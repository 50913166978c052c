"""Spans of requests in processes with OpenTelemetry's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import ProxyTracerProvider, SpanKind, StatusCode

import model_hosting_container_standards.sagemaker as sagemaker
from model_hosting_container_standards.observability import tracing

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
PARENT: Final = f"00-{TRACE}-b7ad6b7169203331-01"
ADAPTER: Final = "X-Amzn-SageMaker-Adapter-Identifier"


class Spans:
    """The exported spans."""

    def __init__(self, sampler: sampling.Sampler = sampling.ALWAYS_ON) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def one(self) -> ReadableSpan:
        [span] = self.all()
        return span


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """Set up the SDK for one test; its API allows that only once per process."""
    found = Spans()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", found.provider)
    yield found
    found.provider.shutdown()


def app_of(handler: Any, **options: Any) -> FastAPI:
    """Return an app whose FastAPI does not make spans, as newer releases do."""
    app = FastAPI(**{"telemetry": {"tracing": False}, **options})
    app.post("/invocations")(handler)
    app.get("/ping")(echo)
    return sagemaker.bootstrap(app)


def client_of(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


async def echo(request: Request) -> dict[str, Any]:
    return {
        "parents": request.headers.getlist("traceparent"),
        "state": request.headers.get("tracestate"),
        "body": (await request.body()).decode(),
    }


def test_request_span_continues_clients_trace(spans: Spans) -> None:
    headers = {
        "traceparent": PARENT,
        "tracestate": "a=b",
        "X-Request-Id": "client",
        ADAPTER: "fr",
    }
    answer = client_of(app_of(echo)).post(
        "/invocations", content=b"my prompt", headers=headers
    )
    span = spans.one()
    assert (span.name, span.kind) == ("POST /invocations", SpanKind.SERVER)
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert dict(span.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/invocations",
        "http.response.status_code": 200,
        "url.path": "/invocations",
        "sagemaker.request_id": "client",
        "sagemaker.adapter": "fr",
    }
    # The engine's spans are its children.
    context = f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert answer.json()["parents"] == [context]
    assert answer.json()["state"] == "a=b"


def test_request_starts_a_trace_without_parent(spans: Spans) -> None:
    answer = client_of(app_of(echo)).post("/invocations")
    span = spans.one()
    assert span.parent is None
    assert span.context is not None
    [parent] = answer.json()["parents"]
    assert parent.split("-")[1] == f"{span.context.trace_id:032x}"
    assert "sagemaker.adapter" not in (span.attributes or {})


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/adapters", "GET /adapters"),
        ("DELETE", "/adapters/a/b", "DELETE /adapters/{name}"),
        ("GET", "/ping", None),
        ("GET", "/metrics", None),
        ("POST", "/unknown", None),
    ],
)
def test_contracts_routes_have_spans(
    spans: Spans, method: str, path: str, name: str | None
) -> None:
    client_of(app_of(echo)).request(method, path)
    assert [span.name for span in spans.all()] == ([name] if name else [])


@pytest.mark.parametrize(
    ("error", "status", "code", "kind"),
    [
        (HTTPException(503, "my prompt"), 503, StatusCode.ERROR, "503"),
        (HTTPException(400, "my prompt"), 400, StatusCode.UNSET, None),
        (RuntimeError("my prompt"), 500, StatusCode.ERROR, "RuntimeError"),
    ],
)
def test_spans_record_errors_without_messages(
    spans: Spans, error: Exception, status: int, code: StatusCode, kind: str | None
) -> None:
    async def fails(request: Request) -> None:
        raise error

    client_of(app_of(fails)).post("/invocations")
    span = spans.one()
    assert span.status.status_code is code
    attributes = span.attributes or {}
    assert attributes["http.response.status_code"] == status
    assert attributes.get("error.type") == kind
    assert "my prompt" not in span.to_json()


def test_span_lasts_until_end_of_stream(spans: Spans) -> None:
    async def handler(request: Request) -> StreamingResponse:
        async def chunks() -> Any:
            yield b"a"
            assert not spans.all()
            yield b"b"

        return StreamingResponse(chunks())

    answer = client_of(app_of(handler)).post("/invocations")
    assert answer.content == b"ab"
    assert spans.one().status.status_code is StatusCode.UNSET


def test_handlers_spans_are_children(spans: Spans) -> None:
    async def handler(request: Request) -> Response:
        with trace.get_tracer("handler").start_as_current_span("inner"):
            return Response()

    client_of(app_of(handler)).post("/invocations")
    inner, outer = spans.all()
    assert inner.parent is not None
    assert outer.context is not None
    assert inner.parent.span_id == outer.context.span_id


def test_unsampled_context_is_propagated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider = TracerProvider(sampler=sampling.ALWAYS_OFF)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    answer = client_of(app_of(echo)).post(
        "/invocations", headers={"traceparent": PARENT}
    )
    [parent] = answer.json()["parents"]
    assert parent.split("-")[1] == TRACE
    assert parent.endswith("-00")


def test_rejected_requests_have_spans(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MHCS_API_KEY", "key")
    client_of(app_of(echo)).post("/invocations")
    assert (spans.one().attributes or {})["http.response.status_code"] == 401


def test_tracing_can_be_set_up_until_server_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Spans()
    app = app_of(echo)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", found.provider)
    with client_of(app) as client:
        client.post("/invocations")
    assert found.one().name == "POST /invocations"


@pytest.mark.parametrize(
    "provider", [None, trace.NoOpTracerProvider(), ProxyTracerProvider()]
)
def test_no_spans_without_sdk(monkeypatch: pytest.MonkeyPatch, provider: Any) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    assert tracing.configured_tracer() is None
    headers = {"traceparent": PARENT}
    answer = client_of(app_of(echo)).post("/invocations", headers=headers)
    assert answer.json()["parents"] == [PARENT]


@pytest.mark.parametrize("sampler", [sampling.ALWAYS_ON, sampling.ALWAYS_OFF])
def test_existing_request_span_is_reused(
    monkeypatch: pytest.MonkeyPatch, sampler: sampling.Sampler
) -> None:
    found = Spans(sampler)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", found.provider)
    app = app_of(echo)
    build = app.build_middleware_stack

    def build_in_a_span() -> Any:
        stack = build()

        async def traced(scope: Any, receive: Any, send: Any) -> None:
            tracer = trace.get_tracer("another")
            with tracer.start_as_current_span("another", kind=SpanKind.SERVER):
                await stack(scope, receive, send)

        return traced

    monkeypatch.setattr(app, "build_middleware_stack", build_in_a_span)
    headers = {"X-Request-Id": "client", ADAPTER: "fr", "traceparent": PARENT}
    answer = client_of(app).post("/invocations", headers=headers)
    [parent] = answer.json()["parents"]
    assert parent.split("-")[1] != TRACE
    if sampler is sampling.ALWAYS_OFF:
        assert found.all() == ()
        return
    span = found.one()
    assert span.context is not None
    assert parent.split("-")[2] == f"{span.context.span_id:016x}"
    expected = {"sagemaker.request_id": "client", "sagemaker.adapter": "fr"}
    assert dict(span.attributes or {}) == expected


def test_span_around_whole_server_is_not_reused(spans: Spans) -> None:
    with trace.get_tracer("another").start_as_current_span("start"):
        client_of(app_of(echo)).post("/invocations")
    assert [span.name for span in spans.all()] == ["POST /invocations", "start"]


def test_request_is_one_server_span_on_any_fastapi(spans: Spans) -> None:
    """Newer releases of FastAPI make the span themselves."""
    client = client_of(app_of(echo, telemetry={}))
    client.post("/invocations", headers={"X-Request-Id": "client"})
    [span] = [span for span in spans.all() if span.kind is SpanKind.SERVER]
    assert span.name == "POST /invocations"
    assert (span.attributes or {})["sagemaker.request_id"] == "client"
