"""Registration, use and listing of adapters, on one front end and on two."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from servers import Server, free_port

from .engines import EngineUnderTest
from .requests import (
    ADAPTER,
    ALIAS,
    ROUTES,
    ask,
    register,
    request,
    streamed_text,
    text_of,
)

#: Enough requests for each of two processes to answer some of them.
REPEATS = 6


@pytest.fixture(scope="module")
def with_adapters(engine: EngineUnderTest) -> EngineUnderTest:
    if not engine.supports_adapters:
        pytest.skip(f"{engine.name} has no adapters")
    return engine


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def adapter_server(
    request: pytest.FixtureRequest, with_adapters: EngineUnderTest
) -> Iterator[Server]:
    engine = with_adapters
    if request.param > engine.max_processes:
        pytest.skip(f"{engine.name} has one front end")
    with engine.serve(env={"MHCS_AUTO": "1"}, processes=request.param) as server:
        yield server


@pytest.fixture
def client(adapter_server: Server) -> Iterator[httpx.Client]:
    """A client whose requests may reach any process. No adapter is registered."""
    with adapter_server.new_client() as client:
        for adapter in client.get("/adapters").json()["adapters"]:
            client.delete(f"/adapters/{adapter['name']}").raise_for_status()
        yield client


@pytest.fixture(scope="module")
def sources(
    engine: EngineUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    root = tmp_path_factory.mktemp("adapters")
    return {name: engine.write_adapter(root / name, name) for name in ("cats", "dogs")}


def test_each_adapter_has_its_own_text_in_every_process(
    client: httpx.Client, engine: EngineUnderTest, sources: dict[str, str]
) -> None:
    base = text_of(ask(client, engine))
    for name, src in (("one", sources["cats"]), ("org/two", sources["dogs"])):
        answer = register(client, name, src)
        assert (answer.status_code, answer.text) == (200, f"Adapter {name} registered")
    texts = {
        name: {
            text_of(answer)
            for _ in range(REPEATS)
            for answer in (
                ask(client, engine, adapter=name),
                ask(client, engine, model=name),
                ask(client, engine, "/v1/completions", model=name),
            )
        }
        for name in ("one", "org/two")
    }
    (one,), (two,) = texts.values()
    assert len({base, one, two}) == 3
    assert text_of(ask(client, engine)) == base


@pytest.mark.parametrize("kind", ROUTES)
def test_every_route_uses_adapter_whole_and_streamed(
    client: httpx.Client, engine: EngineUnderTest, sources: dict[str, str], kind: str
) -> None:
    register(client, "one", sources["cats"])
    body = request(kind, engine, model="one")
    base = text_of(client.post(ROUTES[kind], json=request(kind, engine)))
    for path in (ROUTES[kind], "/invocations"):
        text = text_of(client.post(path, json=body))
        assert text != base
        with client.stream("POST", path, json={**body, "stream": True}) as answer:
            assert streamed_text(answer.iter_lines()) == text


@pytest.mark.parametrize("kind", ROUTES)
@pytest.mark.parametrize(
    "model", [{}, {"model": ""}, {"model": None}, {"model": "dogs"}]
)
def test_adapter_header_overrides_model_of_body(
    client: httpx.Client,
    engine: EngineUnderTest,
    sources: dict[str, str],
    kind: str,
    model: dict[str, Any],
) -> None:
    for name, src in sources.items():
        register(client, name, src)
    body = request(kind, engine, model="cats")
    expected = text_of(client.post(ROUTES[kind], json=body))
    del body["model"]
    for path in (ROUTES[kind], "/invocations"):
        answer = client.post(path, json={**body, **model}, headers={ADAPTER: "cats"})
        assert text_of(answer) == expected


@pytest.mark.parametrize("path", ["/invocations", *ROUTES.values()])
def test_unknown_name_in_header_is_a_404_that_lists_adapters(
    client: httpx.Client, engine: EngineUnderTest, sources: dict[str, str], path: str
) -> None:
    register(client, "cats", sources["cats"])
    answer = ask(client, engine, path, adapter="unknown", model="cats")
    assert answer.status_code == 404
    assert "'cats'" in answer.text


def test_adapter_header_accepts_base_model(
    client: httpx.Client, engine: EngineUnderTest
) -> None:
    by_header = ask(client, engine, adapter=engine.model)
    assert text_of(by_header) == text_of(ask(client, engine))


def test_all_clients_see_same_adapters(
    client: httpx.Client, adapter_server: Server, sources: dict[str, str]
) -> None:
    # The platform sends no body, and repeats a call that got no response.
    query = {"name": "one", "src": sources["cats"], "preload": "true", "pin": "false"}
    for _ in range(2):
        answer = client.post("/adapters", params=query)
        assert (answer.status_code, answer.text) == (200, "Adapter one registered")
    url = f"{adapter_server.url}/adapters?name=two&src={sources['dogs']}"
    curl = ["curl", "-sS", "--noproxy", "*", "-X", "POST", url]
    printed = subprocess.run(curl, capture_output=True, check=True, text=True)
    assert printed.stdout == "Adapter two registered"
    for _ in range(REPEATS):
        listed = client.get("/adapters").json()["adapters"]
        assert [adapter["name"] for adapter in listed] == ["one", "two"]
        assert {adapter["status"] for adapter in listed} == {"loaded"}
        page = client.get("/adapters?limit=1").json()
        assert [adapter["name"] for adapter in page["adapters"]] == ["one"]
        token = page["next_page_token"]
        page = client.get(f"/adapters?limit=1&next_page_token={token}").json()
        assert [adapter["name"] for adapter in page["adapters"]] == ["two"]
        assert page["next_page_token"] is None


def test_responses_use_alias(client: httpx.Client, sources: dict[str, str]) -> None:
    headers = {ALIAS: "Felix"}
    body = {"name": "one", "src": sources["cats"]}
    answer = client.post("/adapters", json=body, headers=headers)
    assert answer.text == "Adapter Felix registered"
    answer = client.delete("/adapters/one", headers=headers)
    assert answer.text == "Adapter Felix unregistered"


def test_unregistered_adapter_is_a_404_in_every_process(
    client: httpx.Client, engine: EngineUnderTest, sources: dict[str, str]
) -> None:
    register(client, "one", sources["cats"])
    assert text_of(ask(client, engine, adapter="one"))
    removed = client.delete("/adapters/one")
    assert (removed.status_code, removed.text) == (200, "Adapter one unregistered")
    assert client.delete("/adapters/one").status_code == 404
    for _ in range(REPEATS):
        assert client.get("/adapters/one").status_code == 404
        assert ask(client, engine, adapter="one").status_code == 404
        if engine.rejects_unknown_models:
            assert ask(client, engine, model="one").status_code == 404


def test_reused_name_answers_with_new_weights(
    client: httpx.Client, engine: EngineUnderTest, sources: dict[str, str]
) -> None:
    expected = {}
    for name, src in sources.items():
        register(client, "changing", src)
        answers = {
            text_of(ask(client, engine, model="changing")) for _ in range(REPEATS)
        }
        (expected[name],) = answers
        assert client.delete("/adapters/changing").status_code == 200
    assert expected["cats"] != expected["dogs"]
    # Also when the engine has cached both.
    register(client, "changing", sources["cats"])
    for _ in range(REPEATS):
        assert text_of(ask(client, engine, adapter="changing")) == expected["cats"]


def test_changed_folder_answers_with_new_weights(
    client: httpx.Client, engine: EngineUnderTest, tmp_path: Path
) -> None:
    texts = []
    for text in ("cats", "dogs"):
        src = engine.write_adapter(tmp_path / "same", text)
        register(client, "same", src).raise_for_status()
        texts.append(
            {text_of(ask(client, engine, model="same")) for _ in range(REPEATS)}
        )
        client.delete("/adapters/same").raise_for_status()
    (first,), (second,) = texts
    assert first != second


def test_adapter_is_replaced_immediately(
    client: httpx.Client, engine: EngineUnderTest, sources: dict[str, str]
) -> None:
    register(client, "expected", sources["dogs"])
    register(client, "one", sources["cats"])
    refused = register(client, "one", sources["dogs"])
    assert refused.status_code == 409
    assert "load_inplace" in refused.text
    register(client, "one", sources["dogs"], load_inplace=True).raise_for_status()
    expected = text_of(ask(client, engine, model="expected"))
    for _ in range(REPEATS):
        assert text_of(ask(client, engine, adapter="one")) == expected


def test_adapter_without_preload_is_loaded_by_first_request(
    client: httpx.Client, engine: EngineUnderTest, sources: dict[str, str]
) -> None:
    register(client, "one", sources["cats"], preload=False).raise_for_status()
    assert client.get("/adapters/one").json()["status"] == "registered"
    assert text_of(ask(client, engine, adapter="one"))
    assert client.get("/adapters/one").json()["status"] == "loaded"


def test_pin_is_accepted_only_if_engine_can_pin(
    client: httpx.Client, engine: EngineUnderTest, sources: dict[str, str]
) -> None:
    status = 200 if engine.can_pin else 507
    assert register(client, "one", sources["cats"], pin=True).status_code == status
    if not engine.can_pin:
        assert client.get("/adapters").json()["adapters"] == []
        register(client, "one", sources["cats"]).raise_for_status()
        assert client.post("/adapters/one/update?pin=true").status_code == 507
    pinned = client.get("/adapters/one").json()["pin"]
    assert pinned is engine.can_pin
    assert text_of(ask(client, engine, adapter="one"))


def test_refused_registrations_leave_no_adapter(
    client: httpx.Client,
    engine: EngineUnderTest,
    sources: dict[str, str],
    tmp_path: Path,
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused: dict[int, list[dict[str, Any]]] = {
        400: [
            {"name": "", "src": sources["cats"]},
            {"name": "a\nb", "src": sources["cats"]},
            {"name": "one"},
            {"name": "one", "src": 5},
            {"name": "one", "src": str(empty)},
            {"name": "one", "src": __file__},
        ],
        404: [{"name": "one", "src": "/no/such/folder"}],
        409: [{"name": engine.model, "src": sources["cats"]}],
    }
    for status, bodies in refused.items():
        for body in bodies:
            answer = client.post("/adapters", json=body)
            assert answer.status_code == status, (body, answer.text)
    assert client.get("/adapters").json()["adapters"] == []
    assert text_of(ask(client, engine))


def test_unknown_adapter_is_a_404(
    client: httpx.Client, engine: EngineUnderTest
) -> None:
    assert client.get("/adapters/unknown").status_code == 404
    assert client.post("/adapters/unknown/update?pin=false").status_code == 404
    answer = ask(client, engine, adapter="unknown")
    assert answer.status_code == 404
    assert "unknown" in answer.text


def test_body_that_is_not_an_object_is_a_400(
    client: httpx.Client, sources: dict[str, str]
) -> None:
    register(client, "one", sources["cats"])
    for body in (b"[]", b"{", b"", b"\xff"):
        answer = client.post("/invocations", content=body, headers={ADAPTER: "one"})
        assert answer.status_code == 400, answer.text


def test_concurrent_registrations_create_one_adapter(
    client: httpx.Client, adapter_server: Server, sources: dict[str, str]
) -> None:
    def once(_: int) -> int:
        with adapter_server.new_client() as client:
            return register(client, "one", sources["cats"]).status_code

    with ThreadPoolExecutor(8) as threads:
        assert {*threads.map(once, range(16))} == {200}
    assert len(client.get("/adapters").json()["adapters"]) == 1


def test_restarted_server_restores_its_adapters(
    with_adapters: EngineUnderTest, sources: dict[str, str], tmp_path: Path
) -> None:
    """Adapters in the model folder are loaded too, except for deleted ones."""
    engine, port = with_adapters, free_port()
    env = {
        "MHCS_AUTO": "1",
        "SAGEMAKER_ADAPTERS_PATH": str(tmp_path / "state"),
        "SAGEMAKER_MODEL_PATH": str(tmp_path),
    }
    (tmp_path / "adapters").mkdir()
    for name in ("two", "three"):
        (tmp_path / "adapters" / name).symlink_to(sources["dogs"])
    with engine.serve(env=env, port=port) as server:
        two = text_of(ask(server.client, engine, adapter="two"))
        register(server.client, "one", sources["cats"]).raise_for_status()
        one = text_of(ask(server.client, engine, adapter="one"))
        assert len({one, two, text_of(ask(server.client, engine))}) == 3
        server.client.delete("/adapters/three").raise_for_status()
        server.kill()
    with engine.serve(env=env, port=port) as server:
        assert text_of(ask(server.client, engine, adapter="one")) == one
        assert text_of(ask(server.client, engine, adapter="two")) == two
        assert ask(server.client, engine, adapter="three").status_code == 404


def test_server_without_lora_refuses_adapters(
    engine: EngineUnderTest, sources: dict[str, str]
) -> None:
    with engine.serve(env={"MHCS_AUTO": "1"}, lora=False) as server:
        refused = register(server.client, "one", sources["cats"])
        assert refused.status_code == 400
        assert "start" in refused.text or "1.0" in refused.text
        assert server.client.get("/adapters").status_code == 400
        answer = ask(server.client, engine, adapter="one")
        assert answer.status_code in (400, 404), answer.text
        by_name = ask(server.client, engine, adapter=engine.model)
        assert text_of(by_name) == text_of(ask(server.client, engine))
