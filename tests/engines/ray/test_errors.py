"""Errors of model replicas: their status, without tracebacks and paths."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fastapi import HTTPException
from pydantic import BaseModel, ValidationError

import ray_serving

pytestmark = pytest.mark.usefixtures("ray_standin")


class Number(BaseModel):
    number: int


class OfRay(Exception):
    """Like Ray's ``OpenAIHTTPException``."""

    status_code = 404
    message = "no such model"


class VLLMClientError(Exception):
    """Like vLLM's own."""


def not_a_number() -> ValidationError:
    with pytest.raises(ValidationError) as error:
        Number.model_validate({"number": "/etc"})
    return error.value


class Replica:
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def check_health(self) -> None: ...

    async def completions(self, body: Any, headers: Any) -> AsyncGenerator[Any, None]:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (HTTPException(409, "it is taken"), 409, "it is taken"),
        (OfRay(), 404, "no such model"),
        (VLLMClientError("the prompt is too long"), 400, "the prompt is too long"),
        (not_a_number(), 400, "valid integer"),
        (ValueError("/a/path"), 500, "could not answer"),
        (RuntimeError("/a/path"), 500, "could not answer"),
    ],
)
def test_error_has_its_status_and_no_traceback(
    error: Exception, status: int, text: str
) -> None:
    with serving(error) as client:
        answer = client.post("/invocations", json={"prompt": "hello"})
    assert answer.status_code == status
    assert text in answer.text
    assert "Traceback" not in answer.text
    assert "/a/path" not in answer.text


def test_replica_that_ends_is_a_503() -> None:
    from ray.exceptions import ActorDiedError

    with serving(ActorDiedError()) as client:
        answer = client.post("/invocations", json={"prompt": "hello"})
    assert answer.status_code == 503
    assert "Try again" in answer.text


def serving(error: Exception) -> Any:
    from ray.serve.handle import DeploymentHandle

    return ray_serving.serving(tiny=DeploymentHandle("tiny", replica=Replica(error)))
