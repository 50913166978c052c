"""The processes of a server: when one exits, the others and the server exit too."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType


def spawn(function: Callable[..., None], *args: object) -> BaseProcess:
    """Start a process by "spawn", as vLLM does on every platform."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=args)
    process.start()
    return process


def spawn_program(command: Sequence[str]) -> BaseProcess:
    """Start a process that executes a program."""
    return spawn(_exec, command)


def wait_for_all(processes: Sequence[BaseProcess]) -> None:
    """Wait until one exits or SIGTERM arrives, then stop the others and exit."""
    signal.signal(signal.SIGTERM, _exit)
    try:
        ended = wait([process.sentinel for process in processes])
        failed = any(_failed(p) for p in processes if p.sentinel in ended)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
    sys.exit(1 if failed else 0)


def _exec(command: Sequence[str]) -> None:
    os.execv(command[0], [*command])


def _failed(process: BaseProcess) -> bool:
    """Wait until a process exits; return whether it failed."""
    process.join()
    return process.exitcode != 0


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit
