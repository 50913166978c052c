"""What there is around an app from its start to its end."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp

from ...common.fastapi.lifespan import surround_lifespan
from ...config import Settings
from ...engine import Engine
from ...supervisor.board import Seat
from .drain import Drain
from .health import Health
from .traffic import Traffic


class Serving:
    """Counts what the app is answering, asks how its engine is, and ends it well."""

    def __init__(self, app: FastAPI, engine: Engine | None, settings: Settings) -> None:
        self.traffic = Traffic()
        stall_s = settings.ping_stall
        self.health = Health(engine, app, self.traffic, stall_s) if engine else None
        seat = Seat(settings.board) if settings.board else None
        watched = self.health if settings.restart_on_hang else None
        self.drain = Drain(self.traffic, settings.drain_seconds, seat, watched)

    def surround(self, app: FastAPI) -> None:
        """Be outside all that the app has by the time it starts."""
        build = app.build_middleware_stack

        def build_with_traffic() -> ASGIApp:
            self.traffic.app = build()
            return self.traffic

        app.build_middleware_stack = build_with_traffic  # type: ignore[method-assign]
        surround_lifespan(app, self.drain.start, self._stop)

    async def _stop(self) -> None:
        await self.drain.stop()
        if self.health is not None:
            self.health.close()

    async def problem(self) -> str | None:
        """Return what keeps the server from answering, or None if nothing does."""
        if self.traffic.closed is not None:
            return self.traffic.closed
        return None if self.health is None else await self.health.problem()
