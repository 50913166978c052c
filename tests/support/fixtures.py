"""Functions behind the fixtures of ``conftest.py``, and their types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

import model_hosting_container_standards.sagemaker as sagemaker

Script = Callable[..., Path]
SetLimits = Callable[..., None]
Includer = Callable[[FastAPI, APIRouter], None]


def include(app: FastAPI, router: APIRouter) -> None:
    app.include_router(router)


def include_nested(app: FastAPI, router: APIRouter) -> None:
    middle, outer = APIRouter(), APIRouter()
    middle.include_router(router)
    outer.include_router(middle)
    app.include_router(outer)


def copy_flat(app: FastAPI, router: APIRouter) -> None:
    app.router.routes.extend(router.routes)


def client_of(app: FastAPI) -> TestClient:
    return TestClient(sagemaker.bootstrap(app))
