"""The server of 0.20 and 0.21."""

from __future__ import annotations

from typing import Any

from standins.trtllm_common.llm import LLM
from standins.trtllm_common.requests import WatchingServer


class OpenAIServer(WatchingServer):
    def __init__(
        self, llm: LLM, model: str, server_role: Any, metadata_server_cfg: Any
    ) -> None:
        self.llm = llm
        self.tokenizer = llm.tokenizer
        self.server_role = server_role
        self.binding_addr: str | None = None
        self.prepare(llm, model)
        self.register_routes()

    async def __call__(self, host: str, port: int) -> None:
        self.binding_addr = f"http://{host}:{port}"
        await self.serve(host, port)
