"""Registration of an engine's session handlers, and errors at startup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request

from invocations_app import NOT_ENABLED, parse
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.exceptions import (
    ConfigurationError,
    HandlerNotFoundError,
)
from session_client import NEW, refusal
from session_engine import Engine


@pytest.fixture(autouse=True)
def sessions_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")


def test_decorators_return_handler_unchanged() -> None:
    async def handler(raw_request: Request) -> None:
        """The handler's docstring."""

    assert sagemaker.register_create_session_handler("id")(handler) is handler
    assert sagemaker.register_close_session_handler("id")(handler) is handler


async def handler(raw_request: Request) -> Any:
    return {"id": "abc"}


@pytest.mark.parametrize(
    ("register", "missing"),
    [
        (sagemaker.register_create_session_handler, "register_close_session_handler"),
        (sagemaker.register_close_session_handler, "register_create_session_handler"),
    ],
)
def test_one_handler_without_the_other_stops_startup(
    register: Callable[..., Any], missing: str
) -> None:
    app = FastAPI()
    app.post("/invocations")(parse)
    register("id")(handler)
    with pytest.raises(HandlerNotFoundError, match=f"{missing} was not"):
        sagemaker.bootstrap(app)


@pytest.mark.parametrize("path", ["", "a.[", "a b", "body..id", None, 7])
def test_invalid_jmespath_is_a_value_error(path: Any) -> None:
    with pytest.raises(ValueError, match="engine_response_session_id_path"):
        sagemaker.register_create_session_handler(path)


@pytest.mark.parametrize("path", ["", "a..b", ".", "body.", None, 7])
def test_path_that_is_not_a_field_is_a_value_error(path: Any) -> None:
    with pytest.raises(ValueError, match="session"):
        sagemaker.register_close_session_handler(path)


@pytest.mark.parametrize("kind", ["CREATE", "CLOSE"])
@pytest.mark.parametrize("value", ["[1]", "{", '{"capacity": 1}', '{"body.": 1}'])
def test_invalid_defaults_stop_startup(
    monkeypatch: pytest.MonkeyPatch, kind: str, value: str
) -> None:
    name = f"SAGEMAKER_TRANSFORMS_{kind}_SESSION_DEFAULTS"
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        Engine().client()


@pytest.mark.parametrize("kind", ["CREATE", "CLOSE"])
def test_bad_defaults_are_ignored_with_sessions_off(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "false")
    monkeypatch.setenv(f"SAGEMAKER_TRANSFORMS_{kind}_SESSION_DEFAULTS", "[1]")
    client = Engine().client()
    assert client.post("/invocations", json={"a": 1}).json() == {"a": 1}


def test_no_handler_is_called_with_sessions_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "false")
    engine = Engine({"id": "abc"})
    answer = engine.client().post("/invocations", json=NEW)
    assert refusal(answer) == (400, NOT_ENABLED)
    assert engine.asked == []
