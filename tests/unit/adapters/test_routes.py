"""The /adapters routes: registering, reading, unregistering, and bad requests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.testclient import TestClient

from adapter_engine import BROKEN, AdapterEngine, app_of, write_adapter
from invocations_app import ADAPTER

ALIAS = "X-Amzn-SageMaker-Adapter-Alias"


@pytest.fixture
def engine(tmp_path: Path) -> AdapterEngine:
    return AdapterEngine(tmp_path / "engine", flags=("sparse",), own_adapters=("own",))


@pytest.fixture
def src(tmp_path: Path) -> str:
    return write_adapter(tmp_path / "one", "one")


@pytest.fixture
def other(tmp_path: Path) -> str:
    return write_adapter(tmp_path / "other", "other")


def test_adapter_answers_until_unregistered(
    engine: AdapterEngine, client: TestClient, src: str
) -> None:
    answer = client.post("/adapters", json={"name": "a", "src": src})
    assert (answer.status_code, answer.text) == (200, "Adapter a registered")
    asked = client.post("/invocations", json={}, headers={ADAPTER: "a"})
    assert asked.json() == {"model": "a", "text": "one"}
    answer = client.delete("/adapters/a")
    assert (answer.status_code, answer.text) == (200, "Adapter a unregistered")
    assert client.get("/adapters/a").status_code == 404
    assert client.delete("/adapters/a").status_code == 404
    assert client.post("/invocations", json={"model": "a"}).status_code == 404
    assert engine.loaded() == {}


def test_query_parameters_are_used_without_body(client: TestClient, src: str) -> None:
    query = {"name": "a", "src": src, "preload": "FALSE", "pin": "no"}
    assert client.post("/adapters", params=query).text == "Adapter a registered"
    assert client.get("/adapters/a").json() == {
        "name": "a",
        "src": src,
        "preload": False,
        "pin": False,
        "status": "registered",
    }


def test_registration_by_query_parameters_can_be_retried(
    engine: AdapterEngine, client: TestClient, src: str
) -> None:
    for _ in range(3):
        answer = client.post("/adapters", params={"name": "a", "src": src})
        assert (answer.status_code, answer.text) == (200, "Adapter a registered")
    assert engine.calls == ["load a"]


def test_same_folder_by_another_path_is_the_same_adapter(
    engine: AdapterEngine, client: TestClient, src: str
) -> None:
    client.post("/adapters", json={"name": "a", "src": src})
    again = {"name": "a", "src": f"{src}/../one/"}
    assert client.post("/adapters", json=again).status_code == 200
    assert engine.calls == ["load a"]


def test_different_src_is_a_409_that_says_how_to_replace(
    engine: AdapterEngine, client: TestClient, src: str, other: str
) -> None:
    client.post("/adapters", json={"name": "a", "src": src})
    answer = client.post("/adapters", json={"name": "a", "src": other})
    assert answer.status_code == 409
    assert "DELETE" in answer.json()["detail"]
    assert "load_inplace" in answer.json()["detail"]
    assert client.get("/adapters/a").json()["src"] == src
    assert engine.texts == ["one"]


def test_load_inplace_replaces_adapter(
    engine: AdapterEngine, client: TestClient, src: str, other: str
) -> None:
    client.post("/adapters", json={"name": "a", "src": src})
    body = {"name": "a", "src": other, "load_inplace": True}
    answer = client.post("/adapters", json=body)
    assert (answer.status_code, answer.text) == (200, "Adapter a registered")
    assert client.get("/adapters/a").json()["src"] == other
    assert client.post("/invocations", json={"model": "a"}).json()["text"] == "other"
    assert engine.texts == ["other"]


def test_load_inplace_reloads_same_folder(
    engine: AdapterEngine, client: TestClient, src: str
) -> None:
    client.post("/adapters", json={"name": "a", "src": src})
    write_adapter(Path(src), "new")
    body = {"name": "a", "src": src, "load_inplace": "true"}
    assert client.post("/adapters", json=body).status_code == 200
    assert client.post("/invocations", json={"model": "a"}).json()["text"] == "new"
    assert engine.texts == ["new"]


def test_failed_replacement_keeps_old_adapter(
    engine: AdapterEngine, client: TestClient, src: str, tmp_path: Path
) -> None:
    client.post("/adapters", json={"name": "a", "src": src})
    broken = write_adapter(tmp_path / "broken", BROKEN)
    body = {"name": "a", "src": broken, "load_inplace": True}
    assert client.post("/adapters", json=body).status_code == 400
    assert client.get("/adapters/a").json()["src"] == src
    assert client.post("/invocations", json={"model": "a"}).json()["text"] == "one"
    assert engine.texts == ["one"]


def test_alias_is_used_in_messages(client: TestClient, src: str) -> None:
    alias = {ALIAS: "nice"}
    body = {"name": "a", "src": src}
    assert client.post("/adapters", json=body, headers=alias).text == (
        "Adapter nice registered"
    )
    updated = client.post("/adapters/a/update", json={"pin": False}, headers=alias)
    assert updated.text == "Adapter nice updated"
    assert client.delete("/adapters/a", headers=alias).text == (
        "Adapter nice unregistered"
    )


def test_non_ascii_alias_is_returned_unchanged(client: TestClient, src: str) -> None:
    alias = {ALIAS.encode(): "caf\u00e9".encode()}
    body = {"name": "a", "src": src}
    answer = client.post("/adapters", json=body, headers=alias)
    assert answer.text == "Adapter caf\u00e9 registered"


NAMES = [
    "org/name/1",
    "a/",
    "/a",
    "a//b",
    "a b",
    "caf\u00e9",
    "\u4e2d\u6587 \U0001f600",
    "a?b=c",
    "a#b",
    "100%",
    "a+b&c=d;e",
    "\\",
    "'\"<>",
    "...",
    "..a/b..",
    "update",
    "a/update",
    "adapters",
    "x" * 256,
    "\u00e9" * 256,
]


@pytest.mark.parametrize("name", NAMES)
def test_every_accepted_name_can_be_read_updated_used_and_deleted(
    engine: AdapterEngine, client: TestClient, src: str, name: str
) -> None:
    assert client.post("/adapters", json={"name": name, "src": src}).text == (
        f"Adapter {name} registered"
    )
    path = f"/adapters/{quote(name, safe='')}"
    assert client.get(path).json()["name"] == name
    assert client.post(f"{path}/update", json={"preload": False}).text == (
        f"Adapter {name} updated"
    )
    assert client.get(path).json()["preload"] is False
    asked = client.post("/invocations", json={"model": name})
    assert asked.json() == {"model": name, "text": "one"}
    assert client.delete(path).text == f"Adapter {name} unregistered"
    assert client.get("/adapters").json()["adapters"] == []


@pytest.mark.parametrize("name", ["%2F", "%2e%2e", "%25", "a%"])
async def test_name_may_look_percent_encoded(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, src: str, name: str
) -> None:
    app = app_of(engine, monkeypatch)
    # Unlike Starlette's test client, this one decodes escapes only once.
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://server") as client,
    ):
        await client.post("/adapters", json={"name": name, "src": src})
        path = f"/adapters/{quote(name, safe='')}"
        assert (await client.get(path)).json()["name"] == name
        assert (await client.delete(path)).text == f"Adapter {name} unregistered"


def test_slash_in_path_need_not_be_escaped(client: TestClient, src: str) -> None:
    client.post("/adapters", json={"name": "org/a", "src": src})
    assert client.get("/adapters/org/a").json()["name"] == "org/a"
    assert client.post("/adapters/org/a/update", json={"pin": True}).status_code == 200
    assert client.delete("/adapters/org/a").status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 257,
        "a\nb",
        "a\0",
        "\x7f",
        "\x85",
        "\ud800",
        ".",
        "..",
        "../a",
        "a/./b",
        "a/..",
        " a",
        " ",
        "\u00c3\u00a9",
        None,
        7,
        True,
        ["a"],
        {"a": 1},
    ],
)
def test_invalid_name_is_a_400(
    engine: AdapterEngine, client: TestClient, src: str, name: Any
) -> None:
    content = json.dumps({"name": name, "src": src})
    answer = client.post("/adapters", content=content)
    assert answer.status_code == 400
    assert "name" in answer.json()["detail"]
    assert engine.calls == []


def test_missing_name_is_a_400(client: TestClient, src: str) -> None:
    assert client.post("/adapters", json={"src": src}).status_code == 400
    assert client.post("/adapters").status_code == 400


@pytest.mark.parametrize("name", ["base", "own"])
def test_engines_own_names_are_reserved(
    engine: AdapterEngine, client: TestClient, src: str, name: str
) -> None:
    answer = client.post("/adapters", json={"name": name, "src": src})
    assert answer.status_code == 409
    assert repr(name) in answer.json()["detail"]
    assert engine.calls == []


@pytest.mark.parametrize("field", ["preload", "pin", "load_inplace", "sparse"])
@pytest.mark.parametrize("value", [7, 0, "maybe", "", [], {}, 1.5])
def test_mistyped_flag_is_a_400_that_names_it(
    engine: AdapterEngine, client: TestClient, src: str, field: str, value: Any
) -> None:
    answer = client.post("/adapters", json={"name": "a", "src": src, field: value})
    assert answer.status_code == 400
    assert field in answer.json()["detail"]
    assert engine.calls == []


def test_null_flag_is_ignored(client: TestClient, src: str) -> None:
    body = {"name": "a", "src": src, "preload": None, "pin": None}
    assert client.post("/adapters", json=body).status_code == 200
    found = client.get("/adapters/a").json()
    assert (found["preload"], found["pin"]) == (True, False)


def test_engines_flags_are_passed_to_it(
    engine: AdapterEngine, client: TestClient, src: str
) -> None:
    body = {"name": "a", "src": src, "sparse": "yes", "unknown": 1}
    assert client.post("/adapters", json=body).status_code == 200
    [entry] = engine.loaded().values()
    assert entry["options"] == {"sparse": True}


@pytest.mark.parametrize(
    "content",
    [b"[1]", b'"a"', b"null", b"7", b"{", b"no json", b"\xff\xfe", b"[" * 100_000],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/adapters"), ("POST", "/adapters/a/update"), ("DELETE", "/adapters/a")],
)
def test_body_that_is_not_an_object_is_a_400(
    engine: AdapterEngine, client: TestClient, method: str, path: str, content: bytes
) -> None:
    answer = client.request(method, path, content=content)
    assert answer.status_code == 400
    assert "JSON object" in answer.json()["detail"]
    assert engine.calls == []


def test_body_over_1_mib_is_a_413(client: TestClient, src: str) -> None:
    body = {"name": "a", "src": src, "more": ""}
    body["more"] = "x" * ((1 << 20) - len(json.dumps(body)))
    largest = json.dumps(body)
    assert client.post("/adapters", content=f"{largest} ").status_code == 413
    assert client.get("/adapters/a").status_code == 404
    assert client.post("/adapters", content=largest).status_code == 200


@pytest.mark.parametrize("text", ["a", "", "\u4e2d"])
def test_unknown_adapter_is_a_404(client: TestClient, text: str) -> None:
    path = f"/adapters/{quote(text)}"
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404
    assert client.post("/adapters/a/update", json={"pin": True}).status_code == 404


@pytest.mark.parametrize("model", ["unknown", "org/unknown", "\u4e2d"])
def test_unknown_identifier_is_a_404_before_reaching_engine(
    engine: AdapterEngine, client: TestClient, model: str
) -> None:
    headers = {ADAPTER.encode(): model.encode()}
    answer = client.post("/invocations", json={"model": "base"}, headers=headers)
    assert answer.status_code == 404
    assert repr(model) in answer.json()["detail"]
    assert engine.calls == []


@pytest.mark.parametrize("model", ["base", "own"])
def test_identifier_may_name_engines_own_model(client: TestClient, model: str) -> None:
    answer = client.post("/invocations", json={}, headers={ADAPTER: model})
    assert answer.json() == {"model": model, "text": model}


def test_identifier_may_be_non_ascii(client: TestClient, src: str) -> None:
    client.post("/adapters", json={"name": "caf\u00e9", "src": src})
    headers = {ADAPTER.encode(): "caf\u00e9".encode()}
    answer = client.post("/invocations", json={}, headers=headers)
    assert answer.json() == {"model": "caf\u00e9", "text": "one"}
