"""Pins and the other fields of POST /adapters/{name}/update."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from adapter_engine import BROKEN, AdapterEngine, app_of, write_adapter
from invocations_app import ADAPTER
from model_hosting_container_standards.adapters.adapter import Adapter
from model_hosting_container_standards.exceptions import AdapterCapacityError

Register = Callable[..., int]


@pytest.fixture
def engine(tmp_path: Path) -> AdapterEngine:
    return AdapterEngine(tmp_path / "engine", slots=2)


@pytest.fixture
def register(client: TestClient, tmp_path: Path) -> Register:
    """Return a function that registers an adapter whose text is its name."""

    def send(name: str, text: str | None = None, **more: Any) -> int:
        src = write_adapter(tmp_path / name, name if text is None else text)
        body = {"name": name, "src": src, **more}
        return client.post("/adapters", json=body).status_code

    return send


def update(client: TestClient, name: str, /, **fields: Any) -> httpx.Response:
    answer: Any = client.post(f"/adapters/{name}/update", json=fields)
    response: httpx.Response = answer
    return response


def names(client: TestClient) -> list[str]:
    return [one["name"] for one in client.get("/adapters").json()["adapters"]]


def fail(client: TestClient, register: Register, name: str) -> None:
    """Register an adapter that fails on its first use."""
    assert register(name, BROKEN, preload=False) == 200
    assert client.post("/invocations", json={"model": name}).status_code == 400


def test_pinned_adapter_is_pinned_in_engine(
    engine: AdapterEngine, client: TestClient, register: Register
) -> None:
    assert register("a", pin=True, preload=False) == 200
    assert client.get("/adapters/a").json()["pin"] is True
    assert client.get("/adapters/a").json()["status"] == "loaded"
    assert engine.pinned == ["a"]


def test_more_pins_than_slots_is_a_507_without_side_effects(
    engine: AdapterEngine, client: TestClient, register: Register
) -> None:
    assert [register(name, pin=True) for name in "ab"] == [200, 200]
    assert register("c", pin=True) == 507
    assert names(client) == ["a", "b"]
    assert engine.texts == engine.pinned == ["a", "b"]


def test_pins_leave_a_slot_for_unpinned_adapters(
    engine: AdapterEngine, client: TestClient, register: Register
) -> None:
    assert register("a", pin=True) == 200
    assert register("b") == 200
    assert register("c", pin=True) == 507
    assert update(client, "b", pin=True).status_code == 200
    assert register("d") == 507
    assert register("d", preload=False) == 507
    assert names(client) == ["a", "b"]
    assert engine.texts == ["a", "b"]


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("--seats", "delete some, or start it with more slots (--seats)."),
        (None, "many. Unpin or delete some."),
    ],
)
def test_error_names_engines_slots_option(
    engine: AdapterEngine, client: TestClient, option: str | None, advice: str
) -> None:
    engine.slots, engine.slots_option = 1, option
    src = write_adapter(engine.folder / "a")
    for name, status in (("a", 200), ("b", 507)):
        body = {"name": name, "src": src, "pin": True}
        answer = client.post("/adapters", json=body)
        assert answer.status_code == status
    assert answer.json()["detail"].endswith(advice)


def test_engine_without_slots_rejects_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = AdapterEngine(tmp_path / "engine", slots=0)
    with TestClient(app_of(engine, monkeypatch)) as client:
        body = {"name": "a", "src": write_adapter(tmp_path / "a")}
        refused = client.post("/adapters", json={**body, "pin": True})
        assert (refused.status_code, refused.json()["detail"]) == (
            507,
            "This server's engine cannot pin adapters.",
        )
        assert client.post("/adapters", json=body).status_code == 200


def test_engines_own_adapters_need_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = AdapterEngine(tmp_path / "engine", slots=1, own_adapters=["own"])
    with TestClient(app_of(engine, monkeypatch)) as client:
        body = {"name": "a", "src": write_adapter(tmp_path / "a"), "pin": True}
        assert client.post("/adapters", json=body).status_code == 507


def test_unpinning_frees_a_slot(
    engine: AdapterEngine, client: TestClient, register: Register
) -> None:
    register("a", pin=True)
    register("b", pin=True)
    assert update(client, "a", pin=False).text == "Adapter a updated"
    assert engine.pinned == ["b"]
    assert engine.texts == ["a", "b"]
    assert client.get("/adapters/a").json()["pin"] is False
    client.delete("/adapters/a")
    assert register("c", pin=True) == 200


def test_unregistering_pinned_adapter_frees_a_slot(
    engine: AdapterEngine, client: TestClient, register: Register
) -> None:
    register("a", pin=True)
    register("b", pin=True)
    client.delete("/adapters/a")
    assert register("c", pin=True) == 200
    assert engine.pinned == ["b", "c"]


def test_registering_again_with_pin_pins(
    engine: AdapterEngine, client: TestClient, register: Register
) -> None:
    assert [register("a"), register("a", pin=True)] == [200, 200]
    assert client.get("/adapters/a").json()["pin"] is True
    assert engine.pinned == ["a"]


def test_failed_pin_changes_nothing(
    engine: AdapterEngine, client: TestClient, register: Register
) -> None:
    for name in "abc":
        register(name)
    answer = update(client, "b", pin=True)
    assert answer.status_code == 507
    assert "2 slot(s)" in answer.json()["detail"]
    assert client.get("/adapters/b").json()["pin"] is False
    assert engine.pinned == []


def test_pinning_loads_adapter(
    engine: AdapterEngine, client: TestClient, register: Register
) -> None:
    register("a", preload=False)
    assert update(client, "a", pin=True).status_code == 200
    assert engine.pinned == ["a"]
    assert client.get("/adapters/a").json()["preload"] is False


@pytest.mark.parametrize(("preload", "loaded"), [(True, ["a"]), (False, [])])
def test_preload_can_be_changed(
    engine: AdapterEngine,
    client: TestClient,
    register: Register,
    preload: bool,
    loaded: list[str],
) -> None:
    register("a", preload=False)
    assert update(client, "a", preload=preload).status_code == 200
    assert client.get("/adapters/a").json()["preload"] is preload
    assert engine.texts == loaded


def test_update_accepts_query_parameters(
    client: TestClient, register: Register
) -> None:
    register("a")
    query = {"pin": "1", "preload": "off"}
    assert client.post("/adapters/a/update", params=query).status_code == 200
    found = client.get("/adapters/a").json()
    assert (found["pin"], found["preload"]) == (True, False)


@pytest.mark.parametrize(
    "fields", [{}, {"name": "b"}, {"pin": None}, {"pin": 1}, {"preload": "maybe"}]
)
def test_empty_or_mistyped_update_is_a_400(
    client: TestClient, register: Register, fields: dict[str, Any]
) -> None:
    register("a")
    before = client.get("/adapters/a").json()
    assert update(client, "a", **fields).status_code == 400
    assert client.get("/adapters/a").json() == before


def test_update_of_unknown_adapter_is_a_404(client: TestClient) -> None:
    assert update(client, "a", pin=True).status_code == 404
    assert update(client, "a", preload=False).status_code == 404


def test_pinned_adapter_can_be_replaced_if_a_slot_is_free(
    engine: AdapterEngine, register: Register
) -> None:
    register("a", pin=True)
    assert register("a", "new", pin=True, load_inplace=True) == 200
    assert engine.pinned == engine.texts == ["new"]


# --- failed adapters ----------------------------------------------------------------


def test_failed_adapter_needs_no_slot(client: TestClient, register: Register) -> None:
    fail(client, register, "broken")
    assert [register(name, pin=True) for name in "ab"] == [200, 200]


@pytest.mark.parametrize("fields", [{"preload": True}, {"pin": True}])
def test_reloading_failed_adapter_needs_a_slot(
    engine: AdapterEngine,
    client: TestClient,
    register: Register,
    tmp_path: Path,
    fields: dict[str, Any],
) -> None:
    fail(client, register, "broken")
    for name in "ab":
        register(name, pin=True)
    write_adapter(tmp_path / "broken", "mended")
    assert update(client, "broken", **fields).status_code == 507
    assert client.get("/adapters/broken").json()["status"] == "failed"
    assert engine.texts == ["a", "b"]


@pytest.mark.parametrize("fields", [{"preload": True}, {"pin": True}])
def test_repaired_adapter_is_reloaded_by_update(
    client: TestClient, register: Register, tmp_path: Path, fields: dict[str, Any]
) -> None:
    fail(client, register, "a")
    write_adapter(tmp_path / "a", "mended")
    assert update(client, "a", **fields).status_code == 200
    assert client.get("/adapters/a").json()["status"] == "loaded"
    asked = client.post("/invocations", json={}, headers={ADAPTER: "a"})
    assert asked.json()["text"] == "mended"


def test_reloaded_adapter_gets_a_new_id(
    engine: AdapterEngine, client: TestClient, register: Register, tmp_path: Path
) -> None:
    """The engine may still treat the old id as loaded."""
    assert engine.adapters is not None
    fail(client, register, "a")
    number = engine.adapters.view()["a"].id
    write_adapter(tmp_path / "a", "mended")
    assert update(client, "a", preload=False).status_code == 200
    found = engine.adapters.view()["a"]
    assert found.id > number
    assert not found.preload


def test_adapter_that_fails_again_reports_new_reason(
    client: TestClient, register: Register, tmp_path: Path
) -> None:
    fail(client, register, "a")
    write_adapter(tmp_path / "a", f"{BROKEN} in another way")
    assert update(client, "a", preload=True).status_code == 400
    found = client.get("/adapters/a").json()
    assert found["status"] == "failed"
    assert "in another way" in found["reason"]


@pytest.mark.parametrize("fields", [{"pin": True}, {"preload": True}])
def test_failed_pinned_adapter_is_reloaded_pinned(
    engine: AdapterEngine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fields: dict[str, Any],
) -> None:
    src = write_adapter(tmp_path / "a", "a")
    with TestClient(app_of(engine, monkeypatch)) as client:
        client.post("/adapters", json={"name": "a", "src": src, "pin": True})
    engine.start_anew()
    write_adapter(tmp_path / "a", BROKEN)
    with TestClient(app_of(engine, monkeypatch)) as client:
        assert client.get("/adapters/a").json()["status"] == "failed"
        write_adapter(tmp_path / "a", "mended")
        assert update(client, "a", **fields).status_code == 200
        found = client.get("/adapters/a").json()
        assert (found["status"], found["pin"]) == ("loaded", True)
        assert engine.pinned == ["mended"]


def test_unpinning_adapter_without_files_keeps_table_consistent(
    engine: AdapterEngine, client: TestClient, register: Register, tmp_path: Path
) -> None:
    register("a", pin=True)
    shutil.rmtree(tmp_path / "a")
    update(client, "a", pin=False)
    found = client.get("/adapters/a").json()
    assert found["pin"] is (engine.pinned == ["a"])
    assert (found["status"] == "loaded") is (engine.texts == ["a"])


def test_every_adapter_needs_a_slot_once_one_is_pinned(
    engine: AdapterEngine, client: TestClient, register: Register
) -> None:
    """An engine runs at most as many adapters at once as it has slots."""
    assert [register("a", pin=True), register("b"), register("c")] == [200, 200, 507]
    assert client.delete("/adapters/b").status_code == 200
    assert register("c") == 200
    assert engine.pinned == ["a"]


def test_pin_rejected_by_engine_leaves_adapter_unchanged(
    engine: AdapterEngine,
    client: TestClient,
    register: Register,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(adapter: Adapter) -> None:
        raise AdapterCapacityError("no pins here")

    monkeypatch.setattr(engine, "pin", refuse)
    register("a", preload=False)
    assert update(client, "a", pin=True).status_code == 507
    found = client.get("/adapters/a").json()
    assert (found["status"], found["pin"]) == ("loaded", False)
    assert client.post("/invocations", json={"model": "a"}).json()["text"] == "a"
    assert register("b", pin=True) == 507
    assert engine.texts == ["a"]
