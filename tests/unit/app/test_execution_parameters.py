"""``GET /execution-parameters``, which batch transform jobs ask for."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from customised import app_with
from fixtures import Includer
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.exceptions import ConfigurationError
from plain_engine import engine_app

PATH = "/execution-parameters"


async def invocations() -> None: ...


def parameters(app: FastAPI) -> Any:
    answer = TestClient(app).get(PATH)
    assert answer.status_code == 200
    return answer.json()


def test_server_without_engine_has_defaults() -> None:
    assert parameters(app_with()) == {
        "MaxConcurrentTransforms": 16,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": 6,
    }


@pytest.mark.parametrize(
    ("limit", "body_bytes", "transforms", "payload"),
    [
        (None, "", 16, 6),
        (4, "", 4, 6),
        (256, "", 16, 6),
        (256, str(2 << 20), 50, 2),
        (256, "1000", 100, 1),
        (1, "1000", 1, 1),
    ],
)
def test_limits_of_engine_and_server(
    monkeypatch: pytest.MonkeyPatch,
    limit: int | None,
    body_bytes: str,
    transforms: int,
    payload: int,
) -> None:
    monkeypatch.setenv("MHCS_MAX_BODY_BYTES", body_bytes)
    found = parameters(engine_app(invocations, monkeypatch, max_concurrency=limit))
    assert found["MaxConcurrentTransforms"] == transforms
    assert found["MaxPayloadInMB"] == payload


@pytest.mark.parametrize(
    ("strategy", "shown"),
    [("SINGLE_RECORD", "SINGLE_RECORD"), ("MultiRecord", "MULTI_RECORD")],
)
def test_variables_take_precedence(
    monkeypatch: pytest.MonkeyPatch, strategy: str, shown: str
) -> None:
    monkeypatch.setenv("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", "300")
    monkeypatch.setenv("SAGEMAKER_MAX_PAYLOAD_IN_MB", "0")
    monkeypatch.setenv("SAGEMAKER_BATCH_STRATEGY", strategy)
    app = engine_app(invocations, monkeypatch, max_concurrency=8)
    assert parameters(app) == {
        "MaxConcurrentTransforms": 300,
        "BatchStrategy": shown,
        "MaxPayloadInMB": 0,
    }


def test_unlimited_payload_does_not_limit_transforms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGEMAKER_MAX_PAYLOAD_IN_MB", "0")
    app = engine_app(invocations, monkeypatch, max_concurrency=90)
    assert parameters(app)["MaxConcurrentTransforms"] == 90


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SAGEMAKER_BATCH_STRATEGY", "ALL_RECORDS"),
        ("SAGEMAKER_MAX_PAYLOAD_IN_MB", "six"),
        ("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", "-1"),
    ],
)
def test_bad_value_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"{name}='{value}'"):
        app_with()


def test_own_route_of_the_app_stays(includer: Includer) -> None:
    app, router = FastAPI(), APIRouter()

    @router.get(PATH)
    async def own() -> str:
        return "own"

    includer(app, router)
    assert parameters(sagemaker.bootstrap(app)) == "own"


def test_route_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_API_KEY", "s3cret")
    assert parameters(app_with())["BatchStrategy"] == "MULTI_RECORD"
