"""GET /adapters with paging, and defaults from the environment."""

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


def test_no_adapters_are_registered_initially(client: TestClient) -> None:
    answer = client.get("/adapters")
    assert answer.json() == {"adapters": [], "next_page_token": None}


def test_listing_matches_reading_one_adapter(client: TestClient, src: str) -> None:
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
def test_pages_list_every_name_once_in_order(
    client: TestClient, src: str, limit: int, expected: list[list[str]]
) -> None:
    register(client, src, "b", "\U0001f600", "a", "A", "\u00e9", "a/b")
    assert list(pages(client, limit)) == expected


def test_page_after_deleted_name(client: TestClient, src: str) -> None:
    register(client, src, "a", "b", "c")
    reading = pages(client, 2)
    assert next(reading) == ["a", "b"]
    client.delete("/adapters/b")
    assert next(reading) == ["c"]


def test_thousand_adapters_fit_any_page_size(client: TestClient, src: str) -> None:
    names = [f"adapter-{number:04}" for number in range(1001)]
    register(client, src, *names)
    first, rest = pages(client, 1000)
    assert (first, rest) == (names[:1000], names[1000:])
    assert client.get("/adapters").json()["next_page_token"] is not None
    assert [name for page in pages(client, 77) for name in page] == names


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1.5", "9" * 5000])
def test_bad_limit_is_a_400_with_allowed_range(client: TestClient, limit: str) -> None:
    answer = client.get("/adapters", params={"limit": limit})
    assert answer.status_code == 400
    assert "1 to 1000" in answer.json()["detail"]


@pytest.mark.parametrize("token", ["x", "!", "\u00e9", "_w==", "a b", "YQ==YQ=="])
def test_bad_token_is_a_400(client: TestClient, token: str) -> None:
    answer = client.get("/adapters", params={"next_page_token": token})
    assert answer.status_code == 400
    assert "next_page_token" in answer.json()["detail"]


def test_empty_token_is_ignored(client: TestClient, src: str) -> None:
    register(client, src, "a")
    answer = client.get("/adapters", params={"next_page_token": ""})
    assert [adapter["name"] for adapter in answer.json()["adapters"]] == ["a"]


def test_defaults_fill_missing_registration_fields(
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


def test_unload_defaults_do_not_replace_name_in_path(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, src: str
) -> None:
    name = "SAGEMAKER_TRANSFORMS_UNLOAD_ADAPTER_DEFAULTS"
    monkeypatch.setenv(name, json.dumps({"body.name": "b"}))
    with TestClient(app_of(engine, monkeypatch)) as client:
        register(client, src, "a", "b")
        assert client.delete("/adapters/a").text == "Adapter a unregistered"
        assert client.get("/adapters/b").status_code == 200


@pytest.mark.parametrize("value", ["no json", "[1]", '{"src": 1}', '{"body.": 1}'])
def test_bad_defaults_error_names_the_variable(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    name = "SAGEMAKER_TRANSFORMS_LOAD_ADAPTER_DEFAULTS"
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=name):
        app_of(engine, monkeypatch)
