"""Sessions that end before their handler returns."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, Request
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse, Response
from fastapi.testclient import TestClient

from invocations_app import SESSION
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.sessions.manager import get_session_manager
from session_client import ask, begin, not_found, refusal


@pytest.fixture(autouse=True)
def sessions_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")


async def end_and_put(request: Request) -> None:
    sessions = get_session_manager()
    assert sessions is not None
    session = sessions.get_session(request.headers[SESSION])
    session.remove()
    session.put("key", 1)


def engine_app() -> FastAPI:
    """Return an app with its own error format, which reveals ValueErrors."""
    app = FastAPI()

    async def show(_request: Request, error: Exception) -> Response:
        return JSONResponse({"value error": str(error)}, 500)

    def format_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code)

    app.add_exception_handler(ValueError, show)
    app.add_exception_handler(HTTPException, format_error)
    return app


def test_write_to_ended_session_is_answered_as_not_found() -> None:
    sagemaker.invoke(end_and_put)
    client = TestClient(sagemaker.bootstrap(FastAPI()))
    session_id = begin(client)
    assert refusal(ask(client, session_id)) == not_found(session_id)


def test_error_has_format_of_engines_errors() -> None:
    sagemaker.invoke(end_and_put)
    client = TestClient(sagemaker.bootstrap(engine_app()))
    session_id = begin(client)
    answer = ask(client, session_id)
    assert answer.status_code == 400
    assert answer.json() == {"error": f"Bad request: session not found: {session_id}"}
