"""POST /adapters: checks of the adapter's source folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from adapter_engine import (
    BROKEN,
    CONFIG,
    DEADLY,
    WEIGHTS,
    AdapterEngine,
    app_of,
    write_adapter,
)
from invocations_app import ADAPTER

ROOT = "SAGEMAKER_ADAPTERS_ROOT"


@pytest.fixture
def engine(tmp_path: Path) -> AdapterEngine:
    return AdapterEngine(tmp_path / "engine", max_rank=16)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The adapters root; requested before ``client``."""
    folder = tmp_path / "root"
    folder.mkdir()
    monkeypatch.setenv(ROOT, str(folder))
    return folder


def refusal(client: TestClient, src: Any, **more: Any) -> tuple[int, str]:
    """Return status and reason of a failed registration without side effects."""
    content = json.dumps({"name": "a", "src": src, **more})
    answer = client.post("/adapters", content=content)
    assert client.get("/adapters").json()["adapters"] == []
    return answer.status_code, answer.json()["detail"]


def test_missing_folder_is_a_404(
    engine: AdapterEngine, client: TestClient, tmp_path: Path
) -> None:
    status, reason = refusal(client, str(tmp_path / "missing"))
    assert status == 404
    assert str(tmp_path / "missing") in reason
    assert engine.calls == []


@pytest.mark.parametrize("preload", [True, False])
def test_file_is_rejected(client: TestClient, tmp_path: Path, preload: bool) -> None:
    (tmp_path / "file").touch()
    status, reason = refusal(client, str(tmp_path / "file"), preload=preload)
    assert status == 400
    assert "an adapter is a folder" in reason


def test_folder_below_a_file_is_a_404(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refusal(client, str(tmp_path / "file" / "a"))[0] in (400, 404)


@pytest.mark.parametrize("missing", [CONFIG, WEIGHTS])
def test_folder_without_required_files_is_a_400_that_names_them(
    engine: AdapterEngine, client: TestClient, tmp_path: Path, missing: str
) -> None:
    src = write_adapter(tmp_path / "a")
    Path(src, missing).unlink()
    status, reason = refusal(client, src)
    assert status == 400
    assert missing in reason
    assert engine.calls == []


@pytest.mark.parametrize(
    "name",
    ["a.tar.gz", "a.tgz", "a.tar", "a.zip", "a.TAR.GZ", "a.safetensors.gz"],
)
@pytest.mark.parametrize("preload", [True, False])
def test_archive_is_rejected_as_not_unpacked(
    client: TestClient, tmp_path: Path, name: str, preload: bool
) -> None:
    (tmp_path / name).write_bytes(b"packed")
    status, reason = refusal(client, str(tmp_path / name), preload=preload)
    assert status == 400
    assert f"Unpack it, and name the folder with {CONFIG}" in reason
    # A folder that contains only the archive is rejected, too.
    (tmp_path / "a").mkdir()
    (tmp_path / name).rename(tmp_path / "a" / name)
    status, reason = refusal(client, str(tmp_path / "a"), preload=preload)
    assert status == 400
    assert f"Unpack {name!r}" in reason


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "adapter_model.safetensors"])
def test_error_for_adapter_file_suggests_its_folder(
    client: TestClient, tmp_path: Path, name: str
) -> None:
    src = write_adapter(tmp_path / "a")
    Path(src, name).touch()
    status, reason = refusal(client, f"{src}/{name}")
    assert status == 400
    assert "Name the folder that contains it." in reason


@pytest.mark.parametrize("inner", ["checkpoint-10", "fr", "a/b", "a/checkpoint-1"])
def test_error_for_parent_folder_suggests_inner_folder(
    client: TestClient, tmp_path: Path, inner: str
) -> None:
    write_adapter(tmp_path / "around" / inner)
    (tmp_path / "around" / "README.md").touch()
    write_adapter(tmp_path / "around" / ".hidden")
    status, reason = refusal(client, str(tmp_path / "around"))
    assert status == 400
    assert f"it has no {CONFIG}, but its folder {inner!r} has one: name that" in reason


def test_error_for_parent_of_several_adapters_lists_them(
    client: TestClient, tmp_path: Path
) -> None:
    for step in (2, 10, 1000):
        write_adapter(tmp_path / "a" / f"checkpoint-{step}")
    status, reason = refusal(client, str(tmp_path / "a"))
    assert status == 400
    names = "'checkpoint-2', 'checkpoint-10', 'checkpoint-1000'"
    assert f"but its folders {names} have one: name one of them" in reason
    for step in range(3, 9):
        write_adapter(tmp_path / "a" / f"checkpoint-{step}")
    assert "'checkpoint-6', ... have" in refusal(client, str(tmp_path / "a"))[1]


def test_suggested_names_may_be_invalid_utf_8(
    client: TestClient, tmp_path: Path
) -> None:
    for name in (b"\xe9", b"\xe8"):
        write_adapter(tmp_path / "a" / os.fsdecode(name))
    status, reason = refusal(client, str(tmp_path / "a"))
    assert status == 400
    assert r"its folders '\udce8', '\udce9' have" in reason


@pytest.mark.parametrize("inner", ["a/b/c/d", "only/of/two"])
def test_suggestions_are_limited_to_likely_folders(
    client: TestClient, tmp_path: Path, inner: str
) -> None:
    write_adapter(tmp_path / "around" / inner)
    if inner == "only/of/two":
        (tmp_path / "around" / "another").mkdir()
    status, reason = refusal(client, str(tmp_path / "around"))
    assert (status, reason.endswith(f"it has no {CONFIG}.")) == (400, True)


def test_whole_model_is_rejected(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "model" / "config.json").touch()
    status, reason = refusal(client, str(tmp_path / "model"))
    assert status == 400
    assert "it is a whole model" in reason


@pytest.mark.parametrize("src", ["s3://bucket/fr.tar.gz", "https://hub/org/fr"])
def test_url_is_rejected(client: TestClient, src: str) -> None:
    status, reason = refusal(client, src)
    assert status == 404
    assert "not a URL" in reason


def test_empty_folder_is_rejected(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert refusal(client, str(tmp_path / "a"))[0] == 400


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"r"',
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        b'{"r": null}',
        b'{"r": "8"}',
        b'{"r": true}',
        b'{"r": 0}',
        b'{"r": -1}',
        b'{"r": 8.0}',
        b'{"r": 8, "rank_pattern": {"q": "9"}}',
        b'{"r": 8, "rank_pattern": {"q": null}}',
        b'{"r": 8, "x": "' + b"x" * (1 << 20) + b'"}',
    ],
)
def test_configuration_without_valid_rank_is_a_400(
    engine: AdapterEngine, client: TestClient, tmp_path: Path, config: bytes
) -> None:
    src = write_adapter(tmp_path / "a")
    Path(src, CONFIG).write_bytes(config)
    status, reason = refusal(client, src)
    assert status == 400
    assert CONFIG in reason
    assert engine.calls == []


@pytest.mark.parametrize(
    "config",
    [{"r": 17}, {"rank_pattern": {"q": 1, "k": 17}}, {"r": 10**30}],
)
def test_rank_above_engines_maximum_is_a_400(
    engine: AdapterEngine, client: TestClient, tmp_path: Path, config: dict[str, Any]
) -> None:
    status, reason = refusal(client, write_adapter(tmp_path / "a", **config))
    assert status == 400
    assert "rank" in reason
    assert engine.calls == []


@pytest.mark.parametrize("config", [{"r": 16}, {"rank_pattern": {"q": 16}}])
def test_engines_maximum_rank_is_accepted(
    client: TestClient, tmp_path: Path, config: dict[str, Any]
) -> None:
    body = {"name": "a", "src": write_adapter(tmp_path / "a", **config)}
    assert client.post("/adapters", json=body).status_code == 200


def test_engine_decides_if_maximum_rank_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = AdapterEngine(tmp_path / "engine", max_rank=None)
    with TestClient(app_of(engine, monkeypatch)) as client:
        body = {"name": "a", "src": write_adapter(tmp_path / "a", r=1000)}
        assert client.post("/adapters", json=body).status_code == 200


@pytest.mark.parametrize("src", [None, "", 7, True, ["/a"], {}, "/a\0b", "\0"])
def test_invalid_path_is_a_400(
    engine: AdapterEngine, client: TestClient, src: Any
) -> None:
    status, reason = refusal(client, src)
    assert status == 400
    assert "src" in reason
    assert engine.calls == []


@pytest.mark.parametrize("src", ["\ud800", "/x" * 5000, "/" + "x" * 300])
def test_impossible_path_is_rejected(client: TestClient, src: str) -> None:
    assert refusal(client, src)[0] in (400, 404)


def test_symlink_loops_are_rejected(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert refusal(client, str(tmp_path / "a"))[0] in (400, 404)


def test_load_failure_is_a_400_with_engines_reason(
    engine: AdapterEngine, client: TestClient, tmp_path: Path
) -> None:
    src = write_adapter(tmp_path / "a", f"{BROKEN} by a crack")
    status, reason = refusal(client, src)
    assert status == 400
    assert "broken by a crack" in reason
    assert engine.loaded() == {}


def test_dead_engine_is_a_503(client: TestClient, tmp_path: Path) -> None:
    assert refusal(client, write_adapter(tmp_path / "a", DEADLY))[0] == 503


def test_rejected_name_stays_free(client: TestClient, tmp_path: Path) -> None:
    refusal(client, write_adapter(tmp_path / "a", BROKEN))
    body = {"name": "a", "src": write_adapter(tmp_path / "b", "whole")}
    assert client.post("/adapters", json=body).status_code == 200
    assert client.post("/invocations", json={"model": "a"}).json()["text"] == "whole"


# --- preload: false ------------------------------------------------------------------


def test_adapter_without_preload_is_loaded_on_first_use(
    engine: AdapterEngine, client: TestClient, tmp_path: Path
) -> None:
    body = {"name": "a", "src": write_adapter(tmp_path / "a", "one"), "preload": False}
    client.post("/adapters", json=body)
    assert client.get("/adapters/a").json()["status"] == "registered"
    assert engine.calls == []
    for _ in range(2):
        asked = client.post("/invocations", json={}, headers={ADAPTER: "a"})
        assert asked.json()["text"] == "one"
    assert client.get("/adapters/a").json()["status"] == "loaded"
    assert engine.calls == ["load a"]


@pytest.mark.parametrize("status", [400, 404])
def test_failure_on_first_use_is_returned_and_recorded(
    engine: AdapterEngine, client: TestClient, tmp_path: Path, status: int
) -> None:
    src = write_adapter(tmp_path / "a", f"{BROKEN} by a crack")
    client.post("/adapters", json={"name": "a", "src": src, "preload": False})
    if status == 404:
        Path(src).rename(tmp_path / "moved")
    reason = "does not exist" if status == 404 else "broken by a crack"
    answer = client.post("/invocations", json={}, headers={ADAPTER: "a"})
    assert answer.status_code == status
    assert reason in answer.json()["detail"]
    shown = client.get("/adapters/a").json()
    assert shown["status"] == "failed"
    assert reason in shown["reason"]
    again = client.post("/invocations", json={}, headers={ADAPTER: "a"})
    assert again.status_code in (400, 404)
    assert reason in again.json()["detail"]
    assert engine.loaded() == {}


def test_failed_adapter_can_be_registered_from_another_folder(
    client: TestClient, tmp_path: Path
) -> None:
    src = write_adapter(tmp_path / "a", BROKEN)
    client.post("/adapters", json={"name": "a", "src": src, "preload": False})
    client.post("/invocations", json={}, headers={ADAPTER: "a"})
    body = {"name": "a", "src": write_adapter(tmp_path / "b", "whole")}
    assert client.post("/adapters", json=body).status_code == 200
    assert client.get("/adapters/a").json()["status"] == "loaded"
    assert "reason" not in client.get("/adapters/a").json()


def test_engine_death_does_not_fail_adapter(client: TestClient, tmp_path: Path) -> None:
    src = write_adapter(tmp_path / "a", DEADLY)
    client.post("/adapters", json={"name": "a", "src": src, "preload": False})
    answer = client.post("/invocations", json={}, headers={ADAPTER: "a"})
    assert answer.status_code == 503
    assert client.get("/adapters/a").json()["status"] == "registered"


def test_evicted_adapter_without_files_is_a_404(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = AdapterEngine(tmp_path / "engine", kept=1)
    with TestClient(app_of(engine, monkeypatch)) as client:
        for name in "ab":
            body = {"name": name, "src": write_adapter(tmp_path / name, name)}
            client.post("/adapters", json=body)
        assert engine.texts == ["b"]
        assert client.post("/invocations", json={"model": "a"}).json()["text"] == "a"
        (tmp_path / "b").rename(tmp_path / "moved")
        asked = client.post("/invocations", json={}, headers={ADAPTER: "b"})
        assert asked.status_code == 404
        assert "files" in asked.json()["detail"]


def test_adapter_evicted_for_unregistered_one_without_files_is_a_404(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = AdapterEngine(tmp_path / "engine", kept=2)
    with TestClient(app_of(engine, monkeypatch)) as client:
        for name in "abc":
            body = {"name": name, "src": write_adapter(tmp_path / name, name)}
            client.post("/adapters", json=body)
        client.delete("/adapters/c")
        (tmp_path / "a" / "adapter_model.bin").unlink()
        asked = client.post("/invocations", json={}, headers={ADAPTER: "a"})
        assert asked.status_code == 404


# --- SAGEMAKER_ADAPTERS_ROOT ----------------------------------------------------------


def test_relative_src_is_resolved_below_root(
    root: Path, engine: AdapterEngine, client: TestClient
) -> None:
    write_adapter(root / "org" / "a", "rooted")
    body = {"name": "a", "src": "org/a"}
    assert client.post("/adapters", json=body).status_code == 200
    assert client.get("/adapters/a").json()["src"] == "org/a"
    assert engine.texts == ["rooted"]
    absolute = {"name": "a", "src": str(root / "org" / "a")}
    assert client.post("/adapters", json=absolute).status_code == 200


@pytest.mark.parametrize("src", ["../a", "x/../../a", "{outside}", "link", "/", ".."])
@pytest.mark.parametrize("preload", [True, False])
def test_src_outside_root_is_rejected(
    root: Path, engine: AdapterEngine, client: TestClient, src: str, preload: bool
) -> None:
    outside = write_adapter(root.parent / "a")
    (root / "link").symlink_to(outside)
    status, reason = refusal(client, src.format(outside=outside), preload=preload)
    assert status == 400
    assert ROOT in reason
    assert engine.calls == []


@pytest.mark.parametrize("exists", [True, False])
def test_errors_do_not_reveal_files_outside_root(
    root: Path, client: TestClient, exists: bool
) -> None:
    if exists:
        write_adapter(root.parent / "secret")
    status, reason = refusal(client, str(root.parent / "secret"))
    assert (status, str(root) in reason) == (400, True)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, "further.json"])
def test_file_linked_from_outside_root_is_rejected(
    root: Path, engine: AdapterEngine, client: TestClient, name: str
) -> None:
    src = write_adapter(root / "a")
    outside = root.parent / "outside"
    outside.write_text('{"r": 8}')
    Path(src, name).unlink(missing_ok=True)
    Path(src, name).symlink_to(outside)
    status, reason = refusal(client, src)
    assert status == 400
    assert ROOT in reason
    assert engine.calls == []


def test_errors_do_not_reveal_link_targets_outside_root(
    root: Path, client: TestClient
) -> None:
    write_adapter(root.parent / "outside" / "secret")
    (root / "a").mkdir()
    (root / "a" / "link").symlink_to(root.parent / "outside")
    status, reason = refusal(client, "a")
    assert (status, "secret" in reason) == (400, False)


def test_links_within_root_are_followed(root: Path, client: TestClient) -> None:
    src = write_adapter(root / "real", "linked")
    (root / "a").symlink_to(src)
    Path(src, WEIGHTS).rename(root / "blob")
    Path(src, WEIGHTS).symlink_to(root / "blob")
    assert client.post("/adapters", json={"name": "a", "src": "a"}).status_code == 200
    assert client.post("/invocations", json={"model": "a"}).json()["text"] == "linked"
