"""Progress of the requests in a model replica."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from time import monotonic
from typing import TypeVar

T = TypeVar("T")


class RequestProgress:
    """Notes when the running requests last made progress."""

    #: Requests are refused by Serve, not by this package.
    closed: str | None = None

    def __init__(self) -> None:
        self._running = 0
        self._running_since = 0.0
        self._progress = 0.0

    async def follow(
        self, outputs: AsyncGenerator[T, None], on_error: Callable[[], None]
    ) -> AsyncGenerator[T, None]:
        """Yield the outputs of a request, each of which is progress."""
        if not self._running:
            self._running_since = monotonic()
        self._running += 1
        try:
            async with aclosing(outputs):
                async for output in outputs:
                    self.note_progress()
                    yield output
        except Exception:
            on_error()
            raise
        finally:
            self._running -= 1

    def note_progress(self) -> None:
        self._progress = monotonic()

    def silence(self) -> float:
        """Return for how many seconds requests have waited without any progress."""
        if not self._running:
            return 0.0
        return monotonic() - max(self._running_since, self._progress)
