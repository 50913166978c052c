from __future__ import annotations

import logging
from typing import Any

import pytest
from fastapi import FastAPI

import model_hosting_container_standards.sagemaker as sagemaker
from fixtures import Script, client_of
from model_hosting_container_standards.exceptions import ConfigurationError


def test_the_log_names_who_answers_and_why(
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


def test_a_server_without_ping_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    sagemaker.invoke(lambda: "x")
    client = client_of(FastAPI())
    assert client.get("/ping").status_code == 404
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert "Nothing answers /ping" in record.getMessage()


def test_nothing_is_read_before_bootstrap(
    engine_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(ConfigurationError, match="LOG_LEVEL='LOUD'"):
        sagemaker.bootstrap(engine_app)
    monkeypatch.setenv("LOG_LEVEL", "debug")
    sagemaker.bootstrap(engine_app)


def test_a_bad_value_of_a_feature_that_is_off_does_no_harm(
    engine_app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MHCS_STRICT", "perhaps")
    monkeypatch.setenv("SAGEMAKER_SESSIONS_EXPIRATION", "-1")
    sagemaker.bootstrap(engine_app)


@pytest.mark.parametrize("decorator", [sagemaker.ping, sagemaker.invoke])
def test_a_decorator_refuses_what_cannot_be_called(decorator: Any) -> None:
    with pytest.raises(TypeError, match="must be a callable, not 'x'"):
        decorator("x")


@pytest.mark.parametrize(
    "decorator", [sagemaker.register_handler, sagemaker.override_handler]
)
def test_handlers_have_two_names(decorator: Any) -> None:
    with pytest.raises(ValueError, match="Unknown handler 'pong': use one of"):
        decorator("pong")


def test_a_decorator_returns_the_function_unchanged() -> None:
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
