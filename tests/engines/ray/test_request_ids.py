"""Ids of requests in Ray's proxy and in an ingress replica behind it."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mhcs.ray.proxy import proxy_middleware
from mhcs.ray.request_ids import leave_id_to_proxy
from model_hosting_container_standards.sagemaker import bootstrap

INFERENCE_ID = "X-Amzn-SageMaker-Inference-Id"


class Proxy:
    """A proxy that adds the request's id to each response, as Ray's does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        request_id = headers.setdefault("x-request-id", "by-the-proxy")

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("X-Request-ID", request_id)
            await send(message)

        await self.app(scope, receive, send_with_id)


def client_of(*, with_middleware: bool) -> TestClient:
    app = FastAPI()

    @app.get("/id")
    async def read_id(request: Request) -> Any:
        return request.headers["x-request-id"]

    bootstrap(app)
    leave_id_to_proxy(app)
    proxied: ASGIApp = Proxy(app)
    if with_middleware:
        for middleware in proxy_middleware():
            proxied = middleware.cls(proxied, *middleware.args, **middleware.kwargs)
    return TestClient(proxied)


@pytest.mark.parametrize("with_middleware", [False, True])
def test_clients_id_is_in_the_response_once(with_middleware: bool) -> None:
    with client_of(with_middleware=with_middleware) as client:
        answer = client.get("/id", headers={"X-Request-Id": "mine"})
    assert answer.json() == "mine"
    assert answer.headers.get_list("x-request-id") == ["mine"]


def test_inference_id_becomes_the_proxys_id() -> None:
    headers = {"X-Request-Id": "mine", INFERENCE_ID: "the-platforms"}
    with client_of(with_middleware=True) as client:
        answer = client.get("/id", headers=headers)
    assert answer.json() == "the-platforms"
    assert answer.headers.get_list("x-request-id") == ["the-platforms"]


def test_without_the_middleware_both_ids_are_in_the_response() -> None:
    with client_of(with_middleware=False) as client:
        answer = client.get("/id", headers={INFERENCE_ID: "the-platforms"})
    assert answer.json() == "the-platforms"
    assert answer.headers.get_list("x-request-id") == ["the-platforms", "by-the-proxy"]
