"""A streaming handler that waits for a request for each chunk."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from fastapi.responses import StreamingResponse

from customised import PATIENCE_S

COUNT: Final = 200


class Source:
    """A streaming handler that waits for :meth:`took` after each chunk."""

    def __init__(self, count: int = COUNT, fails: bool = False) -> None:
        self.count = count
        self.fails = fails
        self.go = asyncio.Semaphore(0)
        self.closed = asyncio.Event()
        self.made = 0

    async def __call__(self) -> StreamingResponse:
        return StreamingResponse(self.chunks(), 201, {"x-app": "1"})

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for number in range(self.count):
                self.made += 1
                yield b"chunk %d" % number
                await self.go.acquire()
                # Yield to the event loop, as a handler that computes does.
                await asyncio.sleep(0)
            if self.fails:
                raise KeyError("broken")
        finally:
            self.closed.set()

    def took(self, chunk: bytes) -> None:
        """Request the next chunk, once the client has this one."""
        self.go.release()

    async def end(self) -> None:
        """Wait until the stream is closed, if need be by the garbage collector."""
        gc.collect()
        await asyncio.wait_for(self.closed.wait(), PATIENCE_S)


def handler_of(source: Source) -> Callable[[], Any]:
    async def handler() -> StreamingResponse:
        return await source()

    return handler
