"""An engine with sessions of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.testclient import TestClient
from pydantic import BaseModel

from model_hosting_container_standards import sagemaker


class Open(BaseModel):
    capacity: int = 7
    owner: str | None = None


class Close(BaseModel):
    session_id: Any
    force: bool = False


class Opened(BaseModel):
    id: str


class Engine:
    """Handlers that return given responses, and record their requests.

    /invocations returns the body, into which the session's id was written.
    """

    def __init__(self, answer: Any = None, closed: Any = None) -> None:
        self.answer = answer
        self.closed = closed
        self.asked: list[Any] = []

    def client(
        self,
        path: str = "id",
        create: Callable[..., Any] | None = None,
        end: Callable[..., Any] | None = None,
    ) -> TestClient:
        app, router = FastAPI(), APIRouter()
        register = sagemaker.register_create_session_handler(path)
        register(create or self.create)
        sagemaker.register_close_session_handler("session_id")(end or self.close)

        @router.post("/invocations")
        @sagemaker.register_invocation_handler
        @sagemaker.stateful_session_manager("engine.session")
        async def invocations(request: Request) -> Any:
            return await request.json()

        app.include_router(router)
        return TestClient(sagemaker.bootstrap(app))

    async def create(self, request: Open, raw_request: Request) -> Any:
        self.asked.append((request, await raw_request.json()))
        return self.answer

    async def close(self, request: Close, raw_request: Request) -> Any:
        self.asked.append((request, await raw_request.json()))
        return self.closed
