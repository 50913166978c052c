"""The ``EngineRuntime`` of SGLang."""

from __future__ import annotations

import sys
from typing import Any

from fastapi import FastAPI

from model_hosting_container_standards.engines import EngineRuntime

from .adapters import SGLangAdapters
from .health import EngineProbe
from .hooks import SERVER_MODULE
from .shutdown import stop_promptly


class SGLangRuntime(EngineRuntime):
    """The runtime of SGLang's app, whose engine is in a global of the app's module.

    It reports no processes: a scheduler uses CPU time even when it is idle.
    """

    def __init__(self, app: FastAPI) -> None:
        super().__init__(app)
        self._manager: Any = tokenizer_manager()
        self._probe = EngineProbe(self._manager)
        stop_promptly(self._manager)
        # It installs SGLang's signal handlers: before ours, which run them later.
        self._manager.auto_create_handle_loop()

    def adapter_backend(self) -> SGLangAdapters:
        return SGLangAdapters(self._manager)

    async def check(self) -> None:
        await self._probe.check()

    async def probe_generation(self) -> None:
        await self._probe.generate()


def tokenizer_manager() -> Any:
    """Return the engine's client in this server process."""
    return sys.modules[SERVER_MODULE].get_global_state().tokenizer_manager
