"""The decorated app with and without observability, key and limits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from unittest import mock

from fastapi import FastAPI

import application
from exchange import json_exchange
from traffic import ALL_ON, ALWAYS_ON, KEY, PATH

_VARIABLES: Final = {
    "MHCS_API_KEY": KEY,
    "MHCS_LOG_FORMAT": "json",
    "MHCS_MAX_BODY_BYTES": "1000000",
}


def build_without() -> FastAPI:
    """Return the decorated app without the outer middleware."""
    from model_hosting_container_standards.app.server_runtime import ServerRuntime

    with mock.patch.object(ServerRuntime, "surround"):
        return application.build_standard()


@contextmanager
def start(operations: str) -> Iterator[FastAPI]:
    """Return the app with the operations that are always on, or with optional ones.

    The outer middleware is built at the first request, which must be sent inside the
    context.
    """
    if operations == ALL_ON:
        _record_spans()
    variables = {} if operations == ALWAYS_ON else _VARIABLES
    with mock.patch.dict(os.environ, variables):
        yield application.build_standard()


async def check(app: FastAPI, operations: str) -> None:
    """Check that the operations to be measured are on.

    Raises:
        SystemExit: they are not.
    """
    exchange = json_exchange("POST", PATH, {"model": "base"})
    await exchange.ask(app, status=200 if operations == ALWAYS_ON else 401)
    if b"x-request-id" not in dict(exchange.headers):
        raise SystemExit("The response has no request id")


def _record_spans() -> None:
    """Set up OpenTelemetry without an exporter, which would use another thread."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    provider = TracerProvider()
    provider.add_span_processor(SpanProcessor())
    trace.set_tracer_provider(provider)
