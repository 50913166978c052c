"""Wakes the tasks that wait for something to happen."""

from __future__ import annotations

import asyncio
import contextlib


class Notification:
    """Wakes all that wait now; later ones wait for the next time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seconds: float | None = None) -> None:
        """Wait for the next time, but not longer than ``seconds``."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
