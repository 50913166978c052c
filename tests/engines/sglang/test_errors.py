"""SGLang's answers to invalid requests name fields and reasons, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel

from mhcs.sglang.errors import hide_requests


class Body(BaseModel):
    prompt: str
    numbers: list[int] = []


def make_app() -> FastAPI:
    """Return an app whose handler of invalid requests shows all that it is given."""
    app = FastAPI()

    @app.exception_handler(RequestValidationError)
    async def show(request: Request, error: RequestValidationError) -> JSONResponse:
        message = f"{error} {error.errors()}"
        return JSONResponse({"message": message}, 400)

    @app.post("/generate")
    async def generate(body: Body) -> None:
        """Return nothing."""

    hide_requests(app)
    hide_requests(app)
    return app


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"secret": "x"}, "body.prompt: Field required"),
        ({"prompt": 5}, "body.prompt: Input should be a valid string"),
    ],
)
def test_answer_names_field_and_reason(body: Any, message: str) -> None:
    with TestClient(make_app()) as client:
        response = client.post("/generate", json=body)
    assert (response.status_code, response.json()["message"].strip()) == (400, message)


def test_answer_lists_some_of_many_errors() -> None:
    with TestClient(make_app()) as client:
        body = {"prompt": "hidden", "numbers": ["hidden"] * 9}
        message = client.post("/generate", json=body).json()["message"]
    assert message.count("valid integer") == 5
    assert "and 4 more" in message
    assert "hidden" not in message


def test_app_without_a_handler_is_left_alone() -> None:
    app = FastAPI()
    handler = app.exception_handlers.pop(RequestValidationError)
    hide_requests(app)
    assert RequestValidationError not in app.exception_handlers
    assert handler is not None
