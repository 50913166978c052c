"""Adapters bundled with the model are registered before the first request."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from adapter_engine import BROKEN, CONFIG, DEADLY, AdapterEngine, app_of, write_adapter
from invocations_app import ADAPTER
from model_hosting_container_standards.adapters.bundled import find_bundled
from model_hosting_container_standards.exceptions import AdapterEngineError

ROOT = "SAGEMAKER_ADAPTERS_ROOT"
Serve = Callable[..., TestClient]


@pytest.fixture
def engine(tmp_path: Path) -> AdapterEngine:
    return AdapterEngine(tmp_path / "engine")


@pytest.fixture
def serve(engine: AdapterEngine, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Return a function that starts a server whose engine has nothing loaded."""

    def start(other: AdapterEngine | None = None) -> TestClient:
        engine.start_anew()
        return TestClient(app_of(other or engine, monkeypatch))

    return start


@pytest.fixture
def bundled(model_folder: Path) -> Path:
    """Create the model's folder of bundled adapters."""
    folder = model_folder / "adapters"
    folder.mkdir()
    return folder


def shown(client: TestClient) -> dict[str, Any]:
    """Return the listed adapters by name."""
    listed = client.get("/adapters").json()["adapters"]
    return {adapter["name"]: adapter for adapter in listed}


def statuses(client: TestClient) -> dict[str, str]:
    return {name: adapter["status"] for name, adapter in shown(client).items()}


def ask(client: TestClient, name: str) -> Any:
    return client.post("/invocations", json={}, headers={ADAPTER: name})


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged errors, except those about routes without a handler."""
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    return [line for line in lines if "No handler answers" not in line]


def test_bundled_adapters_answer_first_request(
    engine: AdapterEngine, serve: Serve, bundled: Path
) -> None:
    src = write_adapter(bundled / "a", "one")
    write_adapter(bundled / "b", "two")
    with serve() as client:
        assert ask(client, "a").json()["text"] == "one"
        assert sorted(engine.calls) == ["load a", "load b"]
        assert shown(client)["a"] == {
            "name": "a",
            "src": src,
            "preload": True,
            "pin": False,
            "status": "loaded",
        }
        # The platform may register a bundled adapter again.
        again = client.post("/adapters", json={"name": "a", "src": src})
        assert again.status_code == 200
        assert len(engine.calls) == 2


def test_unloadable_adapter_is_listed_with_reason(
    serve: Serve, bundled: Path, tmp_path: Path
) -> None:
    write_adapter(bundled / "good", "good")
    write_adapter(bundled / "broken", f"{BROKEN} by a crack")
    write_adapter(bundled / "high", r=1000)
    write_adapter(bundled / "deep" / "checkpoint-10")
    (bundled / "empty").mkdir()
    (bundled / "dangling").symlink_to(tmp_path / "nowhere")
    (bundled / "circle").symlink_to(bundled / "circle")
    with serve() as client:
        found = shown(client)
        assert statuses(client) == {
            "good": "loaded",
            **dict.fromkeys(
                ["broken", "circle", "deep", "empty", "dangling", "high"], "failed"
            ),
        }
        assert "by a crack" in found["broken"]["reason"]
        assert "rank 1000" in found["high"]["reason"]
        assert "checkpoint-10" in found["deep"]["reason"]
        assert CONFIG in found["empty"]["reason"]
        assert "does not exist" in found["dangling"]["reason"]
        assert ask(client, "good").json()["text"] == "good"
        assert ask(client, "high").status_code == 404
        write_adapter(bundled / "high", "repaired")
        assert client.post("/adapters/high/update?preload=true").status_code == 200
        assert ask(client, "high").json()["text"] == "repaired"


def test_operators_changes_survive_restarts(
    engine: AdapterEngine, serve: Serve, bundled: Path, tmp_path: Path
) -> None:
    for name in ("deleted", "replaced", "pinned", "removed"):
        write_adapter(bundled / name, name)
    other = write_adapter(tmp_path / "other", "other")
    with serve() as client:
        assert client.delete("/adapters/deleted").status_code == 200
        body = {"name": "replaced", "src": other, "load_inplace": True}
        assert client.post("/adapters", json=body).status_code == 200
        assert client.post("/adapters/pinned/update?pin=true").status_code == 200
        client.post("/adapters", json={"name": "new", "src": other})
    shutil.rmtree(bundled / "removed")
    for name in ("new", "later"):
        write_adapter(bundled / name, name)
    for _ in range(2):
        with serve() as client:
            assert statuses(client) == {
                "later": "loaded",
                "new": "loaded",
                "pinned": "loaded",
                "removed": "failed",
                "replaced": "loaded",
            }
            assert engine.texts == ["later", "other", "other", "pinned"]
            assert engine.pinned == ["pinned"]


def test_name_already_registered_from_another_folder_is_logged(
    serve: Serve,
    bundled: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGEMAKER_CONTAINER_LOG_LEVEL", "WARNING")
    other = write_adapter(tmp_path / "other", "other")
    with serve() as client:
        client.post("/adapters", json={"name": "a", "src": other})
    src = write_adapter(bundled / "a", "the model's own")
    write_adapter(bundled / "b")
    with serve() as client:
        assert ask(client, "a").json()["text"] == "other"
    [warning] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert repr(src) in warning
    assert repr(other) in warning


def test_new_container_registers_all_bundled_adapters(
    serve: Serve, bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_adapter(bundled / "a")
    with serve() as client:
        client.delete("/adapters/a")
    monkeypatch.setenv("SAGEMAKER_ADAPTERS_PATH", str(tmp_path / "another container"))
    with serve() as client:
        assert statuses(client) == {"a": "loaded"}


def test_other_files_and_folders_are_ignored(serve: Serve, bundled: Path) -> None:
    for name in (".git", "__pycache__", "__MACOSX"):
        write_adapter(bundled / name)
    for name in ("README.md", ".DS_Store", "archive.tar.gz"):
        (bundled / name).touch()
    with serve() as client:
        assert statuses(client) == {}


def test_archive_is_reported_as_not_unpacked(
    serve: Serve, bundled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (bundled / "a.tar.gz").touch()
    with serve():
        [line] = errors(caplog)
        assert "a.tar.gz" in line
        assert "Unpack it" in line


@pytest.mark.parametrize("name", ["line\nbreak", "base", "own", b"\xff"])
def test_invalid_name_is_logged(
    tmp_path: Path,
    serve: Serve,
    bundled: Path,
    caplog: pytest.LogCaptureFixture,
    name: str | bytes,
) -> None:
    decoded = name.decode(errors="surrogateescape") if isinstance(name, bytes) else name
    write_adapter(bundled / decoded)
    write_adapter(bundled / "good")
    with serve(AdapterEngine(tmp_path / "engine", own_adapters=["own"])) as client:
        assert statuses(client) == {"good": "loaded"}
    [line] = errors(caplog)
    assert "is not registered" in line


def test_symlinked_adapter_is_loaded(
    serve: Serve, bundled: Path, tmp_path: Path
) -> None:
    src = write_adapter(tmp_path / "elsewhere", "linked")
    (bundled / "a").symlink_to(src)
    with serve() as client:
        assert ask(client, "a").json()["text"] == "linked"
        for path in (src, str(bundled / "a")):
            body = {"name": "a", "src": path}
            assert client.post("/adapters", json=body).status_code == 200


def test_adapters_root_applies_to_bundled_adapters(
    engine: AdapterEngine,
    serve: Serve,
    bundled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "root"
    write_adapter(bundled / "out")
    (bundled / "in").symlink_to(write_adapter(root / "in", "in"))
    monkeypatch.setenv(ROOT, str(root))
    with serve() as client:
        assert statuses(client) == {"in": "loaded", "out": "failed"}
        assert ROOT in shown(client)["out"]["reason"]
        assert engine.calls == ["load in"]


def test_only_as_many_as_fit_the_cache_are_preloaded(
    engine: AdapterEngine, serve: Serve, bundled: Path, tmp_path: Path
) -> None:
    for name in "abc":
        write_adapter(bundled / name, name)
    with serve(AdapterEngine(tmp_path / "engine", kept=2)) as client:
        expected = {"a": "loaded", "b": "loaded", "c": "registered"}
        assert statuses(client) == expected
        assert engine.texts == ["a", "b"]
        assert ask(client, "c").json()["text"] == "c"


def test_second_process_of_server_registers_no_bundled_adapters(
    engine: AdapterEngine,
    bundled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_adapter(bundled / "a", "a")
    with TestClient(app_of(engine, monkeypatch)) as first:
        first.delete("/adapters/a")
        write_adapter(bundled / "b", "b")
        joined = AdapterEngine(tmp_path / "engine")
        with TestClient(app_of(joined, monkeypatch)) as second:
            assert statuses(first) == statuses(second) == {}
    assert engine.calls == ["load a", "unload a"]


def test_adapter_that_kills_engine_fails_after_two_starts(
    serve: Serve, bundled: Path
) -> None:
    write_adapter(bundled / "deadly", DEADLY)
    write_adapter(bundled / "good", "good")
    for _ in range(2):
        with pytest.raises(AdapterEngineError), serve():
            """Startup fails."""
    with serve() as client:
        assert statuses(client) == {"deadly": "failed", "good": "loaded"}


def test_server_without_lora_starts_and_logs_what_is_missing(
    serve: Serve, bundled: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "ab":
        write_adapter(bundled / name)
    (bundled / "c.zip").touch()
    without = AdapterEngine(tmp_path / "engine", reason="Start it with --lora.")
    with serve(without) as client:
        assert client.post("/invocations", json={}).status_code == 200
    [line] = errors(caplog)
    assert "a, b, c.zip" in line
    assert "--lora" in line


def test_nothing_is_logged_without_bundled_adapters(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(AdapterEngine(tmp_path / "engine", reason="Start it with --lora.")):
        assert errors(caplog) == []


# --- without adapters -----------------------------------------------------------------


def test_adapter_files_directly_in_adapters_folder_are_logged(
    bundled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_adapter(bundled)
    assert find_bundled(bundled) == ()
    [line] = errors(caplog)
    assert f"{bundled}/NAME" in line


def test_unreadable_adapters_folder_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert find_bundled(tmp_path / "missing") == ()
    (tmp_path / "file").touch()
    assert find_bundled(tmp_path / "file") == ()
    assert errors(caplog) == []
    assert find_bundled(tmp_path / ("x" * 300)) == ()
    assert len(errors(caplog)) == 1
