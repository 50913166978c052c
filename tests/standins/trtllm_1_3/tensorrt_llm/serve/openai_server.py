"""The server of 1.3."""

from __future__ import annotations

import socket
from typing import Any

from standins.trtllm_common.llm import LLM
from standins.trtllm_common.modern import GeneratorServer, ServerArrivalTimeMiddleware


class OpenAIServer(GeneratorServer):
    def __init__(
        self,
        generator: LLM,
        model: str,
        tool_parser: str | None,
        server_role: Any,
        metadata_server_cfg: Any,
        disagg_cluster_config: Any = None,
        multimodal_server_config: Any = None,
        chat_template: str | None = None,
    ) -> None:
        self.generator = generator
        self.tokenizer = generator.tokenizer
        self.server_role = server_role
        self.binding_addr: str | None = None
        self.host: str | None = None
        self.port: int | None = None
        self.prepare(generator, model)
        if server_role == "MM_ENCODER":
            self.register_mm_encoder_routes()
        else:
            self.register_routes()
        self.app.add_middleware(ServerArrivalTimeMiddleware)

    async def __call__(
        self, host: str, port: int, sockets: list[socket.socket] | None = None
    ) -> None:
        self.binding_addr = f"http://{host}:{port}"
        self.host, self.port = host, port
        await self.serve(host, port, sockets)
