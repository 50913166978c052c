"""Start, delay and observe processes under standard-supervisor."""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from model_hosting_container_standards.processes.tree import is_running
from namespaces import UNSHARE, needs_namespaces
from servers import Process, polling

SUPERVISOR: Final = str(Path(sys.executable).with_name("standard-supervisor"))
MHCS: Final = str(Path(sys.executable).with_name("mhcs"))
PATIENCE_S: Final = 30.0

#: The prefix of the supervisor's command: empty, or one that makes it process 1.
ANY_PROCESS: Final = pytest.param([], id="any process")
PROCESS_1: Final = pytest.param([*UNSHARE], id="process 1", marks=needs_namespaces)


def wait_for(path: Path) -> str:
    """Wait until a file is not empty, and return its content."""
    for _ in polling(PATIENCE_S):
        if path.exists() and (content := path.read_text()):
            return content
    raise AssertionError(f"{path} was not written")


def wait_until_gone(pid: int) -> None:
    for _ in polling(PATIENCE_S):
        if not is_running(pid):
            return
    raise AssertionError(f"{pid} still runs")


class Gate:
    """Make Python processes wait before the first of the slow imports."""

    #: The first slow imports of the commands, and one that every program imports.
    AT: Final = ("typer", "model_hosting_container_standards.settings", "typing")
    SOURCE: Final = """
        import os, sys

        class Gate:
            is_closed = True

            @classmethod
            def find_spec(cls, name, path=None, target=None):
                if cls.is_closed and name in {names}:
                    cls.is_closed = False
                    if os.path.exists({fifo!r}):
                        open({fifo!r}).read()

        sys.meta_path.insert(0, Gate)
        """

    def __init__(self, folder: Path, *path: str) -> None:
        self._fifo = folder / "gate"
        os.mkfifo(self._fifo)
        source = self.SOURCE.format(names=self.AT, fifo=str(self._fifo))
        # Python imports sitecustomize at startup.
        (folder / "sitecustomize.py").write_text(textwrap.dedent(source))
        self.env = {"PYTHONPATH": os.pathsep.join([str(folder), *path])}

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Run the body while the process waits; then let it continue."""
        gate = self._wait()
        self._fifo.unlink()
        try:
            yield
        finally:
            os.close(gate)

    def _wait(self) -> int:
        for _ in polling(PATIENCE_S):
            # Opening for writing fails until there is a reader.
            with contextlib.suppress(OSError):
                return os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK)
        raise AssertionError("no process reached the gate")


def supervisor_of(process: Process) -> int:
    """Return the supervisor's process id, also under ``unshare``."""
    [pid] = [process.pid] if process.command[0] != "unshare" else children(process.pid)
    return pid


def children(pid: int) -> list[int]:
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(word) for word in words]


#: Writes its process id to a file, and waits.
WAITS: Final = """
    import os, signal, sys, time
    from pathlib import Path
    Path(sys.argv[1]).write_text(f"{os.getpid()} ")
    while True:
        signal.pause()
    """
