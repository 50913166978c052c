"""Registered adapters survive a restart of the server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from adapter_engine import (
    BROKEN,
    CONFIG,
    CRASHING,
    DEADLY,
    AdapterEngine,
    app_of,
    write_adapter,
)
from invocations_app import ADAPTER
from model_hosting_container_standards.exceptions import (
    AdapterCrashError,
    AdapterEngineError,
    ConfigurationError,
)
from model_hosting_container_standards.storage import folder

PATH = "SAGEMAKER_ADAPTERS_PATH"
Serve = Callable[..., TestClient]


@pytest.fixture
def engine(tmp_path: Path) -> AdapterEngine:
    return AdapterEngine(tmp_path / "engine", slots=2)


@pytest.fixture
def serve(engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Return a function that starts a server whose engine has nothing loaded."""

    def start(other: AdapterEngine | None = None) -> TestClient:
        engine.start_anew()
        return TestClient(app_of(other or engine, monkeypatch))

    return start


def register(client: TestClient, folder: Path, **more: Any) -> None:
    """Register the adapter of a folder; its name and text are the folder's name."""
    body = {"name": folder.name, "src": write_adapter(folder, folder.name), **more}
    assert client.post("/adapters", json=body).status_code == 200


def statuses(client: TestClient) -> dict[str, str]:
    shown = client.get("/adapters").json()["adapters"]
    return {adapter["name"]: adapter["status"] for adapter in shown}


def test_adapter_that_kills_engine_is_failed_at_third_start(
    engine: AdapterEngine, serve: Serve, tmp_path: Path
) -> None:
    with serve() as client:
        register(client, tmp_path / "good")
        register(client, tmp_path / "turned")
    write_adapter(tmp_path / "turned", DEADLY)
    for _ in range(2):
        with pytest.raises(AdapterEngineError), serve():
            """Startup fails."""
    with serve() as client:
        assert statuses(client) == {"good": "loaded", "turned": "failed"}
        assert "ended twice" in client.get("/adapters/turned").json()["reason"]
        write_adapter(tmp_path / "turned", "repaired")
        assert client.post("/adapters/turned/update?preload=true").status_code == 200
        assert statuses(client) == {"good": "loaded", "turned": "loaded"}


def test_adapter_known_to_kill_engine_is_failed_at_second_start(
    engine: AdapterEngine, serve: Serve, tmp_path: Path
) -> None:
    with serve() as client:
        register(client, tmp_path / "good")
        register(client, tmp_path / "turned")
    write_adapter(tmp_path / "turned", CRASHING)
    with pytest.raises(AdapterCrashError), serve():
        """Startup fails."""
    for _ in range(2):
        with serve() as client:
            assert statuses(client) == {"good": "loaded", "turned": "failed"}
            reason = client.get("/adapters/turned").json()["reason"]
            assert "ended while it loaded this adapter" in reason
    write_adapter(tmp_path / "turned", "repaired")
    with serve() as client:
        assert client.post("/adapters/turned/update?preload=true").status_code == 200
        assert statuses(client) == {"good": "loaded", "turned": "loaded"}


def test_adapter_known_to_kill_engine_at_first_use_is_not_used_again(
    serve: Serve, tmp_path: Path
) -> None:
    with serve() as client:
        register(client, tmp_path / "turned", preload=False)
        write_adapter(tmp_path / "turned", CRASHING)
        assert client.post("/invocations", json={"model": "turned"}).status_code == 503
        assert client.post("/invocations", json={"model": "turned"}).status_code == 404
    with serve() as client:
        asked = client.post("/invocations", json={"model": "turned"})
        assert asked.status_code == 404
        assert "ended while it loaded this adapter" in asked.json()["detail"]


def test_registered_adapters_are_restored(serve: Serve, tmp_path: Path) -> None:
    engine = AdapterEngine(tmp_path / "engine", slots=4)
    with serve(engine) as client:
        register(client, tmp_path / "a")
        register(client, tmp_path / "b", preload=False)
        register(client, tmp_path / "c", pin=True)
        register(client, tmp_path / "deleted")
        client.delete("/adapters/deleted")
        client.post("/adapters/b/update", json={"pin": False})
        before = client.get("/adapters").json()
    with serve(engine) as client:
        assert client.get("/adapters").json() == before
        assert (engine.texts, engine.pinned) == (["a", "c"], ["c"])
        for name in "abc":
            asked = client.post("/invocations", json={}, headers={ADAPTER: name})
            assert asked.json()["text"] == name


def test_updates_are_restored(
    engine: AdapterEngine, serve: Serve, tmp_path: Path
) -> None:
    with serve() as client:
        register(client, tmp_path / "a")
        register(client, tmp_path / "b", preload=False)
        client.post("/adapters/a/update", json={"preload": False})
        client.post("/adapters/b/update", json={"pin": True})
    with serve():
        assert engine.texts == engine.pinned == ["b"]


def remove(adapter: Path) -> None:
    shutil.rmtree(adapter)


def break_weights(adapter: Path) -> None:
    write_adapter(adapter, BROKEN)


def raise_rank(adapter: Path) -> None:
    (adapter / CONFIG).write_text(json.dumps({"r": 65}))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove, "does not exist"),
        (break_weights, "are broken"),
        (raise_rank, "rank 65"),
    ],
)
@pytest.mark.parametrize("pin", [True, False])
def test_unloadable_adapters_are_listed_with_reason(
    serve: Serve,
    tmp_path: Path,
    damage: Callable[[Path], None],
    reason: str,
    pin: bool,
) -> None:
    with serve() as client:
        register(client, tmp_path / "a")
        register(client, tmp_path / "bad", pin=pin)
    damage(tmp_path / "bad")
    with serve() as client:
        assert statuses(client) == {"a": "loaded", "bad": "failed"}
        assert reason in client.get("/adapters/bad").json()["reason"]
        asked = client.post("/invocations", json={}, headers={ADAPTER: "bad"})
        assert asked.status_code == 404
        assert reason in asked.json()["detail"]
    write_adapter(tmp_path / "bad", "bad")
    with serve() as client:
        assert statuses(client) == {"a": "loaded", "bad": "loaded"}
        assert "reason" not in client.get("/adapters/bad").json()


def test_adapter_outside_new_root_fails(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    with serve() as client:
        register(client, root / "in", preload=False)
        register(client, tmp_path / "out", preload=False)
    monkeypatch.setenv("SAGEMAKER_ADAPTERS_ROOT", str(root))
    with serve() as client:
        assert statuses(client) == {"in": "registered", "out": "failed"}
        assert "ADAPTERS_ROOT" in client.get("/adapters/out").json()["reason"]


def test_engine_with_smaller_cache_loads_newest_adapters(
    engine: AdapterEngine, serve: Serve, tmp_path: Path
) -> None:
    with serve() as client:
        for name in "abc":
            register(client, tmp_path / name)
        register(client, tmp_path / "a", load_inplace=True)
    with serve(AdapterEngine(tmp_path / "engine", kept=2)) as client:
        assert engine.texts == ["a", "c"]
        assert statuses(client)["b"] == "registered"
        asked = client.post("/invocations", json={"model": "b"})
        assert asked.json()["text"] == "b"


def test_engine_with_fewer_slots_keeps_as_many_pins_as_fit(
    engine: AdapterEngine, serve: Serve, tmp_path: Path
) -> None:
    with serve() as client:
        register(client, tmp_path / "a", pin=True)
        register(client, tmp_path / "b", pin=True)
    with serve(AdapterEngine(tmp_path / "engine", slots=1)) as client:
        assert sorted(statuses(client).values()) == ["failed", "loaded"]
        assert len(engine.pinned) == 1


def test_failed_pin_does_not_take_a_slot_from_working_pins(
    engine: AdapterEngine, serve: Serve, tmp_path: Path
) -> None:
    """A failed pin does not count, before or after a restart."""
    with serve() as client:
        register(client, tmp_path / "a", pin=True)
        register(client, tmp_path / "bad", pin=True)
    shutil.rmtree(tmp_path / "bad")
    with serve() as client:
        assert statuses(client) == {"a": "loaded", "bad": "failed"}
        register(client, tmp_path / "b", pin=True)
    for _ in range(2):
        with serve() as client:
            expected = {"a": "loaded", "b": "loaded", "bad": "failed"}
            assert statuses(client) == expected
            assert engine.pinned == ["a", "b"]


@pytest.mark.parametrize("repaired", [True, False])
def test_failed_adapter_is_not_reloaded_into_pinned_slots(
    engine: AdapterEngine, serve: Serve, tmp_path: Path, repaired: bool
) -> None:
    with serve() as client:
        register(client, tmp_path / "bad", preload=False)
        shutil.rmtree(tmp_path / "bad")
        client.post("/invocations", json={"model": "bad"})
        register(client, tmp_path / "a", pin=True)
        register(client, tmp_path / "b", pin=True)
    if repaired:
        write_adapter(tmp_path / "bad", "bad")
    with serve() as client:
        assert engine.texts == engine.pinned == ["a", "b"]
        assert statuses(client) == {"a": "loaded", "b": "loaded", "bad": "failed"}


def test_engine_ids_and_names_are_never_reused(
    engine: AdapterEngine, serve: Serve, tmp_path: Path
) -> None:
    seen: list[tuple[int, str]] = []
    for _ in range(2):
        with serve() as client:
            for name in ("a", "a", "b"):
                register(client, tmp_path / name)
                [(key, entry)] = engine.loaded().items()
                seen.append((key, entry["name"]))
                assert client.delete(f"/adapters/{name}").status_code == 200
    ids, names = zip(*seen, strict=True)
    assert list(ids) == sorted(set(ids))
    assert len(set(names)) == len(names)


def test_names_like_engine_names_do_not_collide(
    engine: AdapterEngine, serve: Serve, tmp_path: Path
) -> None:
    with serve() as client:
        register(client, tmp_path / "a")
        [first] = engine.loaded()
        client.delete("/adapters/a")
        register(client, tmp_path / f"a#{first + 2}")
        register(client, tmp_path / "a")
        names = [entry["name"] for entry in engine.loaded().values()]
        assert len({*names, "a"}) == 3


def test_new_state_folder_starts_empty(
    engine: AdapterEngine,
    serve: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve() as client:
        register(client, tmp_path / "a")
    monkeypatch.setenv(PATH, str(tmp_path / "new"))
    with serve() as client:
        assert statuses(client) == {}
        assert engine.loaded() == {}


def test_servers_with_different_names_share_no_adapters(
    serve: Serve, tmp_path: Path
) -> None:
    second = AdapterEngine(tmp_path / "second")
    second.server_name = "second"
    with serve() as client, serve(second) as other:
        register(client, tmp_path / "a")
        assert statuses(other) == {}
        register(other, tmp_path / "b")
        assert statuses(client) == {"a": "loaded"}


def test_joining_process_sees_adapters_without_reloading(
    engine: AdapterEngine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with TestClient(app_of(engine, monkeypatch)) as first:
        register(first, tmp_path / "a")
        joined = AdapterEngine(tmp_path / "engine")
        with TestClient(app_of(joined, monkeypatch)) as second:
            assert statuses(second) == {"a": "loaded"}
            register(second, tmp_path / "b")
            assert first.post("/invocations", json={"model": "b"}).status_code == 200
    assert engine.calls == ["load a", "load b"]


def test_server_with_dead_engine_does_not_start(serve: Serve, tmp_path: Path) -> None:
    with serve() as client:
        register(client, tmp_path / "a")
    write_adapter(tmp_path / "a", DEADLY)
    with pytest.raises(AdapterEngineError), serve():
        pass
    write_adapter(tmp_path / "a", "a")
    with serve() as client:
        assert statuses(client) == {"a": "loaded"}


# --- servers that cannot have adapters ------------------------------------------------


def test_unusable_configured_state_folder_stops_startup(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(PATH, str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match=str(tmp_path / "file")), serve():
        pass


def test_server_starts_without_default_state_folder(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sagemaker_adapters").touch()
    monkeypatch.delenv(PATH)
    monkeypatch.setattr(folder, "SHARED_MEMORY", tmp_path)
    with serve() as client:
        for answer in (
            client.get("/adapters"),
            client.get("/adapters/a"),
            client.post("/adapters", json={"name": "a", "src": "/a"}),
            client.delete("/adapters/a"),
        ):
            assert answer.status_code == 503
            assert str(tmp_path / "sagemaker_adapters") in answer.json()["detail"]
        assert client.post("/invocations", json={}).status_code == 200


def test_adapter_calls_without_lora_say_how_to_enable_it(
    serve: Serve, tmp_path: Path
) -> None:
    reason = "Start it with --lora."
    with serve(AdapterEngine(tmp_path / "engine", reason=reason)) as client:
        for answer in (
            client.get("/adapters"),
            client.get("/adapters/a"),
            client.post("/adapters", json={"name": "a", "src": "/a"}),
            client.post("/adapters/a/update", json={"pin": True}),
            client.delete("/adapters/a"),
        ):
            assert (answer.status_code, answer.json()["detail"]) == (400, reason)
        asked = client.post("/invocations", json={}, headers={ADAPTER: "base"})
        assert asked.status_code == 200
        # An engine that ignores the name would use its base model.
        asked = client.post("/invocations", json={}, headers={ADAPTER: "a"})
        assert (asked.status_code, asked.json()["detail"]) == (400, reason)


def test_app_can_be_started_twice(
    engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = app_of(engine, monkeypatch)
    for _ in range(2):
        with TestClient(app) as client:
            register(client, tmp_path / "a")
            assert client.get("/adapters/a").status_code == 200
