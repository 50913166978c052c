"""A start that fails ends the server at once, with an exit status that says so."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from fastapi import FastAPI

from .warmup import end_warmup

#: uvicorn's exit status for it.
STATUS: Final = 3
#: The variable with the file that is written when the start fails.
_FILE: Final = "_MHCS_SGLANG_FAILED_START"


@contextmanager
def exit_if_start_fails() -> Iterator[None]:
    """Exit after the block if the server in it has failed to start.

    SGLang returns then as if the server had ended. In the server's processes,
    :func:`note_failed_start` must have been called.
    """
    # In memory: nothing is left behind, whatever ends this process.
    file = os.memfd_create("failed_start")
    os.environ[_FILE] = f"/proc/{os.getpid()}/fd/{file}"
    try:
        yield
        if os.fstat(file).st_size:
            sys.exit(STATUS)
    finally:
        del os.environ[_FILE]
        os.close(file)


def note_failed_start(app: FastAPI) -> None:
    """Note if the lifespan, as it is now, fails to start.

    A worker of several then ends the server: uvicorn may start another one, again and
    again.
    """
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            try:
                state = await stack.enter_async_context(inner(app))
            except BaseException:
                _note()
                raise
            yield state

    app.router.lifespan_context = lifespan


def _note() -> None:
    if (file := os.environ.get(_FILE)) is None:
        return
    Path(file).write_bytes(b"failed")
    if not file.startswith(f"/proc/{os.getpid()}/"):
        os.kill(os.getppid(), signal.SIGTERM)


def end_warmup_on_error(app: FastAPI, module: ModuleType) -> None:
    """Let SGLang's lifespan end at once if a step around it fails.

    To be called before any step is added.
    """
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with inner(app) as state:
            try:
                yield state
            except BaseException:
                end_warmup(module)
                raise

    app.router.lifespan_context = lifespan
