"""The ``EngineRuntime`` of SGLang."""

from __future__ import annotations

import sys
from typing import Any

from fastapi import FastAPI

from model_hosting_container_standards.engines import EngineRuntime

from .adapters import SGLangAdapters
from .health import EngineProbe
from .hooks import SERVER_MODULE
from .shutdown import start_engine_loop


class SGLangRuntime(EngineRuntime):
    """The runtime of SGLang's app, whose engine is in a global of the app's module.

    It reports no processes: a scheduler uses CPU time even when it is idle.
    """

    def __init__(self, app: FastAPI) -> None:
        super().__init__(app)
        self._manager: Any = tokenizer_manager()
        self._probe = EngineProbe(self._manager)
        # Set by SGLang, which starts several processes for several workers.
        is_only_process = getattr(app, "is_single_tokenizer_mode", False)
        start_engine_loop(self._manager, is_only_process=is_only_process)

    def adapter_backend(self) -> SGLangAdapters:
        return SGLangAdapters(self.app, self._manager)

    def max_concurrency(self) -> int | None:
        # Unset by default: a scheduler then derives it from its memory.
        return getattr(self._manager.server_args, "max_running_requests", None)

    async def check(self) -> None:
        await self._probe.check()

    async def probe_generation(self) -> None:
        await self._probe.generate()


def tokenizer_manager() -> Any:
    """Return the engine's client in this server process."""
    return sys.modules[SERVER_MODULE].get_global_state().tokenizer_manager
