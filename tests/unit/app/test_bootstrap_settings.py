from __future__ import annotations

import logging
from typing import Any

import pytest
from fastapi import FastAPI

import model_hosting_container_standards.sagemaker as sagemaker
from fixtures import Script, client_of
from model_hosting_container_standards.exceptions import ConfigurationError


def test_log_names_handlers_and_their_sources(
    engine_app: FastAPI,
    script: Script,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGEMAKER_CONTAINER_LOG_LEVEL", "info")
    path = script("def invoke(): return 'mine'")
    sagemaker.bootstrap(engine_app)
    assert "/ping is answered by" in caplog.text
    assert "the server's own route" in caplog.text
    assert f"/invocations is answered by model.invoke ({path}:1)" in caplog.text
    assert f"function invoke of {path}" in caplog.text


def test_missing_ping_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    sagemaker.invoke(lambda: "x")
    client = client_of(FastAPI())
    assert client.get("/ping").status_code == 404
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "No handler answers /ping" in record.getMessage()


def test_environment_is_not_read_before_bootstrap(
    engine_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(ConfigurationError, match="LOG_LEVEL='LOUD'"):
        sagemaker.bootstrap(engine_app)
    monkeypatch.setenv("LOG_LEVEL", "debug")
    sagemaker.bootstrap(engine_app)


def test_bad_setting_of_disabled_feature_is_ignored(
    engine_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MHCS_STRICT", "perhaps")
    monkeypatch.setenv("SAGEMAKER_SESSIONS_EXPIRATION", "-1")
    sagemaker.bootstrap(engine_app)


@pytest.mark.parametrize("decorator", [sagemaker.ping, sagemaker.invoke])
def test_decorator_rejects_objects_that_are_not_callable(decorator: Any) -> None:
    with pytest.raises(TypeError, match="must be a callable, not 'x'"):
        decorator("x")


@pytest.mark.parametrize(
    "decorator", [sagemaker.register_handler, sagemaker.override_handler]
)
def test_unknown_handler_name_is_an_error(decorator: Any) -> None:
    with pytest.raises(ValueError, match="Unknown handler 'pong': use one of"):
        decorator("pong")


def test_decorator_returns_function_unchanged() -> None:
    def function() -> None: ...

    for decorator in (
        sagemaker.ping,
        sagemaker.invoke,
        sagemaker.custom_ping_handler,
        sagemaker.custom_invocation_handler,
        sagemaker.register_ping_handler,
        sagemaker.register_ping_handler(),
        sagemaker.register_invocation_handler,
        sagemaker.override_handler("ping"),
        sagemaker.register_handler("invoke"),
    ):
        assert decorator(function) is function
