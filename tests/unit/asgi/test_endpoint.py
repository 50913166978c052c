from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import pytest
import wrapt
from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import BaseModel

from model_hosting_container_standards.asgi.endpoint import (
    as_endpoint,
    describe,
    unwrap,
    with_json_request,
)
from model_hosting_container_standards.asgi.routing import add_route
from model_hosting_container_standards.exceptions import HandlerNotCallableError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Question(BaseModel):
    text: str


class Answer(BaseModel):
    text: str
    secret: str | None = None


class Instance:
    """An instance."""

    async def __call__(self, request: Request) -> dict[str, Any]:
        return {"got": await request.json()}


class SyncInstance:
    def __call__(self, raw_request):  # type: ignore[no-untyped-def]
        return {"got": raw_request.headers["x-test"]}


class Chunks:
    """An async iterable that is not an async generator."""

    def __aiter__(self) -> AsyncIterator[str]:
        return numbers()


def naive(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator without functools.wraps."""

    def wrapper(*args, **kwargs):  # type: ignore[no-untyped-def]
        return function(*args, **kwargs)

    return wrapper


async def no_argument() -> dict[str, str]:
    return {"got": "nothing"}


async def annotated(request: Request) -> dict[str, Any]:
    return {"got": await request.json()}


async def bare(req):  # type: ignore[no-untyped-def]
    return {"got": await req.json()}


async def bare_with_other_name(incoming):  # type: ignore[no-untyped-def]
    return {"got": await incoming.json()}


async def positional_only(request, /):  # type: ignore[no-untyped-def]
    return {"got": await request.json()}


async def bare_and_model(raw_request, question: Question):  # type: ignore[no-untyped-def]
    return {"got": [question.text, raw_request.headers["x-test"]]}


async def model_and_request(question: Question, request: Request) -> dict[str, Any]:
    return {"got": [question.text, (await request.json())["text"]]}


async def with_prefix(prefix, request):  # type: ignore[no-untyped-def]
    return {"got": [prefix, await request.json()]}


async def model_out(question: Question) -> Answer:
    return Answer(text=question.text)


def sync_model(question: Question) -> Response:
    return JSONResponse({"got": question.text})


async def with_fastapi_parameters(
    question: Question,
    n: Annotated[int, Query()] = 3,
    dependency: str = Depends(lambda: "dependency"),
) -> dict[str, Any]:
    return {"got": [question.text, n, dependency]}


async def with_star(request: Request, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"got": [len(args), len(kwargs), await request.json()]}


async def three(a, b, request):  # type: ignore[no-untyped-def]
    return {"got": [a, b, await request.json()]}


async def with_return_for_type_checkers(request: Request) -> Sequence[str]:
    return {"got": await request.json()}  # type: ignore[return-value]


BODY = {"text": "hi"}


@pytest.mark.parametrize(
    ("handler", "got"),
    [
        (no_argument, "nothing"),
        (annotated, BODY),
        (bare, BODY),
        (bare_with_other_name, BODY),
        (positional_only, BODY),
        (bare_and_model, ["hi", "header"]),
        (model_and_request, ["hi", "hi"]),
        (functools.partial(with_prefix, "p"), ["p", BODY]),
        (sync_model, "hi"),
        (with_fastapi_parameters, ["hi", 3, "dependency"]),
        (with_star, [0, 0, BODY]),
        (Instance(), BODY),
        (SyncInstance(), "header"),
        (Instance().__call__, BODY),
        (naive(annotated), BODY),
        (lambda request: {"got": request.headers["x-test"]}, "header"),
        (functools.partial(with_prefix, prefix="p"), ["p", BODY]),
        (functools.partial(functools.partial(three, a=1), b=2), [1, 2, BODY]),
        (with_return_for_type_checkers, BODY),
    ],
)
def test_any_callable_can_be_a_handler(handler: Callable[..., Any], got: Any) -> None:
    assert ask(handler).json() == {"got": got}


def test_returned_model_is_the_response_model() -> None:
    assert ask(model_out).json() == {"text": "hi", "secret": None}


def test_invalid_body_is_fastapis_422() -> None:
    assert ask(model_out, json={"text": 1}).status_code == 422


def test_response_model_filters_result() -> None:
    async def handler() -> Question:
        return Answer(text="a", secret="s")  # type: ignore[return-value]

    assert ask(handler).json() == {"text": "a"}


def test_other_return_annotations_are_tolerated() -> None:
    async def handler(request: Request) -> PlainTextResponse | Iterator[bytes]:
        return PlainTextResponse("plain")

    assert ask(handler).text == "plain"


async def numbers() -> AsyncIterator[str]:
    for number in range(3):
        yield f"{number},"


def sync_numbers(request: Request) -> Iterator[bytes]:
    yield from (f"{number},".encode() for number in range(3))


async def returns_a_generator(request: Request) -> Any:
    return numbers()


async def returns_an_iterable() -> Any:
    return Chunks()


@pytest.mark.parametrize(
    "handler", [numbers, sync_numbers, returns_a_generator, returns_an_iterable]
)
def test_iterator_is_streamed(handler: Callable[..., Any]) -> None:
    assert ask(handler).text == "0,1,2,"


def test_sync_handler_runs_off_the_event_loop() -> None:
    threads: list[int] = []

    def handler() -> None:
        threads.append(threading.get_ident())

    async def event_loop() -> None:
        threads.append(threading.get_ident())

    app = FastAPI()
    add_route(app, "/sync", as_endpoint(handler), "POST")
    add_route(app, "/async", as_endpoint(event_loop), "POST")
    with TestClient(app) as client:
        client.post("/sync")
        client.post("/async")
    assert len(set(threads)) == 2


def test_name_docstring_and_openapi_identity_are_kept() -> None:
    async def my_handler(question: Question) -> Answer:
        """Answer a question."""
        return Answer(text="")

    plain, ours = FastAPI(), FastAPI()
    plain.post("/x")(my_handler)
    add_route(ours, "/x", as_endpoint(my_handler), "POST")
    assert ours.openapi() == plain.openapi()
    assert as_endpoint(my_handler).__name__ == "my_handler"
    assert as_endpoint(my_handler).__doc__ == "Answer a question."


def test_decorated_endpoint_keeps_its_identity() -> None:
    async def engines(request: Request, n: int = 1) -> dict[str, int]:
        """Run the engine."""
        return {"n": n}

    decorated = with_json_request(engines)
    plain, ours = FastAPI(), FastAPI()
    plain.post("/x")(engines)
    ours.post("/x")(decorated)
    assert ours.openapi() == plain.openapi()
    assert TestClient(ours).post("/x?n=2").json() == {"n": 2}


async def test_decorated_endpoint_can_be_called_directly() -> None:
    async def engines(request: Request) -> Request:
        return request

    request = Request({"type": "http", "headers": []})
    assert await with_json_request(engines)(request) is request


def test_unresolvable_annotation_is_rejected_by_name() -> None:
    namespace: dict[str, Any] = {}
    exec("async def handler(x: NotImported): ...", namespace)
    with pytest.raises(HandlerNotCallableError, match="handler.*'NotImported'"):
        as_endpoint(namespace["handler"])


def test_handler_is_described_by_its_location() -> None:
    assert describe(annotated).startswith(f"{__name__}.annotated ({__file__}:")
    assert describe(functools.partial(annotated)) == describe(annotated)
    assert describe(SyncInstance()) == f"{__name__}.SyncInstance"


def ask(handler: Callable[..., Any], json: Any = BODY) -> Any:
    """Return the response of an app in which ``handler`` answers."""
    app = FastAPI()
    add_route(app, "/", as_endpoint(handler), "POST")
    with TestClient(app) as client:
        return client.post("/", json=json, headers={"x-test": "header"})


def test_clients_cannot_set_arguments_bound_by_partial() -> None:
    counter = Counter[str]()

    async def count(request: Request, state: Any = None) -> int:
        state["calls"] += 1
        calls: int = state["calls"]
        return calls

    app = FastAPI()
    add_route(app, "/", as_endpoint(functools.partial(count, state=counter)), "POST")
    with TestClient(app) as client:
        assert [client.post("/?state=x").json() for _ in range(3)] == [1, 2, 3]
    assert counter["calls"] == 3


def test_unsupported_signature_is_rejected_by_name() -> None:
    def handler(what: threading.Thread) -> None: ...

    with pytest.raises(HandlerNotCallableError, match="handler"):
        add_route(FastAPI(), "/", as_endpoint(handler), "POST")


def test_custom_request_class_is_kept() -> None:
    class Own(Request):
        async def json(self) -> Any:
            return "own"

    class OwnRoute(APIRoute):
        def get_route_handler(self) -> Callable[..., Any]:
            handle = super().get_route_handler()

            async def handle_own(request: Request) -> Response:
                return await handle(Own(request.scope, request.receive))

            return handle_own

    app = FastAPI()
    app.router.route_class = OwnRoute
    app.post("/")(with_json_request(annotated))
    assert TestClient(app).post("/", json={}).json() == {"got": "own"}


def test_wrapt_proxies_are_resolved() -> None:
    """Wrappers of wrapt are written in C, without an ordinary __wrapped__."""

    class Server:
        async def answer(self, request: Request) -> str:
            return "answer"

    wrapt.wrap_function_wrapper(Server, "answer", lambda f, _, args, kwargs: f())
    assert unwrap(Server().answer).__module__ == __name__
