"""GET /adapters, page by page, and what the environment fills into requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from adapter_engine import AdapterEngine, app_of, write_adapter


@pytest.fixture
def engine(tmp_path: Path) -> AdapterEngine:
    return AdapterEngine(tmp_path / "engine")


@pytest.fixture
def src(tmp_path: Path) -> str:
    return write_adapter(tmp_path / "one", "one")


def register(client: TestClient, src: str, *names: str) -> None:
    for name in names:
        body = {"name": name, "src": src, "preload": False}
        assert client.post("/adapters", json=body).status_code == 200


def pages(client: TestClient, limit: int) -> Iterator[list[str]]:
    query: dict[str, Any] = {"limit": limit}
    while True:
        answer = client.get("/adapters", params=query).json()
        yield [adapter["name"] for adapter in answer["adapters"]]
        query["next_page_token"] = answer["next_page_token"]
        if answer["next_page_token"] is None:
            return


def test_nothing_is_registered_at_first(client: TestClient) -> None:
    answer = client.get("/adapters")
    assert answer.json() == {"adapters": [], "next_page_token": None}


def test_the_list_shows_what_reading_one_shows(client: TestClient, src: str) -> None:
    register(client, src, "b", "a")
    shown = client.get("/adapters").json()["adapters"]
    assert shown == [client.get(f"/adapters/{name}").json() for name in "ab"]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, [["A"], ["a"], ["a/b"], ["b"], ["\u00e9"], ["\U0001f600"]]),
        (4, [["A", "a", "a/b", "b"], ["\u00e9", "\U0001f600"]]),
        (3, [["A", "a", "a/b"], ["b", "\u00e9", "\U0001f600"]]),
        (6, [["A", "a", "a/b", "b", "\u00e9", "\U0001f600"]]),
        (1000, [["A", "a", "a/b", "b", "\u00e9", "\U0001f600"]]),
    ],
)
def test_pages_have_every_name_once_and_in_order(
    client: TestClient, src: str, limit: int, expected: list[list[str]]
) -> None:
    register(client, src, "b", "\U0001f600", "a", "A", "\u00e9", "a/b")
    assert list(pages(client, limit)) == expected


def test_a_page_may_follow_a_name_that_is_gone(client: TestClient, src: str) -> None:
    register(client, src, "a", "b", "c")
    reading = pages(client, 2)
    assert next(reading) == ["a", "b"]
    client.delete("/adapters/b")
    assert next(reading) == ["c"]


def test_a_thousand_adapters_are_one_page_or_many(client: TestClient, src: str) -> None:
    names = [f"adapter-{number:04}" for number in range(1001)]
    register(client, src, *names)
    first, rest = pages(client, 1000)
    assert (first, rest) == (names[:1000], names[1000:])
    assert client.get("/adapters").json()["next_page_token"] is not None
    assert [name for page in pages(client, 77) for name in page] == names


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1.5", "9" * 5000])
def test_a_bad_limit_is_a_400_that_says_what_is_allowed(
    client: TestClient, limit: str
) -> None:
    answer = client.get("/adapters", params={"limit": limit})
    assert answer.status_code == 400
    assert "1 to 1000" in answer.json()["detail"]


@pytest.mark.parametrize("token", ["x", "!", "\u00e9", "_w==", "a b", "YQ==YQ=="])
def test_a_bad_token_is_a_400(client: TestClient, token: str) -> None:
    answer = client.get("/adapters", params={"next_page_token": token})
    assert answer.status_code == 400
    assert "next_page_token" in answer.json()["detail"]


def test_an_empty_token_is_none(client: TestClient, src: str) -> None:
    register(client, src, "a")
    answer = client.get("/adapters", params={"next_page_token": ""})
    assert [adapter["name"] for adapter in answer.json()["adapters"]] == ["a"]


def test_defaults_fill_what_a_registration_leaves_out(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, src: str
) -> None:
    defaults = {"body.preload": False, "body.src": src}
    name = "SAGEMAKER_TRANSFORMS_LOAD_ADAPTER_DEFAULTS"
    monkeypatch.setenv(name, json.dumps(defaults))
    with TestClient(app_of(engine, monkeypatch)) as client:
        assert client.post("/adapters", json={"name": "a"}).status_code == 200
        assert client.post("/adapters", params={"name": "b"}).status_code == 200
        body = {"name": "c", "preload": True}
        assert client.post("/adapters", json=body).status_code == 200
    assert engine.calls == ["load c"]


def test_defaults_of_unloading_change_nothing_of_a_registered_adapter(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, src: str
) -> None:
    name = "SAGEMAKER_TRANSFORMS_UNLOAD_ADAPTER_DEFAULTS"
    monkeypatch.setenv(name, json.dumps({"body.name": "b"}))
    with TestClient(app_of(engine, monkeypatch)) as client:
        register(client, src, "a", "b")
        assert client.delete("/adapters/a").text == "Adapter a unregistered"
        assert client.get("/adapters/b").status_code == 200


@pytest.mark.parametrize("value", ["no json", "[1]", '{"src": 1}', '{"body.": 1}'])
def test_bad_defaults_are_an_error_that_names_the_variable(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    name = "SAGEMAKER_TRANSFORMS_LOAD_ADAPTER_DEFAULTS"
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name):
        app_of(engine, monkeypatch)
