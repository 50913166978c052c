"""Adapters of a server with two processes, one of which may be killed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapter_engine import AdapterEngine, write_adapter
from adapter_process import AdapterProcess, AdapterServer, Died
from model_hosting_container_standards.storage import container_id
from model_hosting_container_standards.storage.change_counter import ChangeCounter
from servers import polling


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AdapterServer]:
    with AdapterServer(tmp_path, slots=3) as server:
        yield server


@pytest.fixture
def engine(server: AdapterServer) -> AdapterEngine:
    return server.engine


@pytest.fixture
def first(server: AdapterServer) -> AdapterProcess:
    return server.start()


@pytest.fixture
def second(first: AdapterProcess, server: AdapterServer) -> AdapterProcess:
    """A second process, which has joined the first one."""
    first.ask("registered")
    process = server.start()
    process.ask("registered")
    return process


@pytest.fixture
def src(tmp_path: Path) -> str:
    return write_adapter(tmp_path / "one", "one")


@pytest.fixture
def other(tmp_path: Path) -> str:
    return write_adapter(tmp_path / "other", "other")


def names(process: AdapterProcess) -> list[str]:
    return [adapter.name for adapter in process.ask("registered")]


def wait_until_only(engine: AdapterEngine, *texts: str) -> None:
    """Wait until only these are loaded; old ones are unloaded in the background."""
    for _ in polling(10):
        if engine.texts == sorted(texts):
            return
    raise AssertionError(f"The engine has {engine.texts}, not {texts}.")


def wait_until_only_row(process: AdapterProcess, path: str) -> None:
    """Wait until the table has one row; rows are removed after unloading."""
    for _ in polling(10):
        paths = [adapter.path for adapter in process.ask("rows")]
        if paths == [path]:
            return
    raise AssertionError(f"The table has {paths}.")


def test_processes_see_each_others_changes(
    first: AdapterProcess, second: AdapterProcess, src: str, other: str
) -> None:
    first.ask("register", name="a", src=src)
    assert second.ask("text", name="a") == "one"
    second.ask("register", name="a", src=other, replace=True)
    assert first.ask("text", name="a") == "other"
    first.ask("unregister", name="a")
    assert second.status("text", name="a") == 404


def test_concurrent_registrations_of_one_name_load_once(
    engine: AdapterEngine, first: AdapterProcess, second: AdapterProcess, src: str
) -> None:
    for process in (first, second):
        process.tell("register", name="a", src=src)
    assert [first.answered_status(), second.answered_status()] == [200, 200]
    assert engine.calls == ["load a"]


def test_unload_waits_for_other_process(
    engine: AdapterEngine, first: AdapterProcess, second: AdapterProcess, src: str
) -> None:
    first.ask("register", name="a", src=src)
    second.ask("lease", name="a", token="t")
    first.ask("unregister", name="a")
    assert names(second) == []
    assert second.ask("leased_text", token="t") == "one"
    assert engine.texts == ["one"]
    second.ask("release", token="t")
    wait_until_only(engine)
    assert engine.violations == []


def test_killed_process_releases_its_leases(
    engine: AdapterEngine, first: AdapterProcess, second: AdapterProcess, src: str
) -> None:
    first.ask("register", name="a", src=src)
    second.ask("lease", name="a", token="t")
    first.ask("unregister", name="a")
    second.kill()
    wait_until_only(engine)


@pytest.mark.parametrize("moment", ["load before", "load after"])
def test_process_killed_while_loading_leaves_nothing(
    engine: AdapterEngine,
    first: AdapterProcess,
    second: AdapterProcess,
    src: str,
    moment: str,
) -> None:
    engine.set_trap(moment)
    with pytest.raises(Died):
        first.ask("register", name="a", src=src)
    assert names(second) == []
    assert second.status("unregister", name="a") == 404
    wait_until_only(engine)
    assert second.ask("rows") == []


@pytest.mark.parametrize("moment", ["load before", "load after"])
def test_process_killed_while_replacing_leaves_old_adapter(
    engine: AdapterEngine,
    first: AdapterProcess,
    second: AdapterProcess,
    src: str,
    other: str,
    moment: str,
) -> None:
    first.ask("register", name="a", src=src)
    engine.set_trap(moment)
    with pytest.raises(Died):
        first.ask("register", name="a", src=other, replace=True)
    assert second.ask("text", name="a") == "one"
    second.ask("register", name="a", src=other, replace=True)
    wait_until_only(engine, "other")


@pytest.mark.parametrize("moment", ["unload before", "unload after"])
def test_process_killed_while_unloading_leaves_nothing(
    engine: AdapterEngine,
    first: AdapterProcess,
    second: AdapterProcess,
    src: str,
    other: str,
    moment: str,
) -> None:
    first.ask("register", name="a", src=src)
    engine.set_trap(moment)
    with contextlib.suppress(Died):  # It may respond before the unload.
        first.ask("unregister", name="a")
    first.wait_until_dead()
    assert second.status("text", name="a") == 404
    second.ask("register", name="a", src=other)
    wait_until_only(engine, "other")
    wait_until_only_row(second, other)


def test_request_outlives_process_that_unregistered_its_adapter(
    engine: AdapterEngine,
    first: AdapterProcess,
    second: AdapterProcess,
    src: str,
    other: str,
) -> None:
    first.ask("register", name="a", src=src)
    second.ask("lease", name="a", token="t")
    first.ask("unregister", name="a")
    first.kill()
    second.ask("register", name="a", src=other)
    assert second.ask("leased_text", token="t") == "one"
    second.ask("release", token="t")
    second.ask("unregister", name="a")
    second.ask("register", name="a", src=other)
    wait_until_only(engine, "other")
    assert engine.violations == []


@pytest.mark.parametrize("moment", ["load before", "pin before", "pin after"])
def test_pinning_again_repairs_process_killed_while_pinning(
    engine: AdapterEngine,
    first: AdapterProcess,
    second: AdapterProcess,
    src: str,
    moment: str,
) -> None:
    first.ask("register", name="a", src=src)
    engine.set_trap(moment)
    with pytest.raises(Died):
        first.ask("update", name="a", pin=True)
    second.ask("update", name="a", pin=True)
    assert [adapter.pin for adapter in second.ask("registered")] == [True]
    assert engine.pinned == ["one"]


@pytest.mark.parametrize("moment", ["unpin before", "unpin after"])
def test_unpinning_again_repairs_process_killed_while_unpinning(
    engine: AdapterEngine,
    first: AdapterProcess,
    second: AdapterProcess,
    src: str,
    moment: str,
) -> None:
    first.ask("register", name="a", src=src, pin=True)
    engine.set_trap(moment)
    with pytest.raises(Died):
        first.ask("update", name="a", pin=False)
    second.ask("update", name="a", pin=False)
    assert [adapter.pin for adapter in second.ask("registered")] == [False]
    assert engine.pinned == []
    assert second.ask("text", name="a") == "one"


def test_process_killed_while_publishing_change_blocks_no_request(
    first: AdapterProcess, second: AdapterProcess, src: str, tmp_path: Path
) -> None:
    second.ask("register", name="a", src=src)
    # The state that it leaves if it is killed between a commit and its publication.
    folder = tmp_path / "state" / f"engine-{container_id()}"
    counter = ChangeCounter(folder / "adapters.changes")
    counter.begin()
    counter.close()
    first.kill()
    assert second.ask("text", name="a") == "one"
    second.ask("register", name="b", src=src)
    assert names(second) == ["a", "b"]


def test_killed_server_restores_all_adapters(
    server: AdapterServer,
    engine: AdapterEngine,
    first: AdapterProcess,
    second: AdapterProcess,
    src: str,
    other: str,
) -> None:
    first.ask("register", name="a", src=src, pin=True)
    second.ask("register", name="b", src=other, preload=False)
    engine.set_trap("load before")
    with pytest.raises(Died):
        first.ask("register", name="c", src=src)
    second.ask("lease", name="a", token="t")
    second.kill()
    engine.start_anew()
    starting = [server.start(), server.start()]
    for process in starting:
        assert names(process) == ["a", "b"]
    assert engine.calls == ["load a", "pin a"]
    assert (engine.texts, engine.pinned) == (["one"], ["one"])
    assert starting[1].ask("text", name="b") == "other"


def test_server_killed_during_startup_starts_again(
    server: AdapterServer, engine: AdapterEngine, first: AdapterProcess, src: str
) -> None:
    first.ask("register", name="a", src=src)
    first.kill()
    engine.start_anew()
    engine.set_trap("load before")
    dying = server.start()
    with pytest.raises(Died):
        dying.ask("registered")
    assert names(server.start()) == ["a"]
    assert engine.texts == ["one"]
