"""A pytest plugin: the run fails if its tests leak processes, files or ports.

    pytest_plugins = ["leaks"]  # in a conftest.py

Child processes inherit two variables: :data:`MARK`, with the id of the run, and
pytest's own ``PYTEST_CURRENT_TEST``. They identify processes in another session and
orphans, too. The run has a temporary folder of its own. Each worker of pytest-xdist
checks for leaks of its own tests, the controller for the rest. Leaks are killed or
removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Generator
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

import proc
import servers
from model_hosting_container_standards.processes.tree import descendants, is_running
from servers import polling

#: The ids of the runs that a process belongs to; a test may run pytest itself.
MARK: Final = "PYTEST_RUNS"
TEST: Final = "PYTEST_CURRENT_TEST"
#: Prefixes of this package's names in /dev/shm.
OUR_NAMES: Final = ("mhcs", "sagemaker")
GRACE: Final = "leak_grace_seconds"
KEPT: Final = ", kept because it may be another run's"
#: How far the file system's clock may lag.
TICK_S: Final = 0.02


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "seconds that processes may take to end after the last test"
    parser.addini(GRACE, words, type="float", default=10.0)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LeakCheck(config))


class Phase(NamedTuple):
    """When a test was set up, called or torn down."""

    start: float
    stop: float
    test: str


class LeakCheck:
    """Find the leaks of this process's tests; report those that its workers find."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._is_worker = hasattr(config, "workerinput")
        self._grace_s: float = config.getini(GRACE)
        self._id = uuid.uuid4().hex
        self._phases: list[Phase] = []
        self._found_by_workers: list[str] = []
        self._ports = proc.listening_ports(os.getpid())
        self._shared = _entries(proc.SHARED_MEMORY)
        os.environ.pop(TEST, None)  # Inherited, where a test runs pytest.
        # Without it, the titles of vLLM's processes overwrite the variables.
        os.environ["SPT_NOENV"] = "1"
        os.environ[MARK] = f"{os.environ.get(MARK, '')} {self._id}".strip()
        self._folder = _use_new_temporary_folder()

    # --- hooks ------------------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._phases.append(Phase(report.start, report.stop, report.nodeid))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        output = getattr(node, "workeroutput", {})  # Missing after a crash.
        self._found_by_workers += output.get("leaks", [])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        result = yield
        found = self._found_by_workers + self._find_at_the_end()
        self._clean_up()
        if self._is_worker:
            self._config.workeroutput["leaks"] = found  # type: ignore[attr-defined]
        elif found:
            self._fail(found)
        return result

    def pytest_unconfigure(self) -> None:
        """Clean up after an interrupted run, too."""
        self._clean_up()

    def _fail(self, found: list[str]) -> None:
        report = pytest.TestReport(
            nodeid="tests/support/leaks.py::all_tests",
            location=("tests/support/leaks.py", None, "all tests"),
            keywords={},
            outcome="failed",
            longrepr="\n".join(["Leaked by tests, and killed or removed now:", *found]),
            when="teardown",
        )
        self._config.hook.pytest_runtest_logreport(report=report)

    # --- finding leaks ----------------------------------------------------------------

    def _find_at_the_end(self) -> list[str]:
        """Return the leaks that remain after the grace period."""
        found: list[str] = []
        for _ in polling(self._grace_s):
            found = self._find()
            if not found:
                break
        return found

    def _find(self) -> list[str]:
        ports = proc.listening_ports(os.getpid()) - self._ports
        return [
            *(_describe_process(pid, test) for pid, test in self._processes().items()),
            *(f"port {port}, on which pytest itself listens" for port in ports),
            *map(self._describe_file, self._files()),
            *(self._describe_file(path) + KEPT for path in self._unclaimed()),
        ]

    def _processes(self) -> dict[int, str]:
        """Return the processes that still run, with the test that started each."""
        found: dict[int, str] = {}
        for pid in proc.pids():
            env = proc.environment(pid)
            # A worker is marked too, but no test has started it.
            if self._id in env.get(MARK, "").split() and TEST in env:
                found |= dict.fromkeys([pid, *descendants(pid)], env[TEST])
        for pid in descendants(os.getpid()):
            if MARK not in proc.environment(pid):
                found.setdefault(pid, "a test, without the variables that name it")
        return {pid: test for pid, test in found.items() if _is_leaked(pid)}

    def _files(self) -> list[Path]:
        """Return the temporary files that certainly belong to these tests."""
        used = proc.shared_memory([os.getpid(), *self._processes()])
        shared = self._without_others(used | servers.shared_memory)
        return sorted(_entries(self._folder) | shared)

    def _unclaimed(self) -> list[Path]:
        """Return files with a name of ours that may belong to another run."""
        if self._is_worker:
            return []  # The controller will see it.
        entries = _entries(proc.SHARED_MEMORY)
        named = {path for path in entries if path.name.startswith(OUR_NAMES)}
        return sorted(self._without_others(named).difference(self._files()))

    def _without_others(self, paths: set[Path]) -> set[Path]:
        """Exclude files that existed before, and those that other processes use."""
        new = {path for path in paths - self._shared if path.exists()}
        ours = {os.getpid(), *self._processes()}
        return new and new - proc.shared_memory({*proc.pids()} - ours)

    def _describe_file(self, path: Path) -> str:
        with contextlib.suppress(OSError):
            at = path.lstat().st_mtime
            spans = (p for p in self._phases if p.start - TICK_S <= at <= p.stop)
            tests = {phase.test: 0 for phase in spans}
            if tests:
                return f"{path}, which changed during {' and '.join(tests)}"
        return str(path)

    # --- cleaning up ------------------------------------------------------------------

    def _clean_up(self) -> None:
        processes = self._processes()
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for _ in polling(self._grace_s):
            if not any(map(is_running, processes)):
                break
        for path in (*self._files(), self._folder):
            _remove(path)


def _use_new_temporary_folder() -> Path:
    """Make a temporary folder for this process and its children."""
    inherited = tempfile.gettempdir()
    # Files that outlive the check stay outside: `tmp_path`, and those that
    # multiprocessing keeps until the process exits.
    tempfile.tempdir = os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", inherited)
    get_temp_dir()
    folder = Path(tempfile.mkdtemp(prefix="pytest-", dir=inherited))
    folder.chmod(0o1777)  # As /tmp has it: a server may run as another user.
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder


def _entries(folder: Path) -> set[Path]:
    return {*folder.iterdir()} if folder.is_dir() else set()


def _is_leaked(pid: int) -> bool:
    return is_running(pid) and not proc.is_helper(pid)


def _describe_process(pid: int, test: str) -> str:
    ports = ", ".join(map(str, sorted(proc.listening_ports(pid))))
    listens = f", which listens on {ports}," if ports else ""
    return f"process {pid}, {proc.command(pid)!r}{listens} of {test}"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
