"""Routes can be moved to the front without a change to who answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Host, Mount, Route

from model_hosting_container_standards.asgi.routing import move_to_front

PATHS = ("/v1/chat", "/v1/completions")


def named(name: str) -> Callable[[Request], Awaitable[PlainTextResponse]]:
    """Return an endpoint that answers with a name."""

    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse(name)

    return endpoint


def posts(path: str, name: str) -> Route:
    return Route(path, named(name), methods=["POST"])


def app_with(*routes: BaseRoute) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.router.routes[:] = routes
    return app


def texts(app: FastAPI) -> Iterator[str]:
    client = TestClient(app)
    for path in PATHS:
        yield client.post(path).text


def test_routes_come_first_in_their_order() -> None:
    completions, chat = (posts(path, path) for path in reversed(PATHS))
    others = [posts("/a", "a"), Route("/v1/chat", named("get")), posts("/b", "b")]
    app = app_with(*others, completions, chat)
    move_to_front(app, PATHS, "POST")
    assert app.router.routes == [completions, chat, *others]
    move_to_front(app, PATHS, "POST")
    assert app.router.routes == [completions, chat, *others]


@pytest.mark.parametrize(
    "earlier",
    [
        posts("/v1/{name}", "pattern"),
        Mount("/v1", Starlette(routes=[posts("/chat", "mounted")])),
        Host("testserver", Starlette(routes=[posts("/v1/chat", "host")])),
        posts("/v1/chat", "first"),
        Route("/v1/chat", named("get"), methods=["GET"]),
    ],
    ids=["pattern", "mount", "host", "same path", "other method"],
)
def test_same_route_answers_as_before(earlier: BaseRoute) -> None:
    routes = [earlier, *(posts(path, path) for path in PATHS)]
    before = [*texts(app_with(*routes))]
    app = app_with(*routes)
    move_to_front(app, PATHS, "POST")
    assert [*texts(app)] == before
