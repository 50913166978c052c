"""The ready-to-use throttle."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Final

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import model_hosting_container_standards.sagemaker as sagemaker
from customised import Exchange, app_with, client_with, ping
from fixtures import SetLimits
from mhcs.throttle import Throttle
from model_hosting_container_standards.exceptions import (
    ConfigurationError,
    MiddlewareRegistrationError,
)

IN_FLIGHT: Final = "MHCS_THROTTLE_MAX_IN_FLIGHT"
PER_SECOND: Final = "MHCS_THROTTLE_MAX_PER_SECOND"


class HeldStream:
    """A handler whose stream stays open until ``end`` is set."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.end = asyncio.Event()

    async def __call__(self) -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"one"
            await self.end.wait()
            if self.fails:
                raise KeyError("broken")
            yield b"two"

        return StreamingResponse(chunks())


def app_of(held: HeldStream) -> FastAPI:
    async def handler() -> Response:
        return await held()

    return app_with(handler)


async def begin(app: FastAPI) -> tuple[Exchange, asyncio.Task[Exchange]]:
    """Begin a request, and return once its response has started."""
    exchange = Exchange(app)
    running = asyncio.ensure_future(exchange.run())
    await asyncio.wait_for(exchange.started.wait(), 10)
    return exchange, running


async def status_of(app: FastAPI, method: str = "POST", path: str = "/other") -> int:
    return (await Exchange(app, method=method, path=path).run()).status


# --- in flight -----------------------------------------------------------------------


async def test_stream_is_in_flight_until_its_end(limits: SetLimits) -> None:
    limits(in_flight=2)
    held = HeldStream()
    app = app_of(held)
    both = [await begin(app) for _ in range(2)]
    refused = await Exchange(app).run()
    assert refused.status == 429
    assert refused.headers["retry-after"] == "1"
    assert b"2 requests are being answered" in refused.content
    held.end.set()
    for exchange, running in both:
        await running
        assert (exchange.status, exchange.content) == (200, b"onetwo")
    assert (await Exchange(app).run()).status == 200


async def test_rejected_request_takes_no_slot(limits: SetLimits) -> None:
    limits(in_flight=1)
    held = HeldStream()
    app = app_of(held)
    _, running = await begin(app)
    for _ in range(5):
        assert (await Exchange(app).run()).status == 429
    held.end.set()
    await running
    for _ in range(5):
        assert (await Exchange(app).run()).status == 200


async def test_error_frees_slot(limits: SetLimits) -> None:
    limits(in_flight=1)
    held = HeldStream(fails=True)
    app = app_of(held)
    _, running = await begin(app)
    assert await status_of(app) == 429
    held.end.set()
    with pytest.raises(KeyError):
        await running
    assert await status_of(app) == 404


async def test_disconnect_frees_slot(limits: SetLimits) -> None:
    limits(in_flight=1)
    app = app_of(HeldStream())
    exchange, running = await begin(app)
    assert await status_of(app) == 429
    exchange.disconnect()
    with contextlib.suppress(ClientDisconnect):
        await running
    assert await status_of(app) == 404


async def test_cancellation_frees_slot(limits: SetLimits) -> None:
    limits(in_flight=1)
    app = app_of(HeldStream())
    _, running = await begin(app)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert await status_of(app) == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/ping"),
        ("POST", "/ping"),
        ("HEAD", "/ping"),
        ("POST", "/adapters"),
        ("POST", "/adapters/name/update"),
        ("DELETE", "/adapters/name"),
        ("GET", "/adapters"),
        ("GET", "/health"),
        ("GET", "/invocations"),
        ("OPTIONS", "/invocations"),
    ],
)
@pytest.mark.parametrize("root_path", ["", "/v1", "/a", "/"])
async def test_other_routes_are_never_rejected(
    limits: SetLimits, method: str, path: str, root_path: str
) -> None:
    limits(in_flight=1, per_second=0.001)
    app = app_of(HeldStream())
    app.root_path = root_path
    _, running = await begin(app)
    assert await status_of(app) == 429
    for prefix in {"", root_path.rstrip("/")}:
        for _ in range(3):
            assert await status_of(app, method, prefix + path) != 429
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("path", ["/pingpong", "/adapters_of_others", "/v1/ping"])
async def test_similar_paths_are_throttled(limits: SetLimits, path: str) -> None:
    limits(in_flight=1)
    app = app_of(HeldStream())
    _, running = await begin(app)
    assert await status_of(app, path=path) == 429
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def test_websockets_and_lifespan_pass_through(limits: SetLimits) -> None:
    limits(in_flight=1)
    with TestClient(app_with()) as client:
        assert client.post("/invocations").status_code == 200


def test_rejection_has_engines_error_format(limits: SetLimits) -> None:
    limits(per_second=0.001)
    app = FastAPI()
    app.post("/invocations")(ping)

    @app.exception_handler(HTTPException)
    async def format_http_error(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    client = TestClient(sagemaker.bootstrap(app))
    assert client.post("/invocations").status_code == 200
    answer = client.post("/invocations")
    assert answer.status_code == 429
    assert answer.json()["error"].startswith("This server is at its limit: ")
    assert answer.headers["retry-after"] == "1000"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


# --- combined, missing and bad limits ------------------------------------------------


async def test_both_limits_apply(limits: SetLimits) -> None:
    limits(in_flight=2, per_second=3, by_variable=False)
    clock = Clock()
    held = HeldStream()

    async def handler() -> Response:
        return await held()

    app = app_with(handler, throttle=functools.partial(Throttle, clock=clock))
    running = [(await begin(app))[1] for _ in range(2)]
    # Requests that the in-flight limit rejects do not count toward the rate.
    for _ in range(5):
        exchange = await Exchange(app).run()
        assert (exchange.status, b"being answered" in exchange.content) == (429, True)
    held.end.set()
    await asyncio.gather(*running)
    assert (await Exchange(app).run()).status == 200
    exchange = await Exchange(app).run()
    assert (exchange.status, b"3 requests a second" in exchange.content) == (429, True)
    # A request that the rate rejects does not stay in flight.
    clock.now += 10
    held.end.clear()
    running = [(await begin(app))[1] for _ in range(2)]
    held.end.set()
    await asyncio.gather(*running)


@pytest.mark.parametrize("decorated", [True, False])
def test_missing_limit_stops_startup(limits: SetLimits, decorated: bool) -> None:
    limits(by_variable=not decorated)
    places = {"throttle": Throttle} if decorated else {}
    with pytest.raises(MiddlewareRegistrationError, match="has no limit: set") as no:
        app_with(**places)
    assert IN_FLIGHT in str(no.value)
    assert PER_SECOND in str(no.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((IN_FLIGHT, value) for value in ("0", "-1", "1.5", "many")),
        *((PER_SECOND, value) for value in ("0", "-1", "nan", "inf", "1/s")),
    ],
)
def test_bad_limit_stops_startup(
    limits: SetLimits, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    limits(in_flight=1, per_second=1)
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"{name}='{value}' is not allowed"):
        Throttle(FastAPI())
    with pytest.raises((ConfigurationError, MiddlewareRegistrationError)) as raised:
        app_with()
    assert f"{name}='{value}' is not allowed" in str(raised.value)


def test_bad_limit_is_ignored_without_throttle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(IN_FLIGHT, "many")
    assert client_with().get("/ping").status_code == 200
