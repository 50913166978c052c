"""Metrics of requests, adapters and sessions, in Prometheus's format."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Counter, make_asgi_app
from starlette.requests import ClientDisconnect

import model_hosting_container_standards.sagemaker as sagemaker
from adapter_engine import AdapterEngine, write_adapter
from customised import app_with
from metrics_page import Page, scrape
from model_hosting_container_standards import testing
from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.tracking.request_tracker import RequestTracker
from servers import Server, polling

REQUESTS: Final = "sagemaker_requests_total"
SECONDS: Final = "sagemaker_request_duration_seconds"
IN_FLIGHT: Final = "sagemaker_requests_in_flight"
LOADS: Final = "sagemaker_adapter_loads_total"
SESSIONS: Final = "sagemaker_sessions_total"


def client_of(app: FastAPI, **options: Any) -> TestClient:
    return TestClient(app, raise_server_exceptions=False, **options)


@pytest.mark.parametrize(
    ("method", "path", "status", "labels"),
    [
        ("POST", "/invocations", 200, {"route": "/invocations"}),
        ("GET", "/invocations", 405, {"route": "/invocations"}),
        ("GET", "/ping", 200, {"route": "/ping"}),
        ("HEAD", "/ping", 200, {"route": "/ping", "method": "HEAD"}),
        ("GET", "/adapters", 404, {"route": "/adapters"}),
        ("DELETE", "/adapters/a/b", 404, {"route": "/adapters/{name}"}),
        ("GET", "/v1/made/up", 404, {"route": "other"}),
        ("BREW", "/ping", 405, {"route": "/ping", "method": "other"}),
        ("POST", "/fails", 500, {"route": "other"}),
    ],
)
def test_requests_are_counted_by_route_method_and_status(
    method: str, path: str, status: int, labels: dict[str, str]
) -> None:
    async def fails() -> None:
        raise RuntimeError("broken")

    app = app_with()
    app.post("/fails")(fails)
    client = client_of(app)
    request_labels = {"method": method, **labels, "status": str(status)}
    route = labels["route"]
    before = scrape(client)
    assert client.request(method, path).status_code == status
    after = scrape(client)
    assert (
        after.value(REQUESTS, **request_labels)
        == before.value(REQUESTS, **request_labels) + 1
    )
    # The request for the page counts as "other".
    more = 2 if route == "other" else 1
    for name in (f"{SECONDS}_count", f"{SECONDS}_bucket"):
        bound = {"le": "+Inf"} if name.endswith("bucket") else {}
        count = after.value(name, route=route, **bound)
        assert count == before.value(name, route=route, **bound) + more
    assert after.value(f"{SECONDS}_sum", route=route) > 0
    assert after.value(IN_FLIGHT) == 1


def test_route_labels_below_root_path() -> None:
    client = client_of(app_with(), root_path="/prod")
    before = scrape(client)
    client.post("/prod/invocations")
    after = scrape(client)
    for name in (REQUESTS, f"{SECONDS}_count"):
        labels = {"route": "/invocations"}
        assert after.value(name, **labels) == before.value(name, **labels) + 1


def test_clients_cannot_create_labels() -> None:
    client = client_of(app_with())
    # Other tests have left labels in this process.
    before = scrape(client).labels(REQUESTS, "route")
    for number in range(20):
        client.request(f"BREW{number}", f"/unknown/{number}")
        client.get(f"/adapters/{number}")
    page = scrape(client)
    assert page.labels(REQUESTS, "route") - before <= {
        *("/ping", "/invocations", "/adapters", "/adapters/{name}", "other")
    }
    assert len(page.labels(REQUESTS, "method")) <= 8


@pytest.mark.parametrize(
    ("error", "status"), [(None, "499"), (ClientDisconnect, "499"), (KeyError, "500")]
)
async def test_request_without_response_is_counted(
    error: type[Exception] | None, status: str
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if error is not None:
            raise error

    labels = {"route": "other", "method": "PATCH", "status": status}
    page = client_of(app_with())
    before = scrape(page).value(REQUESTS, **labels)
    scope = {"type": "http", "path": "/unknown", "method": "PATCH", "headers": []}
    # The tracker alone, around an app that catches no errors.
    tracker = RequestTracker({})
    tracker.app = app
    answered: Any = tracker(scope, Any, Any)  # type: ignore[arg-type]
    with pytest.raises(error) if error else contextlib.nullcontext():
        await answered
    assert scrape(page).value(REQUESTS, **labels) == before + 1


def test_duration_of_stream_includes_its_end() -> None:
    seen: list[float] = []

    async def handler(request: Request) -> StreamingResponse:
        async def chunks() -> Any:
            yield b"a"
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://test"
            ) as inside:
                seen.append(Page(await inside.get("/metrics")).value(IN_FLIGHT))
            yield b"b"

        return StreamingResponse(chunks())

    app = app_with(handler)
    client = client_of(app)
    before = scrape(client).value(f"{SECONDS}_sum", route="/invocations")
    assert client.post("/invocations").content == b"ab"
    assert seen == [2]  # The stream and the request for the page.
    assert scrape(client).value(f"{SECONDS}_sum", route="/invocations") > before


# --- the page -------------------------------------------------------------------------


def test_apps_of_one_process_share_metrics() -> None:
    clients = [client_of(app_with()) for _ in range(2)]
    testing.reset()
    clients.append(client_of(sagemaker.bootstrap(sagemaker.bootstrap(FastAPI()))))
    counts = {scrape(client).value(REQUESTS, route="/ping") for client in clients}
    assert len(counts) == 1


@pytest.mark.parametrize("method", ["route", "mount", "included"])
def test_apps_own_metrics_page_is_kept(method: str) -> None:
    registry = CollectorRegistry()
    Counter("own", "A metric of the app.", registry=registry).inc()
    app = FastAPI()
    if method == "mount":
        app.mount("/metrics", make_asgi_app(registry))
    else:
        from fastapi import APIRouter

        router = APIRouter()
        target = router if method == "included" else app
        target.get("/metrics")(lambda: Response("own_total 1.0\n", media_type="text"))
        app.include_router(router)
    answer = client_of(sagemaker.bootstrap(app)).get("/metrics")
    assert "own_total 1.0" in answer.text
    assert REQUESTS not in answer.text


def test_page_of_global_registry_includes_our_metrics() -> None:
    """vLLM mounts such a page."""
    app = FastAPI()
    app.mount("/metrics", make_asgi_app())
    client = client_of(sagemaker.bootstrap(app))
    client.get("/ping")
    assert scrape(client).value(REQUESTS, route="/ping", status="404") >= 1


@pytest.mark.parametrize("method", ["mount", "route"])
def test_catch_all_route_does_not_hide_metrics(method: str) -> None:
    async def catch_all(scope: Any, receive: Any, send: Any) -> None:
        await Response("a page")(scope, receive, send)

    app = FastAPI()
    if method == "mount":
        app.mount("/", catch_all)
    else:
        app.get("/{path:path}")(lambda: Response("a page"))
    client = client_of(sagemaker.bootstrap(app))
    assert scrape(client).families
    assert client.get("/else").text == "a page"


def test_failed_bootstrap_adds_no_metrics_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_MAX_BODY_BYTES", "many")
    app = FastAPI()
    routes = [*app.router.routes]
    with pytest.raises(ConfigurationError, match="MHCS_MAX_BODY_BYTES='many'"):
        sagemaker.bootstrap(app)
    assert app.router.routes == routes


# --- adapters and sessions ------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path) -> AdapterEngine:
    return AdapterEngine(tmp_path / "engine")


def test_adapter_loads_are_counted(client: TestClient, tmp_path: Path) -> None:
    before = scrape(client)
    good = write_adapter(tmp_path / "good", "bonjour")
    bad = write_adapter(tmp_path / "bad", "broken")
    statuses = [
        client.post("/adapters", json={"name": name, "src": src}).status_code
        for name, src in (("good", good), ("good", good), ("bad", bad))
    ]
    assert statuses == [200, 200, 400]
    after = scrape(client)
    for result in ("loaded", "failed"):
        increase = after.value(LOADS, result=result) - before.value(
            LOADS, result=result
        )
        assert increase == 1
    seconds = "sagemaker_adapter_load_duration_seconds_count"
    assert after.value(seconds) == before.value(seconds) + 2


def test_sessions_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "1")
    client = client_of(app_with())
    before = scrape(client)
    ids = []
    for _ in range(3):
        answer = client.post("/invocations", json={"requestType": "NEW_SESSION"})
        header = answer.headers["X-Amzn-SageMaker-Session-Id"]
        ids.append(header.partition(";")[0])
    for _ in range(2):
        client.post(
            "/invocations",
            json={"requestType": "CLOSE"},
            headers={"X-Amzn-SageMaker-Session-Id": ids[0]},
        )
    after = scrape(client)
    increases = {
        event: after.value(SESSIONS, event=event) - before.value(SESSIONS, event=event)
        for event in ("begun", "closed", "expired")
    }
    assert increases == {"begun": 3, "closed": 1, "expired": 0}


def test_expired_sessions_are_counted_on_removal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "1")
    monkeypatch.setenv("SAGEMAKER_SESSIONS_EXPIRATION", "1")
    client = client_of(app_with())
    before = scrape(client).value(SESSIONS, event="expired")
    for _ in polling(10):
        client.post("/invocations", json={"requestType": "NEW_SESSION"})
        if scrape(client).value(SESSIONS, event="expired") > before:
            return
    raise AssertionError("none has expired")


def test_restarts_come_from_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    for restarts in ("3", ""):
        monkeypatch.setenv("MHCS_RESTARTS", restarts)
        page = scrape(client_of(app_with()))
        assert page.value("sagemaker_restarts") == int(restarts or 0)


# --- real processes -------------------------------------------------------------------

APP: Final = """
    import asyncio, os
    from fastapi import FastAPI, Request
    from fastapi.responses import StreamingResponse
    from model_hosting_container_standards import sagemaker

    app = FastAPI()

    @app.get("/health")
    async def health():
        return os.getpid()

    @sagemaker.register_invocation_handler
    async def invocations(request: Request):
        async def chunks():
            yield b"%d" % os.getpid()
            await asyncio.sleep(3600)
        if b"wait" in await request.body():
            return StreamingResponse(chunks())
        return os.getpid()

    sagemaker.bootstrap(app)
    """


@pytest.fixture(params=[1, 3])
def workers(request: pytest.FixtureRequest) -> int:
    count: int = request.param
    return count


@pytest.fixture
def server(workers: int, tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "served.py").write_text(textwrap.dedent(APP))
    command = [sys.executable, "-m", "uvicorn", "served:app", "--log-level=warning"]
    folder = tmp_path / "metrics"
    folder.mkdir()
    shared = {"PROMETHEUS_MULTIPROC_DIR": str(folder)} if workers > 1 else {}
    command = [*command, f"--workers={workers}"]
    with Server(command, shared, cwd=tmp_path) as server:
        yield server


def test_each_process_reports_totals_of_all(server: Server, workers: int) -> None:
    def ask(_: int) -> int:
        with server.new_client() as client:
            pid: int = client.post("/invocations", content=b"x").json()
            return pid

    asked, found = 0, set[int]()
    for _ in polling(30):
        with ThreadPoolExecutor(8) as pool:
            found |= {*pool.map(ask, range(8))}
        asked += 8
        if len(found) == workers:
            break
    assert len(found) == workers
    # A client may have its answer before the process has counted its end, and a page
    # reads one file of each process after the other.
    for _ in polling(30):
        page = scrape_with(server)
        if totals(page) == (asked, asked, asked):
            break
    for _ in range(4):
        assert totals(scrape_with(server)) == (asked, asked, asked)


def scrape_with(server: Server) -> Page:
    """Return the page of the process that answers a new connection."""
    with server.new_client() as client:
        return scrape(client)


def totals(page: Page) -> tuple[float, ...]:
    """Return the requests to ``/invocations``, as each metric counts them."""
    return (
        page.value(REQUESTS, route="/invocations", status="200"),
        page.value(f"{SECONDS}_count", route="/invocations"),
        page.value(f"{SECONDS}_bucket", route="/invocations", le="+Inf"),
    )


def test_streams_are_in_flight_until_disconnect(server: Server) -> None:
    with (
        server.new_client() as client,
        client.stream("POST", "/invocations", content=b"wait") as answer,
    ):
        chunks = answer.iter_raw()
        assert next(chunks)
        with server.new_client() as other:
            assert scrape(other).value(IN_FLIGHT) == 2
    page = wait_until_in_flight(server, 1)
    assert page.value(REQUESTS, route="/invocations", status="200") == 1


@pytest.mark.parametrize("workers", [3], indirect=True)
def test_page_skips_empty_file_of_starting_process(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "metrics" / "counter_1.db").touch()
    assert scrape_with(server).value(IN_FLIGHT) == 1


@pytest.mark.parametrize("workers", [3], indirect=True)
def test_requests_of_killed_process_are_not_in_flight(server: Server) -> None:
    with (
        server.new_client() as client,
        client.stream("POST", "/invocations", content=b"wait") as answer,
    ):
        chunks = answer.iter_raw()
        os.kill(int(next(chunks)), signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            next(chunks)
    wait_until_in_flight(server, 1)  # Its replacement has cleaned up.


def wait_until_in_flight(server: Server, count: int) -> Page:
    for _ in polling(30):
        with contextlib.suppress(httpx.TransportError), server.new_client() as client:
            page = scrape(client)
            if page.value(IN_FLIGHT) == count:
                return page
    raise AssertionError(f"in flight: {page.value(IN_FLIGHT)}")


def test_missing_folder_stops_startup(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(APP)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "nope")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "use an existing folder" in done.stderr


#: Like vLLM's, the handler returns without a result when the client disconnects.
ENDS_ON_DISCONNECT: Final = """
import asyncio

from fastapi import FastAPI, Request

from model_hosting_container_standards import sagemaker

app = FastAPI()


@app.get("/health")
async def health():
    return "healthy"


@app.post("/invocations")
async def invocations(request: Request):
    await request.body()
    while (await request.receive())["type"] != "http.disconnect":
        pass
    return None


sagemaker.bootstrap(app)
"""


def test_disconnect_before_response_is_a_499(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(ENDS_ON_DISCONNECT)
    env = {"SAGEMAKER_MODEL_PATH": str(tmp_path / "none")}
    uvicorn = [sys.executable, "-m", "uvicorn", "app:app"]
    labels = {"route": "/invocations", "method": "POST"}
    with Server(uvicorn, env, tmp_path) as server:
        with pytest.raises(httpx.ReadTimeout):
            server.client.post("/invocations", json={}, timeout=0.2)
        for _ in polling(10):
            page = scrape(server.client)
            if page.value(REQUESTS, **labels, status="499"):
                break
        assert page.value(REQUESTS, **labels, status="499") == 1
        assert page.value(REQUESTS, **labels, status="200") == 0
