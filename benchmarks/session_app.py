"""The decorated app with sessions."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final
from unittest import mock

from fastapi import FastAPI

import application
from exchange import json_exchange
from traffic import PATH, SESSION_HEADER

_NEW: Final = b"x-amzn-sagemaker-new-session-id"
#: Lifetime of sessions in seconds, longer than any measurement.
_SECONDS: Final = 86_400


@contextmanager
def build(seconds: int = _SECONDS) -> Iterator[FastAPI]:
    """Build the app; its sessions expire after ``seconds`` and are deleted at exit."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true",
            "SAGEMAKER_SESSIONS_PATH": folder,
            "SAGEMAKER_SESSIONS_EXPIRATION": str(seconds),
        }
        with mock.patch.dict(os.environ, variables):
            yield application.build_standard()


@asynccontextmanager
async def start() -> AsyncIterator[tuple[FastAPI, str]]:
    """Build the app and create a session in it."""
    header = SESSION_HEADER.lower().encode(), b"unknown"
    with build() as app:
        # Check that sessions are on: otherwise the header is ignored.
        unknown = json_exchange("POST", PATH, {"model": "base"}, [header])
        await unknown.ask(app, status=400)
        yield app, await begin(app)


async def begin(app: FastAPI) -> str:
    """Create a session and return its id."""
    exchange = json_exchange("POST", PATH, {"requestType": "NEW_SESSION"})
    await exchange.ask(app)
    return dict(exchange.headers)[_NEW].decode().partition(";")[0]
