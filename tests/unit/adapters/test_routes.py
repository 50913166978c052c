"""What /adapters answers: registering, reading, unregistering, whatever is sent."""

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


def test_a_registered_adapter_answers_until_it_is_unregistered(
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


def test_without_a_body_the_query_parameters_count(
    client: TestClient, src: str
) -> None:
    query = {"name": "a", "src": src, "preload": "FALSE", "pin": "no"}
    assert client.post("/adapters", params=query).text == "Adapter a registered"
    assert client.get("/adapters/a").json() == {
        "name": "a",
        "src": src,
        "preload": False,
        "pin": False,
        "status": "registered",
    }


def test_the_platform_may_retry_by_query_parameters(
    engine: AdapterEngine, client: TestClient, src: str
) -> None:
    for _ in range(3):
        answer = client.post("/adapters", params={"name": "a", "src": src})
        assert (answer.status_code, answer.text) == (200, "Adapter a registered")
    assert engine.calls == ["load a"]


def test_the_same_folder_by_another_path_is_the_same_adapter(
    engine: AdapterEngine, client: TestClient, src: str
) -> None:
    client.post("/adapters", json={"name": "a", "src": src})
    again = {"name": "a", "src": f"{src}/../one/"}
    assert client.post("/adapters", json=again).status_code == 200
    assert engine.calls == ["load a"]


def test_another_src_is_a_409_that_says_how_to_replace(
    engine: AdapterEngine, client: TestClient, src: str, other: str
) -> None:
    client.post("/adapters", json={"name": "a", "src": src})
    answer = client.post("/adapters", json={"name": "a", "src": other})
    assert answer.status_code == 409
    assert "DELETE" in answer.json()["detail"]
    assert "load_inplace" in answer.json()["detail"]
    assert client.get("/adapters/a").json()["src"] == src
    assert engine.texts == ["one"]


def test_load_inplace_replaces(
    engine: AdapterEngine, client: TestClient, src: str, other: str
) -> None:
    client.post("/adapters", json={"name": "a", "src": src})
    body = {"name": "a", "src": other, "load_inplace": True}
    answer = client.post("/adapters", json=body)
    assert (answer.status_code, answer.text) == (200, "Adapter a registered")
    assert client.get("/adapters/a").json()["src"] == other
    assert client.post("/invocations", json={"model": "a"}).json()["text"] == "other"
    assert engine.texts == ["other"]


def test_load_inplace_reads_the_same_folder_again(
    engine: AdapterEngine, client: TestClient, src: str
) -> None:
    client.post("/adapters", json={"name": "a", "src": src})
    write_adapter(Path(src), "new")
    body = {"name": "a", "src": src, "load_inplace": "true"}
    assert client.post("/adapters", json=body).status_code == 200
    assert client.post("/invocations", json={"model": "a"}).json()["text"] == "new"
    assert engine.texts == ["new"]


def test_a_replacement_that_cannot_be_loaded_leaves_the_old_adapter(
    engine: AdapterEngine, client: TestClient, src: str, tmp_path: Path
) -> None:
    client.post("/adapters", json={"name": "a", "src": src})
    broken = write_adapter(tmp_path / "broken", BROKEN)
    body = {"name": "a", "src": broken, "load_inplace": True}
    assert client.post("/adapters", json=body).status_code == 400
    assert client.get("/adapters/a").json()["src"] == src
    assert client.post("/invocations", json={"model": "a"}).json()["text"] == "one"
    assert engine.texts == ["one"]


def test_the_alias_is_used_in_the_texts(client: TestClient, src: str) -> None:
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


def test_an_alias_of_any_language_is_shown_as_it_was_sent(
    client: TestClient, src: str
) -> None:
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
def test_every_name_that_registers_is_read_updated_used_and_deleted(
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
async def test_a_name_may_look_like_an_escaped_one(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, src: str, name: str
) -> None:
    app = app_of(engine, monkeypatch)
    # Unlike Starlette's test client, this one takes the escapes out only once.
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://server") as client,
    ):
        await client.post("/adapters", json={"name": name, "src": src})
        path = f"/adapters/{quote(name, safe='')}"
        assert (await client.get(path)).json()["name"] == name
        assert (await client.delete(path)).text == f"Adapter {name} unregistered"


def test_a_slash_in_a_path_need_not_be_escaped(client: TestClient, src: str) -> None:
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
def test_what_is_no_name_is_a_400(
    engine: AdapterEngine, client: TestClient, src: str, name: Any
) -> None:
    content = json.dumps({"name": name, "src": src})
    answer = client.post("/adapters", content=content)
    assert answer.status_code == 400
    assert "name" in answer.json()["detail"]
    assert engine.calls == []


def test_without_a_name_it_is_a_400(client: TestClient, src: str) -> None:
    assert client.post("/adapters", json={"src": src}).status_code == 400
    assert client.post("/adapters").status_code == 400


@pytest.mark.parametrize("name", ["base", "own"])
def test_the_engines_own_names_are_taken(
    engine: AdapterEngine, client: TestClient, src: str, name: str
) -> None:
    answer = client.post("/adapters", json={"name": name, "src": src})
    assert answer.status_code == 409
    assert repr(name) in answer.json()["detail"]
    assert engine.calls == []


@pytest.mark.parametrize("field", ["preload", "pin", "load_inplace", "sparse"])
@pytest.mark.parametrize("value", [7, 0, "perhaps", "", [], {}, 1.5])
def test_a_flag_of_another_type_is_a_400_that_names_it(
    engine: AdapterEngine, client: TestClient, src: str, field: str, value: Any
) -> None:
    answer = client.post("/adapters", json={"name": "a", "src": src, field: value})
    assert answer.status_code == 400
    assert field in answer.json()["detail"]
    assert engine.calls == []


def test_a_flag_that_is_null_is_not_there(client: TestClient, src: str) -> None:
    body = {"name": "a", "src": src, "preload": None, "pin": None}
    assert client.post("/adapters", json=body).status_code == 200
    found = client.get("/adapters/a").json()
    assert (found["preload"], found["pin"]) == (True, False)


def test_the_engines_own_flags_reach_it(
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
def test_a_body_that_is_no_object_is_a_400(
    engine: AdapterEngine, client: TestClient, method: str, path: str, content: bytes
) -> None:
    answer = client.request(method, path, content=content)
    assert answer.status_code == 400
    assert "JSON object" in answer.json()["detail"]
    assert engine.calls == []


def test_a_body_of_more_than_1_mib_is_a_413(client: TestClient, src: str) -> None:
    body = {"name": "a", "src": src, "more": ""}
    body["more"] = "x" * ((1 << 20) - len(json.dumps(body)))
    largest = json.dumps(body)
    assert client.post("/adapters", content=f"{largest} ").status_code == 413
    assert client.get("/adapters/a").status_code == 404
    assert client.post("/adapters", content=largest).status_code == 200


@pytest.mark.parametrize("text", ["a", "", "\u4e2d"])
def test_an_unknown_adapter_is_a_404(client: TestClient, text: str) -> None:
    path = f"/adapters/{quote(text)}"
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404
    assert client.post("/adapters/a/update", json={"pin": True}).status_code == 404


@pytest.mark.parametrize("model", ["unknown", "org/unknown", "\u4e2d"])
def test_an_unknown_identifier_is_a_404_the_engine_never_sees(
    engine: AdapterEngine, client: TestClient, model: str
) -> None:
    headers = {ADAPTER.encode(): model.encode()}
    answer = client.post("/invocations", json={"model": "base"}, headers=headers)
    assert answer.status_code == 404
    assert repr(model) in answer.json()["detail"]
    assert engine.calls == []


@pytest.mark.parametrize("model", ["base", "own"])
def test_the_identifier_may_name_what_the_engine_has_itself(
    client: TestClient, model: str
) -> None:
    answer = client.post("/invocations", json={}, headers={ADAPTER: model})
    assert answer.json() == {"model": model, "text": model}


def test_the_identifier_may_be_of_any_language(client: TestClient, src: str) -> None:
    client.post("/adapters", json={"name": "caf\u00e9", "src": src})
    headers = {ADAPTER.encode(): "caf\u00e9".encode()}
    answer = client.post("/invocations", json={}, headers=headers)
    assert answer.json() == {"model": "caf\u00e9", "text": "one"}
