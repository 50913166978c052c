"""Output formatters of whole responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from fastapi import BackgroundTasks, HTTPException
from fastapi.responses import JSONResponse, Response
from fastapi.testclient import TestClient

from customised import app_with, client_with
from servers import polling

FIVE_HUNDRED: Final = {"detail": "Internal Server Error"}
BODY: Final = b'{ "a" : 1.0 }\n'


def in_a_thread(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return function


def on_the_loop(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def formatter(message: Any) -> Any:
        return function(message)

    return formatter


@pytest.fixture(params=[in_a_thread, on_the_loop])
def make_formatter(request: pytest.FixtureRequest) -> Any:
    """Return a function that makes an async or a sync formatter of a function."""
    return request.param


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (b"bytes\x00", b"bytes\x00"),
        (b"", b""),
        ("söme text", "söme text".encode()),
        ({"a": [1, None]}, b'{"a":[1,null]}'),
        ([], b"[]"),
        ({}, b"{}"),
    ],
)
@pytest.mark.parametrize("assign", [True, False])
def test_content_can_be_replaced(
    make_formatter: Any, content: Any, sent: bytes, assign: bool
) -> None:
    def replace(response: Any) -> Any:
        assert response.body == BODY
        if not assign:
            return content
        response.body = content
        return None

    client = client_with(output_formatter=make_formatter(replace))
    answer = client.post("/invocations", content=BODY)
    assert answer.content == sent
    assert answer.headers["content-length"] == str(len(sent))
    if isinstance(content, dict | list) and not assign:
        assert answer.headers["content-type"] == "application/json"


def test_status_and_headers_can_be_changed(make_formatter: Any) -> None:
    def change(response: Any) -> None:
        assert response.status_code == 200
        response.status_code = 207
        response.headers["x-new"] = "new"
        del response.headers["x-by"]

    client = client_with(output_formatter=make_formatter(change))
    answer = client.post("/invocations", content=BODY)
    assert (answer.status_code, answer.content) == (207, BODY)
    assert answer.headers["x-new"] == "new"
    assert "x-by" not in answer.headers
    assert answer.headers["x-content-length"] == str(len(BODY))


def test_apps_own_header_list_is_not_modified(make_formatter: Any) -> None:
    response = Response("constant")

    async def handler() -> Response:
        return response

    def add(response: Any) -> None:
        assert "x-new" not in response.headers
        response.headers["x-new"] = "1"

    client = client_with(handler, output_formatter=make_formatter(add))
    for _ in range(3):
        assert client.post("/invocations").headers.get_list("x-new") == ["1"]


def test_new_response_can_be_returned(make_formatter: Any) -> None:
    other = JSONResponse({"other": True}, 203)
    client = client_with(output_formatter=make_formatter(lambda response: other))
    answer = client.post("/invocations")
    assert (answer.status_code, answer.json()) == (203, {"other": True})
    assert "x-by" not in answer.headers


@pytest.mark.parametrize("returned", [7, object(), {"a": object()}, {1, 2}])
def test_result_that_is_not_a_response_is_a_500(
    make_formatter: Any, returned: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_with(output_formatter=make_formatter(lambda response: returned))
    answer = client.post("/invocations")
    assert (answer.status_code, answer.json()) == (500, FIVE_HUNDRED)
    assert "TypeError" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/unknown", 404),
        ("GET", "/invocations", 405),
        ("POST", "/invocations", 418),
        ("POST", "/typed", 422),
        ("HEAD", "/ping", 200),
    ],
)
def test_every_response_is_formatted(
    make_formatter: Any, method: str, path: str, status: int
) -> None:
    seen: list[int] = []

    async def handler() -> None:
        raise HTTPException(418, "teapot", {"x-tea": "1"})

    def look(response: Any) -> None:
        seen.append(response.status_code)
        response.headers["x-seen"] = "1"

    app = app_with(handler, output_formatter=make_formatter(look))

    @app.post("/typed")
    async def typed(number: int) -> None: ...

    answer = TestClient(app).request(method, path)
    assert (answer.status_code, answer.headers["x-seen"]) == (status, "1")
    assert seen == [status]


def test_background_tasks_run_after_formatter(make_formatter: Any) -> None:
    seen: list[str] = []

    async def handler(tasks: BackgroundTasks) -> str:
        tasks.add_task(seen.append, "the handler's")
        return "answer"

    def add(response: Any) -> None:
        seen.append("formatter")
        response.background = BackgroundTasks()
        response.background.add_task(seen.append, "the formatter's")

    client = client_with(handler, output_formatter=make_formatter(add))
    assert client.post("/invocations").json() == "answer"
    for _ in polling(10):
        if len(seen) == 3:
            break
    assert seen[0] == "formatter"
    assert {*seen[1:]} == {"the handler's", "the formatter's"}
