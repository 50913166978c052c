"""The server of 1.3."""

from __future__ import annotations

from typing import Any

from standins.trtllm_common.llm import LLM
from standins.trtllm_common.modern import GeneratorServer


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
        self.set_up(generator, model, server_role)
