"""The model replica, whose engine the tests give to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any


class LLMServer:
    engine: Any = None

    async def start(self) -> None:
        await self.engine.start()

    async def check_health(self) -> None:
        await self.engine.check_health()

    async def completions(self, request: Any, raw_request_info: Any) -> Any:
        return await self._run_request(
            request,
            engine_method="completions",
            batch_output_stream=True,
            raw_request_info=raw_request_info,
        )

    async def _run_request(
        self, request: Any, *, engine_method: str, **_: Any
    ) -> AsyncGenerator[Any, None]:
        outputs: AsyncGenerator[Any, None] = getattr(self.engine, engine_method)(
            request
        )
        return outputs
