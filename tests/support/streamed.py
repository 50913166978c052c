"""A handler of a stream that makes each chunk when it is told to."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from fastapi.responses import StreamingResponse

from customised import PATIENCE_S

COUNT: Final = 200


class Source:
    """A handler whose stream makes one chunk, and the next when it is told to."""

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
                # As a handler that computes something lets others do something.
                await asyncio.sleep(0)
            if self.fails:
                raise KeyError("broken")
        finally:
            self.closed.set()

    def took(self, chunk: bytes) -> None:
        """Ask for the next chunk, now that this one is at the client."""
        self.go.release()

    async def end(self) -> None:
        """Wait until the stream is closed, be it by the garbage collector."""
        gc.collect()
        await asyncio.wait_for(self.closed.wait(), PATIENCE_S)


def handler_of(source: Source) -> Callable[[], Any]:
    async def handler() -> StreamingResponse:
        return await source()

    return handler
