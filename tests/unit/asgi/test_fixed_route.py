"""Routes that are found without a pattern answer as Starlette's do."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Host, Mount, Route
from starlette.testclient import TestClient

from model_hosting_container_standards.asgi.fixed_route import FixedRoute


class Endpoint:
    """An ASGI app that returns what the router put into its scope."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        found = {
            "endpoint": type(scope["endpoint"]).__name__,
            "path_params": scope["path_params"],
            "method": scope["method"],
        }
        await JSONResponse(found)(scope, receive, send)


def routes(kind: type[Route]) -> list[BaseRoute]:
    inner = [kind("/a", Endpoint(), methods=["POST"])]
    later = Route("/a", Endpoint(), methods=["PUT"])
    return [
        Host("{name}.example.org", Starlette(routes=inner)),
        Mount("/mounted/{name}", Starlette(routes=inner)),
        *inner,
        later,
        kind("/b", Endpoint(), methods=["GET"]),
    ]


@pytest.mark.parametrize("root_path", ["", "/root"])
@pytest.mark.parametrize("host", ["testserver", "one.example.org"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS"])
@pytest.mark.parametrize("path", ["/a", "/a/", "/b", "/mounted/x/a", "/aa", "/root/a"])
def test_answers_are_those_of_a_route_with_a_pattern(
    path: str, method: str, host: str, root_path: str
) -> None:
    answers = []
    for kind in (Route, FixedRoute):
        client = TestClient(Starlette(routes=routes(kind)), root_path=root_path)
        response = client.request(
            method, path, headers={"host": host}, follow_redirects=False
        )
        allow = sorted(response.headers.get("allow", "").split(", "))
        answers.append((response.status_code, response.text, allow))
    assert answers[0] == answers[1]


def test_scope_without_http_does_not_match() -> None:
    route = FixedRoute("/a", Endpoint(), methods=["POST"])
    match, _ = route.matches({"type": "websocket", "path": "/a", "headers": []})
    assert match.name == "NONE"
