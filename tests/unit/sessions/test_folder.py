"""The folder of sessions: what is in it, what stays out of it, how it stays small."""

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
from model_hosting_container_standards.storage import folder as folders
from session_client import Clock, ask, begin, close, count, database


@pytest.fixture(autouse=True)
def sessions_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGEMAKER_ENABLE_STATEFUL_SESSIONS", "true")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder SAGEMAKER_SESSIONS_PATH names."""
    return tmp_path / "sessions"


@pytest.fixture
def sessions(folder: Path) -> Iterator[SessionManager]:
    sessions = SessionManager(folder, 100)
    yield sessions
    sessions.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# --- what is in it --------------------------------------------------------------------


def everything(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_what_somebody_else_has_there_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "550e8400-e29b-41d4-a716-446655440000").mkdir(parents=True)
    (folder / "550e8400-e29b-41d4-a716-446655440000" / ".expiration").write_text("0.0")
    (folder / "old").mkdir()
    (folder / "sessions.sqlite3").write_bytes(b"\0\xfftheirs")
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


def test_values_are_for_this_user_only(sessions: SessionManager, folder: Path) -> None:
    sessions.create_session().put("key", "secret")
    for path in (database(folder).parent, database(folder)):
        assert path.stat().st_mode & 0o077 == 0


def test_by_default_it_is_in_shared_memory(
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


def test_shared_memory_is_where_linux_has_it() -> None:
    assert folders.default_parent("x") == Path("/dev/shm/x")


def test_a_path_means_the_same_wherever_the_server_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAGEMAKER_SESSIONS_PATH", "here")
    monkeypatch.chdir(tmp_path)
    client = client_of(echo)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    begin(client)
    assert count(tmp_path / "here") == 1


# --- what stops the start -------------------------------------------------------------


def _letter(file: Path) -> None:
    file.write_bytes(b"This is no database, but a letter." * 100)


def _table_of_somebody_else(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()


def _folder(file: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("write", [_letter, _table_of_somebody_else, _folder])
def test_a_file_that_is_none_of_ours_stops_the_start(
    folder: Path, write: Callable[[Path], None]
) -> None:
    database(folder).parent.mkdir(parents=True, mode=0o700)
    write(database(folder))
    before = everything(folder)
    with pytest.raises(ConfigurationError, match=f"SAGEMAKER_SESSIONS_PATH='{folder}'"):
        client_of(echo)
    after = everything(folder)
    assert {name: after[name] for name in before} == before


def test_a_file_of_ours_that_is_broken_stops_the_start(folder: Path) -> None:
    SessionManager(folder, 100).check()
    whole = database(folder).read_bytes()
    database(folder).write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(ConfigurationError, match=f"SAGEMAKER_SESSIONS_PATH='{folder}'"):
        client_of(echo)


@pytest.mark.parametrize("is_parent", [True, False])
def test_a_file_where_the_folder_should_be_stops_the_start(
    folder: Path, is_parent: bool
) -> None:
    file = folder if is_parent else database(folder).parent
    file.parent.mkdir(exist_ok=True)
    file.write_text("theirs")
    with pytest.raises(ConfigurationError, match="SAGEMAKER_SESSIONS_PATH"):
        client_of(echo)
    assert file.read_text() == "theirs"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_stops_the_start(folder: Path) -> None:
    folder.mkdir(mode=0o500)
    with pytest.raises(ConfigurationError, match="SAGEMAKER_SESSIONS_PATH"):
        client_of(echo)


def test_a_folder_that_everybody_may_write_to_stops_the_start(folder: Path) -> None:
    database(folder).parent.mkdir(parents=True)
    database(folder).parent.chmod(0o777)
    with pytest.raises(ConfigurationError, match="SAGEMAKER_SESSIONS_PATH"):
        client_of(echo)


def test_no_room_is_an_answer(folder: Path) -> None:
    """The folder goes away while the server runs: before the file is opened."""
    client = client_of(echo)
    for path in [*database(folder).parent.iterdir()]:
        path.unlink()
    database(folder).parent.rmdir()
    answer = client.post("/invocations", json={"requestType": "NEW_SESSION"})
    assert answer.status_code == 507
    assert ask(client, "abc").status_code == 507


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "1e9", "9" * 30])
def test_a_bad_expiration_matters_when_sessions_are_on(
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


# --- how it stays small ---------------------------------------------------------------


def rows(folder: Path) -> int:
    return count(folder) + count(folder, "session_values")


@pytest.mark.parametrize("values", [0, 1, 7, 8, 9, 100])
def test_each_write_removes_a_few_rows_that_have_expired(
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


def test_the_table_stays_as_big_as_what_is_live(
    clock: Clock, sessions: SessionManager, folder: Path
) -> None:
    most = 0
    for _ in range(300):
        session = sessions.create_session()
        for key in "abc":
            session.put(key, 0)
        clock.now += 10  # So that eleven sessions live at a time.
        most = max(most, rows(folder))
    assert most <= 11 * 4 + 20


def test_closing_and_creating_sweep_too(
    clock: Clock, sessions: SessionManager, folder: Path
) -> None:
    for _ in range(40):
        sessions.create_session()
    clock.now += 1000
    before = count(folder)
    for turn in range(1, 4):
        sessions.create_session().remove()
        assert before - 40 * turn <= count(folder) < before - turn
