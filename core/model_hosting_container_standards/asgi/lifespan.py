"""Add steps to the start and the end of an app's lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from .deferred_bootstrap import Step, deferred_bootstrap_of


def surround_lifespan(
    app: FastAPI, start: Step, stop: Step, finish: Step | None = None
) -> None:
    """Run steps inside the app's lifespan as it is now.

    In an app that is already running, ``start`` runs soon.

    Args:
        start: runs after the app's own start-up.
        stop: runs before the app's own shutdown.
        finish: runs after the app's own shutdown.
    """
    if (deferred := deferred_bootstrap_of(app)) is not None:
        deferred.add_step(start, stop, finish)
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
