"""standard-supervisor for users without a home or a passwd entry."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from model_hosting_container_standards.supervisor.user_folders import provide_home
from namespaces import can_unshare
from servers import Exit, run_until_exit
from supervised import MHCS, SUPERVISOR
from users import AS_ANOTHER_USER, UID, needs_another_user

#: Prints the program's user and environment, and whether its home is writable.
REPORTS: Final = """
import getpass, json, os, pathlib
home = pathlib.Path.home()
found = {"user": getpass.getuser(), "home": str(home), **os.environ}
try:
    (home / ".cache" / "engine").mkdir(parents=True)
    found["mode"] = home.stat().st_mode & 0o777
except OSError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""
needs_mounts: Final = pytest.mark.skipif(
    os.geteuid() != 0 or not can_unshare(), reason="cannot mount file systems"
)


def run(
    *before: str, env: dict[str, str], source: str = REPORTS, home: str | None = None
) -> Exit:
    """Run a program under the supervisor with this HOME, or without HOME."""
    unset = ["env", "--unset=HOME"] if home is None else ["env", f"HOME={home}"]
    command = [*before, *unset, SUPERVISOR, sys.executable, "-c", source]
    return run_until_exit(command, env)


def report(end: Exit) -> Any:
    assert end.status == 0, end.stdout + end.stderr
    [line] = [line for line in end.stdout.splitlines() if line.startswith("{")]
    return json.loads(line)


@needs_another_user
@pytest.mark.parametrize("home", [None, "", "/", "/no/such/folder"])
@pytest.mark.parametrize("recovery", ["true", "false"])
def test_user_without_home_gets_one(home: str | None, recovery: str) -> None:
    env = {"PROCESS_AUTO_RECOVERY": recovery, "XDG_CACHE_HOME": "/set"}
    end = run(*AS_ANOTHER_USER, env=env, home=home)
    found = report(end)
    assert found["user"] == f"uid_{UID}"
    assert found["mode"] == 0o700
    assert found["XDG_CACHE_HOME"] == "/set"
    assert f"HOME={found['home']}" in end.stderr
    if recovery == "true":
        assert not Path(found["home"]).exists()
    else:
        shutil.rmtree(found["home"])


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder that every user can read, but only root can write."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


CACHES: Final = {
    "XDG_CACHE_HOME": ".cache",
    "TRITON_CACHE_DIR": ".triton/cache",
    "FLASHINFER_WORKSPACE_BASE": ".",
}
CONTENTS: Final = {"HF_HOME": ".cache/huggingface", "PYTHONUSERBASE": ".local"}


@needs_another_user
def test_unwritable_home_is_kept(home: Path) -> None:
    """Existing files are still read from it; new caches go elsewhere."""
    for name in CONTENTS:
        (home / CONTENTS[name]).mkdir(parents=True)
    env = {"TRITON_CACHE_DIR": "/set"}
    found = report(run(*AS_ANOTHER_USER, env=env, home=str(home)))
    assert found["HOME"] == str(home)
    assert found["TRITON_CACHE_DIR"] == "/set"
    assert [found[name] for name in CONTENTS] == [
        str(home / CONTENTS[name]) for name in CONTENTS
    ]
    other = Path(found["FLASHINFER_WORKSPACE_BASE"])
    assert found["XDG_CACHE_HOME"] == str(other / ".cache")
    assert other != home
    assert not other.exists()


def test_unwritable_home_is_not_used_for_caches(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environ = {"HOME": str(tmp_path / "file"), "HF_HOME": ""}
    with provide_home(environ):
        other = Path(environ["FLASHINFER_WORKSPACE_BASE"])
        assert other.is_dir()
        for name, below in {**CACHES, **CONTENTS}.items():
            assert Path(environ[name]) == other / below
    assert not other.exists()


def test_only_home_is_set_if_missing() -> None:
    environ: dict[str, str] = {}
    with provide_home(environ):
        assert [*environ] == ["HOME"]
        assert Path(environ["HOME"]).is_dir()
    assert not Path(environ["HOME"]).exists()


@pytest.mark.parametrize("below", [".", "not/there/yet"])
def test_writable_home_is_unchanged(tmp_path: Path, below: str) -> None:
    env = dict.fromkeys((*CACHES, *CONTENTS), "")
    home = str(tmp_path / below)
    end = run(env=env, home=home)
    found = report(end)
    assert found["HOME"] == home
    assert not any(found[name] for name in env)
    assert "HOME" not in end.stderr


# --- file systems ------------------------------------------------------------------


def mounting(*commands: str) -> tuple[str, ...]:
    """Return a command prefix that first runs these in a mount namespace of its own."""
    shell = " && ".join([*commands, 'exec "$@"'])
    return ("unshare", "--mount", "sh", "-c", shell, "sh")


@needs_mounts
def test_root_needs_no_passwd_entry(tmp_path: Path) -> None:
    (tmp_path / "passwd").touch()
    (tmp_path / "nsswitch.conf").write_text("passwd: files\n")
    before = mounting(
        f"mount --bind {tmp_path}/passwd /etc/passwd",
        f"mount --bind {tmp_path}/nsswitch.conf /etc/nsswitch.conf",
    )
    end = run(*before, env={}, home=str(tmp_path))
    assert report(end)["user"] == "uid_0"
    assert "running as root" not in end.stdout


#: /tmp is mounted on itself, so that it stays readable: this checkout may lie there.
READ_ONLY: Final = ("mount --bind /tmp /tmp", "mount -o remount,bind,ro /")
NO_TEMPORARY: Final = tuple(
    f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"
    for folder in ("/tmp", "/var/tmp")
)


@needs_mounts
def test_root_file_system_may_be_read_only() -> None:
    before = mounting(*READ_ONLY)
    end = run(*before, env={"COVERAGE_PROCESS_CONFIG": "", "TMPDIR": ""}, home="/root")
    found = report(end)
    assert found["HOME"] == "/root"
    assert "Read-only" in found["error"]
    assert found["XDG_CACHE_HOME"].startswith("/tmp/mhcs-home-")


@needs_mounts
@pytest.mark.parametrize("command", [[SUPERVISOR, "true"], [MHCS, "serve"]])
def test_missing_temporary_folder_is_one_error(
    command: list[str],
) -> None:
    before = mounting(*READ_ONLY, *NO_TEMPORARY)
    env = {"COVERAGE_PROCESS_CONFIG": "", "TMPDIR": "/nowhere"}
    end = run_until_exit([*before, *command], env)
    assert end.status == 1
    [line] = end.stderr.splitlines()
    assert "no folder for temporary files is writable" in line
    assert "TMPDIR" in line


@needs_mounts
@pytest.mark.parametrize("options", ["ro", "rw"])
def test_engine_may_run_without_shared_memory(tmp_path: Path, options: str) -> None:
    before = mounting(f"mount -t tmpfs -o {options} none /dev/shm")
    end = run(*before, env={}, home=str(tmp_path))
    report(end)
    assert ("/dev/shm cannot be written" in end.stderr) == (options == "ro")


#: A server with sessions and adapters, which prints its responses and state folder.
SERVER: Final = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.storage.folder import default_parent

@sagemaker.register_ping_handler
async def ping(): pass

@sagemaker.register_invocation_handler
async def invoke(): pass

print(default_parent("x"))
with TestClient(sagemaker.bootstrap(FastAPI())) as client:
    answer = client.post("/invocations", json={"requestType": "NEW_SESSION"})
    print(answer.status_code, client.get("/adapters").status_code)
"""


@needs_mounts
@pytest.mark.parametrize("options", ["size=64k", "ro", "size=64m", "size=0"])
def test_state_is_stored_where_space_is_left(tmp_path: Path, options: str) -> None:
    """Containers have 64 MB of shared memory by default; a size of 0 is unlimited."""
    before = mounting(f"mount -t tmpfs -o {options} none /dev/shm")
    env = {"TMPDIR": str(tmp_path), "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "1"}
    end = run_until_exit([*before, sys.executable, "-c", SERVER], env)
    assert end.status == 0, end.stderr
    folder = "/dev/shm" if options in ("size=64m", "size=0") else str(tmp_path)
    assert end.stdout.splitlines() == [f"{folder}/x", "200 404"]


@needs_mounts
def test_no_folder_for_state_is_one_error() -> None:
    before = mounting(*READ_ONLY, *NO_TEMPORARY, "mount -t tmpfs -o ro none /dev/shm")
    env = {"COVERAGE_PROCESS_CONFIG": "", "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "1"}
    end = run_until_exit([*before, sys.executable, "-c", SERVER], env)
    assert end.status == 1
    assert "StorageError: Neither /dev/shm nor a folder" in end.stderr
