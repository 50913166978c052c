"""A process that calls one function, and then waits until it is killed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final

# The forkserver imports the slow modules once.
_processes: Final = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    ["pytest", "model_hosting_container_standards.storage"]
)


class Other:
    """Another process: calls ``target``, then waits until it is killed."""

    def __init__(self, target: Callable[..., Any], *args: Any) -> None:
        self._pipe, theirs = _processes.Pipe()
        self._process: BaseProcess = _processes.Process(
            target=_do_and_wait, args=(theirs, target, args), daemon=True
        )
        self._process.start()
        theirs.close()

    def wait_until_done(self) -> None:
        """Return once ``target`` has returned.

        Raises:
            EOFError: the process died in ``target``.
        """
        assert self._pipe.poll(20), "The process does not answer."
        self._pipe.recv()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _do_and_wait(pipe: Connection, target: Callable[..., Any], args: Any) -> None:
    target(*args)
    pipe.send("done")
    pipe.poll(None)
