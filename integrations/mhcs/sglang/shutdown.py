"""SGLang's own shutdown, once the requests of a server have ended."""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final

from fastapi import FastAPI

#: Seconds between two looks for SIGTERM; SGLang itself looks every 5 seconds.
_POLL_S: Final = 0.1
#: Seconds that aborted requests may take to leave the engine; SGLang waits for ever.
_ABORT_S: Final = 1.0


def start_loop_before_warmups(app: FastAPI, module: ModuleType) -> None:
    """Start the loop as :func:`start_engine_loop` does, before SGLang's ``--warmups``.

    Their first request would start it.
    """
    execute = getattr(module, "execute_warmups", None)
    if execute is None:
        return

    @functools.wraps(execute)
    async def execute_warmups(mode: str, names: Sequence[str], manager: Any) -> None:
        is_only_process = getattr(app, "is_single_tokenizer_mode", False)
        start_engine_loop(manager, is_only_process=is_only_process)
        await execute(mode, names, manager)

    module.execute_warmups = execute_warmups  # type: ignore[attr-defined]


def start_engine_loop(manager: Any, *, is_only_process: bool) -> None:
    """Start the loop of a tokenizer manager, which SGLang does at the first request.

    It installs SGLang's signal handlers. They have to be there before ours, which let
    them run once all requests have ended.

    Args:
        manager: the tokenizer manager.
        is_only_process: whether the server has no other tokenizer workers.
    """
    if getattr(manager, "event_loop", None) is not None:
        return
    if is_only_process:
        _stop_promptly(manager)
        manager.auto_create_handle_loop()
        return
    # SGLang's handler would end the scheduler, which the other workers still use.
    # uvicorn's ends this worker alone.
    handler = signal.getsignal(signal.SIGTERM)
    manager.auto_create_handle_loop()
    if asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM):
        signal.signal(signal.SIGTERM, handler)


def _stop_promptly(manager: Any) -> None:
    """Make SGLang stop at once after its SIGTERM handler has run.

    By then this package has finished or aborted all requests.
    """
    watch = manager.sigterm_watchdog

    @functools.wraps(watch)
    async def sigterm_watchdog() -> None:
        while True:
            if manager.gracefully_exit:
                break
            await asyncio.sleep(_POLL_S)
        for request_id in [*manager.rid_to_state]:
            manager.abort_request(request_id)
        for _ in range(round(_ABORT_S / _POLL_S)):
            if not manager.rid_to_state:
                break
            await asyncio.sleep(_POLL_S)
        # Some releases keep requests that were refused.
        manager.rid_to_state.clear()
        await watch()

    manager.sigterm_watchdog = sigterm_watchdog
