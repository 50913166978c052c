"""Steps at the start and the end of an app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from .deferred_bootstrap import Step, deferred_bootstrap_of


def surround_lifespan(
    app: FastAPI, start: Step, stop: Step, finish: Step | None = None
) -> None:
    """Start after whatever else the app starts so far, and stop before it stops.

    An app that runs already has it done soon.

    Args:
        finish: done once all that has stopped.
    """
    if (openings := deferred_bootstrap_of(app)) is not None:
        openings.add_step(start, stop, finish)
        return
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        try:
            async with inner(app) as state:
                await start()
                try:
                    yield state
                finally:
                    await stop()
        finally:
            if finish is not None:
                await finish()

    app.router.lifespan_context = lifespan
