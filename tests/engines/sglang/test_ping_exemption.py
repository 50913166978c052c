"""``/ping`` passes the check of API keys that SGLang adds, and nothing else does."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mhcs.sglang.ping_exemption import exempt_ping


class Refuse:
    """Middleware that refuses every request."""

    def __init__(self, app: ASGIApp, *, status: int) -> None:
        self.status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("refused", self.status)(scope, receive, send)


class Mark:
    """Middleware that is there before, and stays around everything."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def mark(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-mark", b"yes"))
            await send(message)

        await self.app(scope, receive, mark)


def test_ping_passes_only_the_middleware_that_was_added() -> None:
    app = FastAPI()

    @app.get("/ping")
    @app.get("/ping/more")
    async def ping() -> None:
        """Return nothing."""

    app.add_middleware(Mark)
    before = [*app.user_middleware]
    app.add_middleware(Refuse, status=401)
    exempt_ping(app, before)
    # The test client would enter the lifespan, which this middleware refuses.
    client = TestClient(app)
    answers = {path: client.get(path) for path in ("/ping", "/ping/more", "/x")}
    assert {path: a.status_code for path, a in answers.items()} == {
        "/ping": 200,
        "/ping/more": 401,
        "/x": 401,
    }
    assert answers["/ping"].headers["x-mark"] == "yes"
