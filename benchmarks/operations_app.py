"""The decorated app with what operators may turn on, and without what is always on."""

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
    """Return the decorated app without anything around it."""
    from model_hosting_container_standards.app.server_runtime import ServerRuntime

    with mock.patch.object(ServerRuntime, "surround"):
        return application.build_standard()


@contextmanager
def start(operations: str) -> Iterator[FastAPI]:
    """Return the app with what is always on, or with all there is.

    It is surrounded when it answers its first request, here.
    """
    if operations == ALL_ON:
        _record_spans()
    variables = {} if operations == ALWAYS_ON else _VARIABLES
    with mock.patch.dict(os.environ, variables):
        yield application.build_standard()


async def check(app: FastAPI, operations: str) -> None:
    """Make sure that there is what is measured.

    Raises:
        SystemExit: it is not.
    """
    exchange = json_exchange("POST", PATH, {"model": "base"})
    await exchange.ask(app, status=200 if operations == ALWAYS_ON else 401)
    if b"x-request-id" not in dict(exchange.headers):
        raise SystemExit("The answer has no id")


def _record_spans() -> None:
    """Set OpenTelemetry up, but send nothing: whoever does has a thread for it."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    provider = TracerProvider()
    provider.add_span_processor(SpanProcessor())
    trace.set_tracer_provider(provider)
