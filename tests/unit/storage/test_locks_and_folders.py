"""Locks and folders that processes share."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_hosting_container_standards.exceptions import StorageError
from model_hosting_container_standards.storage import ByteLocks, folder, private_folder
from other_process import Other

Start = Callable[..., Other]


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[ByteLocks]:
    locks = ByteLocks(tmp_path / "locks")
    yield locks
    locks.close()


@pytest.fixture
def others(tmp_path: Path) -> Iterator[ByteLocks]:
    """Open the same locks a second time."""
    locks = ByteLocks(tmp_path / "locks")
    yield locks
    locks.close()


# --- ByteLocks ------------------------------------------------------------------------


def test_shared_lock_has_several_holders(locks: ByteLocks, others: ByteLocks) -> None:
    locks.share(7)
    others.share(7)
    assert locks.try_exclusive(7) is None
    locks.release(7)
    assert locks.try_exclusive(7) is None
    others.release(7)
    descriptor = locks.try_exclusive(7)
    assert descriptor is not None
    os.close(descriptor)


@pytest.mark.parametrize("which", ["locks", "others"])
def test_exclusive_lock_excludes_all_other_holders(
    locks: ByteLocks, others: ByteLocks, which: str
) -> None:
    descriptor = locks.try_exclusive(7)
    assert descriptor is not None
    asking = locks if which == "locks" else others
    assert asking.try_exclusive(7) is None
    with pytest.raises(BlockingIOError):
        asking.share(7)
    os.close(descriptor)
    asking.share(7)


@pytest.mark.parametrize("number", [0, 1, 1 << 20, (1 << 56) - 1])
def test_locks_of_different_numbers_are_independent(
    locks: ByteLocks, others: ByteLocks, number: int
) -> None:
    descriptor = locks.try_exclusive(number)
    assert descriptor is not None
    others.share(number + 1)
    if number:
        others.share(number - 1)
    assert others.try_exclusive(number) is None
    os.close(descriptor)


def test_releasing_one_number_leaves_others(
    locks: ByteLocks, others: ByteLocks
) -> None:
    locks.share(1)
    locks.share(2)
    locks.release(1)
    assert others.try_exclusive(2) is None


def test_only_the_last_shared_holder_can_upgrade(
    locks: ByteLocks, others: ByteLocks
) -> None:
    locks.share(7)
    others.share(7)
    assert not locks.try_upgrade(7)
    others.release(7)
    assert locks.try_upgrade(7)
    with pytest.raises(BlockingIOError):
        others.share(7)
    locks.share(7)
    others.share(7)


async def test_waiter_acquires_the_lock_when_it_is_released(
    locks: ByteLocks, others: ByteLocks
) -> None:
    locks.share(7)
    entered = asyncio.Event()

    async def wait() -> None:
        async with others.exclusive(7):
            entered.set()
            with pytest.raises(BlockingIOError):
                locks.share(7)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    assert not entered.is_set()
    locks.release(7)
    await asyncio.wait_for(waiting, timeout=20)
    locks.share(7)


async def test_cancelled_waiter_holds_no_lock(
    locks: ByteLocks, others: ByteLocks
) -> None:
    locks.share(7)

    async def wait() -> None:
        async with others.exclusive(7):
            raise AssertionError("The lock is held.")

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    locks.release(7)
    descriptor = locks.try_exclusive(7)
    assert descriptor is not None
    os.close(descriptor)


def _hold(path: Path, exclusive: bool) -> None:
    locks = ByteLocks(path)
    if exclusive:
        locks.try_exclusive(7)
    else:
        locks.share(7)


@pytest.mark.parametrize("exclusive", [True, False])
async def test_killed_process_holds_no_lock(
    locks: ByteLocks, start: Start, tmp_path: Path, exclusive: bool
) -> None:
    other = start(_hold, tmp_path / "locks", exclusive)
    other.wait_until_done()
    assert locks.try_exclusive(7) is None
    if exclusive:
        with pytest.raises(BlockingIOError):
            locks.share(7)
    other.kill()

    async def acquire() -> None:
        async with locks.exclusive(7):
            pass

    await asyncio.wait_for(acquire(), timeout=20)


# --- private_folder -------------------------------------------------------------------


def test_only_the_owner_can_access_a_new_folder(tmp_path: Path) -> None:
    folder = private_folder(tmp_path / "new" / "parent", "name")
    assert folder == tmp_path / "new" / "parent" / "name"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_private_folder_is_reused(tmp_path: Path) -> None:
    (private_folder(tmp_path, "name") / "file").touch()
    assert (private_folder(tmp_path, "name") / "file").exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o1777, 0o702])
def test_folder_that_others_can_write_to_is_an_error(tmp_path: Path, mode: int) -> None:
    (tmp_path / "name").mkdir()
    (tmp_path / "name").chmod(mode)
    with pytest.raises(StorageError, match=str(tmp_path / "name")):
        private_folder(tmp_path, "name")
    assert stat.S_IMODE((tmp_path / "name").stat().st_mode) == mode


@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
def test_path_that_is_not_a_folder_is_an_error(tmp_path: Path, kind: str) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    if kind == "file":
        (tmp_path / "name").touch()
    else:
        target = "real" if kind == "link" else "nothing"
        (tmp_path / "name").symlink_to(tmp_path / target)
    with pytest.raises(StorageError, match=str(tmp_path / "name")):
        private_folder(tmp_path, "name")
    assert list((tmp_path / "real").iterdir()) == []


def test_parent_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=str(tmp_path / "file")):
        private_folder(tmp_path / "file", "name")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_folder_of_another_user_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "name"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(StorageError, match=str(folder)):
        private_folder(tmp_path, "name")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_each_user_has_default_folder_in_shared_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "SHARED_MEMORY", tmp_path)
    ours = folder.default_parent("state")
    private_folder(ours, "name")
    assert folder.default_parent("state") == ours == tmp_path / "state"
    os.chown(ours, 12345, 12345)
    assert private_folder(folder.default_parent("state"), "name").exists()
    assert folder.default_parent("state") == tmp_path / "state-0"
