from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

import model_hosting_container_standards.sagemaker as sagemaker
from invocations_app import (
    ADAPTER,
    client_of,
    echo,
    parse,
    take_model,
)


@pytest.mark.parametrize("handler", [parse, take_model])
def test_clients_model_is_unchanged_without_header(
    handler: Callable[..., Any],
) -> None:
    client = client_of(handler, sagemaker.inject_adapter_id("model"))
    answer = client.post("/invocations", json={"model": "client's"}).json()
    assert answer.get("json", answer) == {"model": "client's"}


def test_header_replaces_field() -> None:
    client = client_of(parse, sagemaker.inject_adapter_id(adapter_path="model"))
    body = {"model": "client's", "prompt": "p", "x": [1.5, None, "\u00e9"]}
    answer = client.post("/invocations", json=body, headers={ADAPTER: "mine"})
    assert answer.json() == {**body, "model": "mine"}


def test_id_is_present_however_body_is_read() -> None:
    decorate = sagemaker.inject_adapter_id("model")
    headers = {ADAPTER: "mine"}
    taken = client_of(take_model, decorate).post(
        "/invocations", json={"prompt": "p"}, headers=headers
    )
    assert taken.json()["field"] == taken.json()["json"]["model"] == "mine"
    raw = client_of(echo, decorate).post("/invocations", json={}, headers=headers)
    assert json.loads(raw.json()["raw"]) == {"model": "mine"}
    assert raw.json()["length"] is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"model": "base"}, {"model": "base:mine"}),
        ({"model": None}, {"model": "mine"}),
        ({}, {"model": "mine"}),
    ],
)
def test_id_can_be_appended(body: Any, expected: Any) -> None:
    decorate = sagemaker.inject_adapter_id("model", append=True, separator=":")
    client = client_of(parse, decorate)
    answer = client.post("/invocations", json=body, headers={ADAPTER: "mine"})
    assert answer.json() == expected


def test_missing_parents_of_nested_field_are_created() -> None:
    client = client_of(parse, sagemaker.inject_adapter_id("lora.request.name"))
    answer = client.post(
        "/invocations", json={"lora": {"a": 1}}, headers={ADAPTER: "m"}
    )
    assert answer.json() == {"lora": {"a": 1, "request": {"name": "m"}}}


@pytest.mark.parametrize(
    ("path", "append", "body", "sentence"),
    [
        ("model", False, b"[1]", "JSON object"),
        ("model", False, b"not json", "JSON object"),
        ("model", False, b"", "JSON object"),
        ("model", False, b"\xff\xfe", "JSON object"),
        ("model", False, b"[" * 100_000, "JSON object"),
        ("a.b", False, b'{"a": 1}', "must be JSON objects"),
        ("a.b", False, b'{"a": null}', "must be JSON objects"),
        ("model", True, b'{"model": 7}', "send a string"),
    ],
)
def test_body_that_cannot_hold_the_id_is_a_400(
    path: str, append: bool, body: bytes, sentence: str
) -> None:
    separator = ":" if append else None
    client = client_of(parse, sagemaker.inject_adapter_id(path, append, separator))
    answer = client.post("/invocations", content=body, headers={ADAPTER: "mine"})
    assert answer.status_code == 400
    assert sentence in answer.json()["detail"]


def test_empty_header_is_ignored() -> None:
    client = client_of(parse, sagemaker.inject_adapter_id("model"))
    answer = client.post("/invocations", json={"model": "a"}, headers={ADAPTER: ""})
    assert answer.json() == {"model": "a"}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_adapter_name_may_be_non_ascii(encoding: str) -> None:
    client = client_of(parse, sagemaker.inject_adapter_id("model"))
    name = "caf\u00e9"
    headers = {ADAPTER.encode(): name.encode(encoding)}
    answer = client.post("/invocations", json={}, headers=headers)
    assert answer.json() == {"model": name}


@pytest.mark.parametrize(
    ("path", "append", "separator", "message"),
    [
        ("", False, None, "^The path of the adapter's id is empty"),
        (None, False, None, "^The path of the adapter's id is not a string: None"),
        (7, False, None, "^The path of the adapter's id is not a string: 7"),
        ("a..b", False, None, "^The path of the adapter's id has an empty part: 'a..b"),
        ("model", True, None, "^The separator is missing: append=True"),
        ("model", False, ":", "^The separator ':' has no effect without append=True"),
    ],
)
def test_invalid_decorator_arguments_are_a_value_error(
    path: Any, append: bool, separator: str | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sagemaker.inject_adapter_id(path, append, separator)


def test_customers_handler_can_be_decorated() -> None:
    sagemaker.invoke(sagemaker.inject_adapter_id("model")(parse))
    client = TestClient(sagemaker.bootstrap(FastAPI()))
    answer = client.post("/invocations", json={}, headers={ADAPTER: "mine"})
    assert answer.json() == {"model": "mine"}


async def stream(request: Request) -> AsyncIterator[str]:
    yield json.dumps(await request.json())


def sync(body: dict[str, Any]) -> dict[str, Any]:
    return body


@pytest.mark.parametrize("handler", [parse, stream, sync, functools.partial(parse)])
@pytest.mark.parametrize("registered_first", [True, False])
def test_decorators_work_in_either_order_on_any_handler(
    handler: Callable[..., Any], registered_first: bool
) -> None:
    decorators = [sagemaker.inject_adapter_id("model"), sagemaker.invoke]
    for decorator in decorators[:: -1 if registered_first else 1]:
        handler = decorator(handler)
    client = TestClient(sagemaker.bootstrap(FastAPI()))
    answer = client.post("/invocations", json={"model": "a"}, headers={ADAPTER: "mine"})
    assert answer.json() == {"model": "mine"}


def test_partial_of_decorated_handler_stays_decorated() -> None:
    async def handler(prefix: str, request: Request) -> Any:
        return [prefix, await request.json()]

    decorated = sagemaker.inject_adapter_id("model")(handler)
    sagemaker.invoke(functools.partial(decorated, "p"))
    client = TestClient(sagemaker.bootstrap(FastAPI()))
    answer = client.post("/invocations", json={}, headers={ADAPTER: "mine"})
    assert answer.json() == ["p", {"model": "mine"}]


def test_several_fields_and_repeated_decorators() -> None:
    both = sagemaker.inject_adapter_id("a")(sagemaker.inject_adapter_id("b")(parse))
    answer = client_of(both).post("/invocations", json={}, headers={ADAPTER: "m"})
    assert answer.json() == {"a": "m", "b": "m"}
    one = client_of(parse, sagemaker.inject_adapter_id("c"))
    answer = one.post("/invocations", json={}, headers={ADAPTER: "m"})
    assert answer.json() == {"c": "m"}


def test_get_route_of_same_path_does_not_hide_decorated_route() -> None:
    app = FastAPI()
    app.get("/invocations")(lambda: "usage")
    app.post("/invocations")(sagemaker.inject_adapter_id("model")(parse))
    client = TestClient(sagemaker.bootstrap(app))
    answer = client.post("/invocations", json={}, headers={ADAPTER: "mine"})
    assert answer.json() == {"model": "mine"}
    assert client.get("/invocations").json() == "usage"


async def test_changing_parsed_json_does_not_change_body() -> None:
    async def handler(request: Request) -> Any:
        document = await request.json()
        document["prompt"] = "changed"
        assert not await request.is_disconnected()
        return json.loads(await request.body())

    client = client_of(handler, sagemaker.inject_adapter_id("model"))
    answer = client.post("/invocations", json={"prompt": "p"}, headers={ADAPTER: "m"})
    assert answer.json() == {"prompt": "p", "model": "m"}
