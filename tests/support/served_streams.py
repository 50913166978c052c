"""A server of a stream whose next chunk is made when somebody asks for it.

KIND names what is around the app; MARKER is the file that tells that the stream ended.
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
