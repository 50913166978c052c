"""Health of SGLang's engine: whether it responds, and whether it generates tokens."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from model_hosting_container_standards.engines import descendants

#: Seconds for which an answer of the scheduler counts: the supervisor asks five times a
#: second, and the scheduler answers between two steps of its work.
_FRESH_S: Final = 1.0
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
        self._query: asyncio.Future[Any] | None = None
        self._answered_at = -math.inf
        self._processes: Sequence[int] = ()

    async def check(self) -> None:
        """Return once the scheduler has answered and the detokenizer is not stopped.

        SGLang's own ``/ping`` fails after a request to ``/health`` that got no token in
        20 seconds, until another such request gets one. An engine that answers here is
        not unhealthy for that.
        """
        status = self._manager.server_status
        if status.name == "Starting":
            return
        await self._query_scheduler()
        # Looked for once: it means to look at all processes of the machine.
        self._processes = self._processes or engine_processes()
        while True:
            if not any(map(_is_stopped, self._processes)):
                break
            await asyncio.sleep(_POLL_S)
        if status.name == "UnHealthy":
            self._manager.server_status = type(status).Up

    async def _query_scheduler(self) -> None:
        """Wait for an answer of the scheduler.

        A query is never cancelled, and never sent twice at once: the answer to the
        first would be taken for the second's.
        """
        if time.monotonic() - self._answered_at < _FRESH_S:
            return
        if self._query is None or self._query.done():
            # Other queries, as that for the load, are answered without the scheduler.
            self._query = asyncio.ensure_future(self._manager.get_internal_state())
        with contextlib.suppress(Exception):  # An error is an answer.
            await asyncio.shield(self._query)
        self._answered_at = time.monotonic()

    async def generate(self) -> None:
        """Return once the engine has generated a token, or is paused on purpose."""
        if getattr(self._manager, "is_pause", False):
            return
        request = _probe_request(self._manager)
        # The scheduler drops the probe without a word if other requests are running.
        awaited = [
            asyncio.ensure_future(self._generate_token(request)),
            asyncio.ensure_future(self._wait_for_progress(request.rid)),
        ]
        try:
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in awaited:
                task.cancel()
            await asyncio.gather(*awaited, return_exceptions=True)
            self._manager.rid_to_state.pop(request.rid, None)

    async def _generate_token(self, request: Any) -> None:
        with contextlib.suppress(ValueError):  # It refuses, so it responds.
            async with contextlib.aclosing(self._generate(request, None)) as outputs:
                await anext(outputs)

    async def _wait_for_progress(self, probe_id: str) -> None:
        """Return once another request of this process has got more output, or ended."""
        requests: Mapping[str, Any] = self._manager.rid_to_state
        while True:
            before = {
                request_id: (state, _length(state))
                for request_id, state in requests.items()
                if request_id != probe_id
            }
            await asyncio.sleep(_POLL_S)
            for request_id, (state, length) in before.items():
                if requests.get(request_id) is not state or _length(state) > length:
                    return


def _length(state: Any) -> int:
    """Return a number that grows with the output of a request."""
    chunks = getattr(state, "text_chunks", ())
    ids = getattr(state, "output_ids", None) or ()
    return len(getattr(state, "text", "")) + sum(map(len, chunks)) + len(ids)


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
