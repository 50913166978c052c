"""JSON Lines on ``/invocations``: each line is a request."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel

from adapter_engine import AdapterEngine, app_of, write_adapter
from customised import DECORATORS, PATIENCE_S, Exchange, app_with, leave
from fixtures import Script
from invocations_app import ADAPTER, NOT_ENABLED, SESSION, echo
from metrics_page import scrape
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.tracking.request_tracker import RequestTracker
from plain_engine import engine_app

JSON_LINES: Final = "application/jsonlines"


class Completion(BaseModel):
    prompt: str
    stream: bool = False


async def complete(body: Completion) -> dict[str, str]:
    return {"text": body.prompt.upper()}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    return TestClient(engine_app(complete, monkeypatch))


def post(
    client: TestClient, *lines: Any, type_: str = JSON_LINES, **headers: str
) -> Any:
    body = b"\n".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines
    )
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(
        "/invocations", content=body, headers={"content-type": type_, **names}
    )


def lines_of(answer: Any) -> list[Any]:
    """Return the documents of an answer, whose last line must be complete."""
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.content.endswith(b"\n") or not answer.content
    return [json.loads(line) for line in answer.content.splitlines()]


def error(code: int, message: str, kind: str = "Bad Request") -> dict[str, Any]:
    return {"error": {"code": code, "type": kind, "message": message}}


# --- lines and their order -----------------------------------------------------------


@pytest.mark.parametrize(
    "type_",
    [
        "application/jsonlines",
        "application/x-jsonlines",
        "application/x-ndjson",
        "Application/JSONLines; charset=utf-8",
    ],
)
def test_each_line_is_a_request(client: TestClient, type_: str) -> None:
    answer = post(client, {"prompt": "a"}, {"prompt": "b"}, type_=type_)
    assert lines_of(answer) == [{"text": "A"}, {"text": "B"}]
    assert answer.headers["content-type"] == type_.partition(";")[0].lower()


@pytest.mark.parametrize("body", [b"", b"\n", b" \r\n\t\n"])
def test_body_without_lines_has_an_empty_answer(
    client: TestClient, body: bytes
) -> None:
    assert lines_of(post(client, body)) == []


def test_blank_lines_and_line_ends_do_not_count(client: TestClient) -> None:
    body = b'\n{"prompt": "a"}\r\n\r\n   \n{"prompt": "b"}\n'
    assert lines_of(post(client, body)) == [{"text": "A"}, {"text": "B"}]
    assert lines_of(post(client, body.strip())) == [{"text": "A"}, {"text": "B"}]


async def test_lines_are_answered_at_once_and_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gates = [asyncio.Event() for _ in range(3)]
    ended: list[int] = []

    async def wait(request: Request) -> int:
        number: int = (await request.json())["number"]
        if number + 1 < len(gates):
            await gates[number + 1].wait()
        ended.append(number)
        gates[number].set()
        return number

    app = engine_app(wait, monkeypatch)
    exchange = exchange_of(app, *({"number": number} for number in range(3)))
    await exchange.run()
    assert exchange.content == b"0\n1\n2\n"
    assert ended == [2, 1, 0]


def exchange_of(app: FastAPI, *lines: Any) -> Exchange:
    body = "\n".join(json.dumps(line) for line in lines).encode()
    exchange = Exchange(app, [body])
    exchange.scope["headers"] = [(b"content-type", JSON_LINES.encode())]
    return exchange


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (3, 3), (None, 64)])
def test_concurrency_is_that_of_the_engine(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, most: int
) -> None:
    running = peak = 0

    async def count() -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0)
        running -= 1

    app = engine_app(count, monkeypatch, max_concurrency=limit)
    assert len(lines_of(post(TestClient(app), *[{}] * 100))) == 100
    assert peak == most


# --- one line ------------------------------------------------------------------------


def test_request_of_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def show(request: Request) -> dict[str, Any]:
        request.state.seen = getattr(request.state, "seen", 0) + 1
        return {
            **await echo(request),
            "id": request.headers["x-request-id"],
            "seen": request.state.seen,
        }

    client = TestClient(engine_app(show, monkeypatch))
    answer = post(client, b'{ "a": 1}', [2], x_request_id="mine")
    common = {"type": "application/json", "seen": 1}
    assert lines_of(answer) == [
        {"raw": '{ "a": 1}', "length": "9", "id": "mine-0", **common},
        {"raw": "[2]", "length": "3", "id": "mine-1", **common},
    ]
    assert answer.headers["x-request-id"] == "mine"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"a":  NaN}', b'{"a":  NaN}'),
        (b'{\n  "a": 1\n}\n', b'{"a":1}'),
        (b"{\n" + b'"a": NaN}', b'{"a":null}'),
        (b"[\n" + b"9" * 30 + b"]", b"[" + b"9" * 30 + b"]"),
        (b"one\ntwo", b'"one\\ntwo"'),
        (b"\xff", '"\ufffd"'.encode()),
        (b"", b'""'),
    ],
)
def test_answer_is_one_line_of_json(
    monkeypatch: pytest.MonkeyPatch, body: bytes, line: bytes
) -> None:
    async def answer() -> Response:
        return Response(body)

    client = TestClient(engine_app(answer, monkeypatch))
    assert post(client, {}).content == line + b"\n"


def test_handler_that_streams_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["data: 1\n\n", "data: [DONE]\n\n"]))

    client = TestClient(engine_app(stream, monkeypatch))
    assert lines_of(post(client, {})) == ["data: 1\n\ndata: [DONE]"]


def test_file_is_collected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def send_path(request: Request) -> Response:
        return PlainTextResponse(
            str("http.response.pathsend" in request.scope.get("extensions", {}))
        )

    app = engine_app(send_path, monkeypatch)

    async def with_extension(scope: Any, receive: Any, send: Any) -> None:
        extensions: dict[str, Any] = {"http.response.pathsend": {}}
        await app({**scope, "extensions": extensions}, receive, send)

    assert lines_of(post(TestClient(with_extension), {})) == ["False"]


# --- errors --------------------------------------------------------------------------


def test_line_that_is_no_request_is_an_error_line(client: TestClient) -> None:
    answer = post(
        client, {"prompt": "a"}, b"{no json", {"stream": True}, {}, {"prompt": "b"}
    )
    first, *errors, last = lines_of(answer)
    assert (first, last) == ({"text": "A"}, {"text": "B"})
    assert errors[0] == error(400, "The line is not JSON.")
    assert errors[1] == error(400, "A line cannot be streamed: leave out stream.")
    assert errors[2]["error"]["code"] == 422
    assert "Field required" in errors[2]["error"]["message"]


def test_stream_false_is_allowed(client: TestClient) -> None:
    assert lines_of(post(client, {"prompt": "a", "stream": False})) == [{"text": "A"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"error": {"message": "too long", "code": 400}}, "too long"),
        ({"error": "too long", "error_type": "validation"}, "too long"),
        ({"object": "error", "message": "too long"}, "too long"),
        ({"detail": "too long"}, "too long"),
        ({"detail": [{"loc": ["body"]}]}, '{"detail":[{"loc":["body"]}]}'),
        ("too long", "too long"),
        ({}, "Content Too Large"),
    ],
)
def test_error_line_has_status_and_message(
    monkeypatch: pytest.MonkeyPatch, content: Any, message: str
) -> None:
    async def fail() -> Response:
        return Response(json.dumps(content), 413)

    [line] = lines_of(post(TestClient(engine_app(fail, monkeypatch)), {}))
    assert line["error"]["code"] == 413
    assert line["error"]["message"].replace("Request Entity", "Content") == message


def test_status_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> Response:
        return Response("", 599)

    client = TestClient(engine_app(fail, monkeypatch))
    assert lines_of(post(client, {})) == [error(599, "Error", "Error")]


def test_handler_that_raises_fails_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def divide(request: Request) -> float:
        number = (await request.json())["number"]
        if number < 0:
            raise HTTPException(409, "negative")
        return float(1 / number)

    client = TestClient(engine_app(divide, monkeypatch))
    answer = post(client, {"number": 2}, {"number": 0}, {"number": -1}, {"number": 4})
    assert lines_of(answer) == [
        0.5,
        error(500, "Internal Server Error", "Internal Server Error"),
        error(409, "negative", "Conflict"),
        0.25,
    ]
    [record] = [r for r in caplog.records if r.name.endswith("json_lines")]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert "number" not in record.getMessage()


# --- other steps of a request --------------------------------------------------------


def test_adapter_header_applies_to_all_lines_and_model_to_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = AdapterEngine(tmp_path / "engine")
    with TestClient(app_of(engine, monkeypatch)) as client:
        for name, text in (("fr", "bonjour"), ("de", "hallo")):
            src = write_adapter(tmp_path / name, text)
            client.post("/adapters", json={"name": name, "src": src})
        lines = [{"model": "fr"}, {"model": "de"}, {}, {"model": "no"}]
        own = lines_of(post(client, *lines))
        assert [line.get("text") for line in own] == ["bonjour", "hallo", "base", None]
        assert own[3]["error"]["code"] == 404
        answer = post(client, *lines, [1], **{ADAPTER: "de"})
        *texts, not_an_object = lines_of(answer)
        assert [line["text"] for line in texts] == ["hallo"] * 4
        assert not_an_object["error"]["code"] == 400
        [unknown] = lines_of(post(client, {}, **{ADAPTER: "no"}))
        assert "Adapter 'no' does not exist" in unknown["error"]["message"]
    assert not engine.violations


def test_session_of_the_header_applies_to_all_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "1")
    client = TestClient(engine_app(complete, monkeypatch))
    control = {"requestType": "NEW_SESSION"}
    session = client.post("/invocations", json=control).text.split()[1]
    answer = post(client, {"prompt": "a"}, {"prompt": "b"}, **{SESSION: session})
    assert lines_of(answer) == [{"text": "A"}, {"text": "B"}]
    [unknown] = lines_of(post(client, {"prompt": "a"}, **{SESSION: "no"}))
    assert unknown == error(400, "Bad request: session not found: no")
    [text, _] = lines_of(post(client, control, {"prompt": "a"}))
    assert text.startswith("Session ")


def test_batch_cannot_begin_a_session(client: TestClient) -> None:
    answer = post(client, {"prompt": "a"}, **{SESSION: "NEW_SESSION"})
    assert answer.status_code == 400
    assert "send one JSON object" in answer.json()["detail"]


def test_session_header_while_sessions_are_off(client: TestClient) -> None:
    answer = post(client, {"prompt": "a"}, **{SESSION: "x"})
    assert lines_of(answer) == [error(400, NOT_ENABLED)]


def test_formatters_see_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(request: Request) -> Any:
        if request.method != "POST":
            return None
        return {"prompt": (await request.json())["inputs"]}

    async def write(response: Any) -> None:
        response.body = {"generated": json.loads(response.body).get("text")}

    register_formatters(read, write)
    client = TestClient(engine_app(complete, monkeypatch))
    answer = post(client, {"inputs": "a"}, {"inputs": "b"})
    assert lines_of(answer) == [{"generated": "A"}, {"generated": "B"}]
    one = client.post("/invocations", json={"inputs": "a"})
    assert one.json() == {"generated": "A"}
    refused = post(client, {"inputs": "a"}, **{SESSION: "NEW_SESSION"})
    assert refused.status_code == 400
    other = client.put("/other", headers={"content-type": JSON_LINES})
    assert other.status_code == 404
    get = client.get("/invocations", headers={"content-type": JSON_LINES})
    assert get.status_code == 405


def test_formatters_pass_on_the_lifespan(monkeypatch: pytest.MonkeyPatch) -> None:
    register_formatters(None, None)
    with TestClient(engine_app(complete, monkeypatch)) as client:
        assert lines_of(post(client, {"prompt": "a"})) == [{"text": "A"}]
        other = client.post(
            "/other", content=b"{}", headers={"content-type": JSON_LINES}
        )
        assert other.status_code == 404


def register_formatters(read: Any, write: Any) -> None:
    DECORATORS["input_formatter"](read or leave)
    DECORATORS["output_formatter"](write or leave)


def test_alias_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/predict")
    client = TestClient(engine_app(complete, monkeypatch))
    body = b'{"prompt": "a"}\n{"prompt": "b"}'
    answer = client.post("/predict", content=body, headers={"content-type": JSON_LINES})
    assert lines_of(answer) == [{"text": "A"}, {"text": "B"}]


def test_gzip(client: TestClient) -> None:
    body = gzip.compress(b'{"prompt": "a"}\n{"prompt": "b"}')
    answer = post(client, body, content_encoding="gzip")
    assert lines_of(answer) == [{"text": "A"}, {"text": "B"}]


def test_limit_is_that_of_the_whole_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHCS_MAX_BODY_BYTES", "40")
    client = TestClient(engine_app(complete, monkeypatch))
    assert len(lines_of(post(client, {"prompt": "a"}, {"prompt": "b"}))) == 2
    assert post(client, {"prompt": "a" * 40}).status_code == 413
    chunks = iter([b'{"prompt": "a"}\n'] * 3)
    answer = client.post(
        "/invocations", content=chunks, headers={"content-type": JSON_LINES}
    )
    assert answer.status_code == 413


def test_metrics_count_one_request(client: TestClient) -> None:
    labels = {"route": "/invocations", "status": "200"}
    before = scrape(client).value("sagemaker_requests_total", **labels)
    post(client, {"prompt": "a"}, {"prompt": "b"}, b"no json")
    after = scrape(client).value("sagemaker_requests_total", **labels)
    assert after - before == 1


# --- handlers that get the body as it is ---------------------------------------------


BODY: Final = b'{"a": 1}\n\n{"b": 2}'


def test_customers_handler_gets_the_body_untouched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sagemaker.invoke(echo)
    answer = post(TestClient(engine_app(complete, monkeypatch)), BODY)
    seen = {"raw": BODY.decode(), "type": JSON_LINES, "length": str(len(BODY))}
    assert answer.json() == seen


def test_customers_handler_behind_formatters(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script("async def invoke(request): return (await request.body()).decode()\n")
    register_formatters(None, None)
    answer = post(TestClient(engine_app(complete, monkeypatch)), BODY)
    assert answer.json() == BODY.decode()


def test_engines_route_that_a_variable_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOM_FASTAPI_INVOCATION_HANDLER", "/v1/completions")
    app = FastAPI()
    app.post("/v1/completions")(complete)
    client = TestClient(engine_app(echo, monkeypatch, app=app))
    answer = post(client, {"prompt": "a"}, {"prompt": "b"})
    assert lines_of(answer) == [{"text": "A"}, {"text": "B"}]


def test_server_without_engine_gets_the_body_untouched() -> None:
    assert post(TestClient(app_with()), BODY).content == BODY


# --- the end -------------------------------------------------------------------------


class Waiting:
    """A handler that waits until it is cancelled."""

    def __init__(self) -> None:
        self.started = asyncio.Semaphore(0)
        self.cancelled = 0

    async def __call__(self, request: Request) -> None:
        self.started.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


async def test_disconnect_cancels_all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting()
    app = engine_app(waiting, monkeypatch, max_concurrency=2)
    exchange = exchange_of(app, *[{}] * 5)
    running = asyncio.ensure_future(exchange.run())
    for _ in range(2):
        await asyncio.wait_for(waiting.started.acquire(), PATIENCE_S)
    exchange.disconnect()
    await running
    assert waiting.cancelled == 2
    assert waiting.started.locked()  # The other lines were not begun.
    assert (exchange.status, exchange.chunks) == (0, [])


async def test_handler_sees_the_disconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    begun = asyncio.Event()

    async def listen(request: Request) -> None:
        await request.body()
        assert not await request.is_disconnected()
        begun.set()
        seen.append(await request.receive())

    app = engine_app(listen, monkeypatch)
    exchange = exchange_of(app, {})
    running = asyncio.ensure_future(exchange.run())
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    exchange.disconnect()
    await running
    assert seen in ([], [{"type": "http.disconnect"}])


async def test_disconnect_before_the_body_is_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = engine_app(complete, monkeypatch)
    exchange = Exchange(app, [b"{}\n", b"{}"])
    exchange.scope["headers"] = [(b"content-type", JSON_LINES.encode())]
    exchange._parts.pop()
    exchange.disconnect()
    await exchange.run()
    assert (exchange.status, exchange.chunks) == (0, [])


async def test_abort_is_one_503(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Waiting()
    app = engine_app(waiting, monkeypatch)
    trackers: list[RequestTracker] = []
    app.add_middleware(KeepTracker, kept=trackers)
    exchange = exchange_of(app, {}, {})
    running = asyncio.ensure_future(exchange.run())
    for _ in range(2):
        await asyncio.wait_for(waiting.started.acquire(), PATIENCE_S)
    trackers[0].closed = "The server shuts down."
    await trackers[0].abort()
    await running
    assert exchange.status == 503
    assert waiting.cancelled == 2
    assert json.loads(exchange.content)["detail"] == "The server shuts down."


class KeepTracker:
    """Middleware that keeps the tracker of the server's requests."""

    def __init__(self, app: Any, kept: list[RequestTracker]) -> None:
        self.app = app
        self.kept = kept

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.kept.append(scope["sagemaker.request_tracker"])
        await self.app(scope, receive, send)


async def test_answered_line_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    trackers: list[RequestTracker] = []
    progress: list[float] = []

    async def answer() -> None:
        progress.append(trackers[0]._progress)

    app = engine_app(answer, monkeypatch, max_concurrency=1)
    app.add_middleware(KeepTracker, kept=trackers)
    await exchange_of(app, {}, {}).run()
    assert progress[0] < progress[1]
