"""The server of 1.0."""

from __future__ import annotations

from typing import Any

from standins.trtllm_common.llm import LLM
from standins.trtllm_common.requests import PrometheusServer


class OpenAIServer(PrometheusServer):
    def __init__(
        self, llm: LLM, model: str, server_role: Any, metadata_server_cfg: Any
    ) -> None:
        self.llm = llm
        self.tokenizer = llm.tokenizer
        self.server_role = server_role
        self.binding_addr: str | None = None
        self.prepare(llm, model)
        self.register_routes()
        self.mount_metrics()

    async def __call__(self, host: str, port: int) -> None:
        self.binding_addr = f"http://{host}:{port}"
        await self.serve(host, port)
