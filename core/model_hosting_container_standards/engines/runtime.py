"""A running engine, as far as the standards use it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Engines are patched in processes that serve nothing.
    from fastapi import FastAPI

    from ..adapters.backend import AdapterBackend


class EngineRuntime:
    """What a running engine can do. The defaults are those of one that can do nothing.

    Made once for an app that has started: whatever its lifespan makes is there.

    Args:
        app: the engine's app. The engine may be reached through it, or be somewhere
            else, such as in a global of a module.
    """

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def adapter_backend(self) -> AdapterBackend | None:
        """Return what loads adapters, if the description says so."""
        return None

    async def check(self) -> None:
        """Return once the engine answers, without generating anything.

        An engine that cannot be asked is looked at. Called for each ``/ping``; one call
        at a time.

        Raises:
            EngineUnhealthyError: the engine is dead.
        """

    async def probe_generation(self) -> None:
        """Return once the engine is seen to work, or cannot be seen.

        Called when requests have waited for long and none got anything. It generates a
        token of its own. Cancelled when the answer is not needed any more.

        Raises:
            EngineUnhealthyError: the engine is dead.
        """

    def processes(self) -> Collection[int]:
        """Return the ids of the processes on this machine that compute for the app.

        Without those that spin while they have nothing to do. Called when the engine
        does not answer: an engine that computes is given more time.
        """
        return ()
