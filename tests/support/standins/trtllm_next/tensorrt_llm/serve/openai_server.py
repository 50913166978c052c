"""The server is made before its engine, and gets its routes once the engine runs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from standins.trtllm_common.llm import LLM
from standins.trtllm_common.newest import NewestServer
from standins.trtllm_common.readiness import (
    ReadinessGate,
    ReadinessMiddleware,
    run_in_daemon_thread,
)


class OpenAIServer(NewestServer):
    def __init__(
        self,
        generator: LLM | None = None,
        model: str = "",
        tool_parser: str | None = None,
        server_role: Any = None,
        metadata_server_cfg: Any = None,
        generator_factory: Callable[[], LLM] | None = None,
        return_perf_metrics: bool = False,
    ) -> None:
        self.generator: LLM | None = None
        self._generator_factory = generator_factory
        self._gate = ReadinessGate()
        self._failure: BaseException | None = None
        self.set_up_app(model, server_role)
        self.has_perf_metrics = return_perf_metrics
        self.add_own_middleware()
        self.app.add_middleware(ReadinessMiddleware, gate=self._gate)
        if generator is not None:
            self._bind_generator(generator)
            self._register_routes_for_role()
            self._gate.is_ready = True

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        initializing = asyncio.create_task(self._initialize())
        yield
        initializing.cancel()
        if self.generator is not None:
            self.generator.shutdown()

    async def _initialize(self) -> None:
        if self._generator_factory is None:
            return
        try:
            generator = await run_in_daemon_thread(self._generator_factory)
            self._bind_generator(generator)
            self._register_routes_for_role()
        except Exception as error:  # noqa: BLE001 - it ends the server, by __call__
            self._failure = error
            self.server.should_exit = True
        else:
            self._gate.is_ready = True

    def _bind_generator(self, generator: LLM) -> None:
        self.generator = generator
        self.bind_engine(generator)

    def _register_routes_for_role(self) -> None:
        self.register_routes_of_role()

    async def __call__(
        self, host: str, port: int, sockets: list[socket.socket] | None = None
    ) -> None:
        await super().__call__(host, port, sockets)
        if self._failure is not None:
            raise self._failure
