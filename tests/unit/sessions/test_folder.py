"""The folder of sessions: its files, errors at startup, and cleaning up."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from invocations_app import client_of, echo
from model_hosting_container_standards.exceptions import ConfigurationError
from model_hosting_container_standards.sessions.manager import (
    SessionManager,
    init_session_manager_from_env,
)
from model_hosting_container_standards.sessions.store import SessionFile
from model_hosting_container_standards.storage import folder as folders
from session_client import Clock, ask, begin, close, count, database


@pytest.fixture(autouse=True)
def sessions_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of SAGEMAKER_SESSIONS_PATH."""
    return tmp_path / "sessions"


@pytest.fixture
def sessions(folder: Path) -> Iterator[SessionManager]:
    sessions = SessionManager(SessionFile.in_folder(folder), 100)
    yield sessions
    sessions.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# --- files ----------------------------------------------------------------------------


def everything(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_other_files_in_folder_are_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "550e8400-e29b-41d4-a716-446655440000").mkdir(parents=True)
    (folder / "550e8400-e29b-41d4-a716-446655440000" / ".expiration").write_text("0.0")
    (folder / "old").mkdir()
    (folder / "sessions.sqlite3").write_bytes(b"\0\xffforeign")
    (folder / ".hidden").touch()
    (folder / "link").symlink_to(folder / "old")
    before = everything(folder)
    clock, client = Clock(monkeypatch), client_of(echo)
    for _ in range(20):
        ask(client, begin(client))
        close(client, begin(client))
        clock.now += 10_000
    for name in before:
        close(client, name.split("/")[0])
    after = everything(folder)
    of_ours = [name for name in after if name.startswith("mhcs-")]
    ours = {name: after.pop(name) for name in of_ours}
    assert after == before
    assert (folder / "link").is_symlink()
    assert str(database(folder).relative_to(folder)) in ours


def test_files_are_private_to_user(sessions: SessionManager, folder: Path) -> None:
    sessions.create_session().put("key", "secret")
    for path in (database(folder).parent, database(folder)):
        assert path.stat().st_mode & 0o077 == 0


def test_default_folder_is_in_shared_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAGEMAKER_SESSIONS_PATH", "")
    monkeypatch.setattr(folders, "SHARED_MEMORY", tmp_path / "shm")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    client_of(echo)
    assert database(tmp_path / "tmp" / "sagemaker_sessions").exists()
    (tmp_path / "shm").mkdir()
    client_of(echo)
    assert database(tmp_path / "shm" / "sagemaker_sessions").exists()


def test_shared_memory_is_dev_shm() -> None:
    assert folders.default_parent("x") == Path("/dev/shm/x")


def test_relative_path_survives_change_of_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAGEMAKER_SESSIONS_PATH", "here")
    monkeypatch.chdir(tmp_path)
    client = client_of(echo)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    begin(client)
    assert count(tmp_path / "here") == 1


# --- errors at startup ----------------------------------------------------------------


def _text_file(file: Path) -> None:
    file.write_bytes(b"This is not a database, but a text." * 100)


def _foreign_table(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE foreign_table (x)")
        connection.commit()


def _folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("write", [_text_file, _foreign_table, _folder])
def test_foreign_file_stops_startup(
    folder: Path, write: Callable[[Path], None]
) -> None:
    database(folder).parent.mkdir(parents=True, mode=0o700)
    write(database(folder))
    before = everything(folder)
    with pytest.raises(ConfigurationError, match=f"SAGEMAKER_SESSIONS_PATH='{folder}'"):
        client_of(echo)
    after = everything(folder)
    assert {name: after[name] for name in before} == before


def test_damaged_database_stops_startup(folder: Path) -> None:
    SessionManager(SessionFile.in_folder(folder), 100).check()
    whole = database(folder).read_bytes()
    database(folder).write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(ConfigurationError, match=f"SAGEMAKER_SESSIONS_PATH='{folder}'"):
        client_of(echo)


@pytest.mark.parametrize("is_parent", [True, False])
def test_file_in_place_of_folder_stops_startup(folder: Path, is_parent: bool) -> None:
    file = folder if is_parent else database(folder).parent
    file.parent.mkdir(exist_ok=True)
    file.write_text("foreign")
    with pytest.raises(ConfigurationError, match="SAGEMAKER_SESSIONS_PATH"):
        client_of(echo)
    assert file.read_text() == "foreign"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder_stops_startup(folder: Path) -> None:
    folder.mkdir(mode=0o500)
    with pytest.raises(ConfigurationError, match="SAGEMAKER_SESSIONS_PATH"):
        client_of(echo)


def test_world_writable_folder_stops_startup(folder: Path) -> None:
    database(folder).parent.mkdir(parents=True)
    database(folder).parent.chmod(0o777)
    with pytest.raises(ConfigurationError, match="SAGEMAKER_SESSIONS_PATH"):
        client_of(echo)


def test_storage_failure_is_a_507(folder: Path) -> None:
    """The folder is deleted while the server runs, before the file is opened."""
    client = client_of(echo)
    for path in [*database(folder).parent.iterdir()]:
        path.unlink()
    database(folder).parent.rmdir()
    answer = client.post("/invocations", json={"requestType": "NEW_SESSION"})
    assert answer.status_code == 507
    assert ask(client, "abc").status_code == 507


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "1e9", "9" * 30])
def test_bad_expiration_is_an_error_only_with_sessions_on(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SAGEMAKER_SESSIONS_EXPIRATION", value)
    with pytest.raises(ConfigurationError, match="SAGEMAKER_SESSIONS_EXPIRATION"):
        client_of(echo)
    with pytest.raises(ConfigurationError, match="SAGEMAKER_SESSIONS_EXPIRATION"):
        init_session_manager_from_env()
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "false")
    assert client_of(echo).post("/invocations", json={}).status_code == 200
    assert init_session_manager_from_env() is None


# --- removal of expired rows ----------------------------------------------------------


def rows(folder: Path) -> int:
    return count(folder) + count(folder, "session_values")


@pytest.mark.parametrize("values", [0, 1, 7, 8, 9, 100])
def test_each_write_removes_a_few_expired_rows(
    clock: Clock, sessions: SessionManager, folder: Path, values: int
) -> None:
    for _ in range(5):
        old = sessions.create_session()
        for number in range(values):
            old.put(str(number), 0)
    clock.now += 1000
    before = rows(folder)
    live = sessions.create_session()
    live.put("key", 0)
    turn, left = 0, rows(folder)
    assert 1 <= before + 2 - left <= 40
    while left > 2:
        turn += 1
        live.put("key", turn)
        before, left = left, rows(folder)
        assert 1 <= before - left <= 20
    assert live.get("key") == turn
    assert (count(folder), count(folder, "session_values")) == (1, 1)


def test_table_size_is_bounded_by_live_sessions(
    clock: Clock, sessions: SessionManager, folder: Path
) -> None:
    most = 0
    for _ in range(300):
        session = sessions.create_session()
        for key in "abc":
            session.put(key, 0)
        clock.now += 10  # Eleven sessions are live at a time.
        most = max(most, rows(folder))
    assert most <= 11 * 4 + 20


def test_creating_and_closing_remove_expired_rows(
    clock: Clock, sessions: SessionManager, folder: Path
) -> None:
    for _ in range(40):
        sessions.create_session()
    clock.now += 1000
    before = count(folder)
    for turn in range(1, 4):
        sessions.create_session().remove()
        assert before - 40 * turn <= count(folder) < before - turn
