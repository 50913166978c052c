"""Health of SGLang's engine: whether it responds, and whether it generates tokens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from model_hosting_container_standards.engines import descendants

#: Methods that ask the scheduler something, the cheapest first; releases differ.
_QUESTIONS: Final = ("get_loads", "get_load", "get_internal_state")
#: The start of an id by which SGLang recognises requests that test its health.
_PROBE_ID: Final = "HEALTH_CHECK_"
#: Parts of the titles that SGLang gives the engine's processes.
_TITLES: Final = (b"sglang::scheduler", b"sglang::detokenizer")
#: State of a stopped process in ``/proc/PID/stat``, and of one that is traced.
_STOPPED: Final = (b"T", b"t")
_POLL_S: Final = 0.5


class EngineProbe:
    """Checks the engine behind a tokenizer manager.

    SGLang ends the whole server when a process of the engine dies, so that only an
    engine that hangs has to be noticed.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        #: As it is now: later, adapters are looked up in it.
        self._generate: Callable[..., Any] = manager.generate_request
        self._question: asyncio.Future[Any] | None = None
        self._processes: Sequence[int] = ()

    async def check(self) -> None:
        """Return once the scheduler has answered and the detokenizer is not stopped.

        A request to ``/health`` that fails marks SGLang's server as unhealthy until
        another one succeeds; a generated token of our own does so too.
        """
        status = getattr(self._manager.server_status, "name", "Up")
        if status == "Starting":
            return
        await self._ask_scheduler()
        # Looked for once: it means to look at all processes of the machine.
        self._processes = self._processes or engine_processes()
        while True:
            if not any(map(_is_stopped, self._processes)):
                break
            await asyncio.sleep(_POLL_S)
        if status == "UnHealthy":
            await self.generate()
            self._manager.server_status = type(self._manager.server_status).Up

    async def _ask_scheduler(self) -> None:
        """Wait for an answer of the scheduler.

        A question is never cancelled, and never asked twice at once: the answer to the
        first would be taken for the second's.
        """
        if self._question is None or self._question.done():
            self._question = asyncio.ensure_future(_first_method(self._manager)())
        with contextlib.suppress(Exception):  # An error is an answer.
            await asyncio.shield(self._question)

    async def generate(self) -> None:
        """Return once the engine has generated a token, or is paused on purpose."""
        if getattr(self._manager, "is_pause", False):
            return
        request = _probe_request(self._manager)
        try:
            with contextlib.suppress(ValueError):  # It refuses, so it responds.
                outputs = self._generate(request, None)
                async with contextlib.aclosing(outputs):
                    await anext(outputs)
        finally:
            self._manager.rid_to_state.pop(request.rid, None)


def _first_method(manager: Any) -> Callable[[], Awaitable[Any]]:
    found = (getattr(manager, name, None) for name in _QUESTIONS)
    method: Callable[[], Awaitable[Any]] = next(filter(None, found))
    return method


def _probe_request(manager: Any) -> Any:
    from sglang.srt.managers.io_struct import EmbeddingReqInput, GenerateReqInput

    kind = GenerateReqInput if manager.is_generation else EmbeddingReqInput
    return kind(
        # Random: no client can guess and abort it.
        rid=f"{_PROBE_ID}{uuid.uuid4().hex}",
        input_ids=[0],
        sampling_params={"max_new_tokens": 1, "temperature": 0.0},
        log_metrics=False,
    )


def engine_processes() -> Sequence[int]:
    """Return the pids of the engine's processes; empty until they have their titles.

    They are children of the first server process, and so are tokenizer workers.
    """
    for root in (os.getpid(), os.getppid()):
        if found := [pid for pid in descendants(root) if _has_title(pid)]:
            return found
    return ()


def _has_title(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False  # The process has ended.
    return command.startswith(_TITLES)


def _is_stopped(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    # The name, in parentheses, may have any characters.
    return status.rpartition(b") ")[2][:1] in _STOPPED
