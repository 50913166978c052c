"""A streaming server, for uvicorn; each ``POST /go`` releases the next chunk.

KIND names the middleware around the app; the file MARKER is made when a stream ends.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from fastapi.responses import StreamingResponse

from customised import KINDS, app_with

MARKER: Final = Path(os.environ["MARKER"])
asked = asyncio.Semaphore(0)


async def invocations(count: int, fails: bool = False) -> StreamingResponse:
    async def chunks() -> AsyncIterator[bytes]:
        try:
            for number in range(count):
                yield b"chunk %d" % number
                await asked.acquire()
            if fails:
                raise RuntimeError("broken")
        finally:
            MARKER.touch()

    return StreamingResponse(chunks())


app = app_with(invocations, **KINDS[os.environ["KIND"]])


@app.post("/go")
async def go() -> None:
    asked.release()
