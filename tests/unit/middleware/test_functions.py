"""Functions as middleware: kinds of callables, timeouts, background tasks."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from fastapi import BackgroundTasks, Request
from fastapi.responses import Response, StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware

from customised import Exchange, app_with, client_with
from servers import polling

MIDDLEWARE: Final = ("throttle", "pre_post_process")
BODY: Final = b'{ "a" : 1.0 }\n'


async def mark(request: Any, call_next: Any) -> Any:
    request.scope["headers"].append((b"by", b"it"))
    response = await call_next(request)
    response.headers["x-after"] = "it"
    return response


def mark_in_a_thread(request: Any, call_next: Any) -> Any:
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    request.scope["headers"].append((b"by", b"it"))
    response = call_next(request)
    response.headers["x-after"] = "it"
    return response


async def with_option(request: Any, call_next: Any, *, option: bool) -> Any:
    assert option
    return await mark(request, call_next)


def first_argument(option: bool, request: Any, call_next: Any) -> Any:
    assert option
    return mark_in_a_thread(request, call_next)


class Marker:
    async def __call__(self, request: Any, call_next: Any) -> Any:
        return await mark(request, call_next)

    def method(self, request: Any, call_next: Any) -> Any:
        return mark_in_a_thread(request, call_next)


class InAThread:
    def __call__(self, request: Any, call_next: Any) -> Any:
        return mark_in_a_thread(request, call_next)


class ByStarlette(BaseHTTPMiddleware):
    def __init__(self, app: Any, option: bool = True) -> None:
        super().__init__(app)
        assert option

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        return await mark(request, call_next)


def decorated(function: Any) -> Any:
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


SHAPES: Final[dict[str, Any]] = {
    "async": mark,
    "sync": mark_in_a_thread,
    "partial by keyword": functools.partial(with_option, option=True),
    "partial by position": functools.partial(first_argument, True),
    "instance": Marker(),
    "method": Marker().method,
    "class": Marker,
    "instance in a thread": InAThread(),
    "class in a thread": InAThread,
    "decorated without wraps": decorated(mark),
    "Starlette's class": ByStarlette,
    "partial of Starlette's class": functools.partial(ByStarlette, option=True),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", MIDDLEWARE)
def test_any_kind_of_callable_works(place: str, shape: str) -> None:
    client = client_with(**{place: SHAPES[shape]})
    for _ in range(2):
        answer = client.post("/invocations", content=BODY)
        assert (answer.status_code, answer.content) == (200, BODY)
        assert (answer.headers["x-by"], answer.headers["x-after"]) == ("it", "it")


def test_class_is_instantiated_once() -> None:
    class Counting:
        def __init__(self) -> None:
            self.count = 0

        async def __call__(self, request: Any, call_next: Any) -> Any:
            self.count += 1
            return Response(str(self.count))

    client = client_with(throttle=Counting)
    assert [client.get("/ping").text for _ in range(3)] == ["1", "2", "3"]


# --- time limits ---------------------------------------------------------------------


async def test_timeout_cancels_handler() -> None:
    cancelled = asyncio.Event()

    async def handler() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def limit(request: Any, call_next: Any) -> Any:
        try:
            return await asyncio.wait_for(call_next(request), 0.01)
        except asyncio.TimeoutError:
            return Response("too slow", 504)

    exchange = await Exchange(app_with(handler, pre_post_process=limit)).run()
    assert (exchange.status, exchange.content) == (504, b"too slow")
    assert cancelled.is_set()


def test_unreached_timeout_changes_nothing() -> None:
    async def limit(request: Any, call_next: Any) -> Any:
        return await asyncio.wait_for(call_next(request), 30)

    answer = client_with(pre_post_process=limit).post("/invocations", content=BODY)
    assert answer.content == BODY


# --- background tasks ----------------------------------------------------------------


@pytest.mark.parametrize("place", MIDDLEWARE)
@pytest.mark.parametrize("shape", SHAPES)
def test_handlers_background_tasks_run(place: str, shape: str) -> None:
    ran: list[str] = []

    async def handler(tasks: BackgroundTasks) -> str:
        tasks.add_task(ran.append, "task")
        return "answer"

    client = client_with(handler, **{place: SHAPES[shape]})
    assert client.post("/invocations").json() == "answer"
    for _ in polling(10):
        if ran:
            break
    assert ran == ["task"]


async def test_background_task_does_not_delay_response() -> None:
    go = asyncio.Event()

    async def handler(tasks: BackgroundTasks) -> Response:
        tasks.add_task(go.wait)
        return Response("answer", background=tasks)

    exchange = Exchange(
        app_with(handler, throttle=mark), on_chunk=lambda chunk: go.set()
    )
    await exchange.run()
    assert (exchange.content, exchange.is_complete) == (b"answer", True)


@pytest.mark.parametrize("place", MIDDLEWARE)
@pytest.mark.parametrize("is_stream", [True, False])
def test_middleware_can_add_background_task(place: str, is_stream: bool) -> None:
    ran: list[str] = []

    async def handler(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"an"
            yield b"swer"

        return StreamingResponse(chunks()) if is_stream else Response("answer")

    async def add(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.background = BackgroundTasks()
        response.background.add_task(ran.append, "task")
        return response

    answer = client_with(handler, **{place: add}).post("/invocations")
    assert (answer.text, ran) == ("answer", ["task"])
