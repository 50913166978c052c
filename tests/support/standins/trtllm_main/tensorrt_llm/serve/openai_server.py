"""The server of main."""

from __future__ import annotations

from typing import Any

from standins.trtllm_common.llm import LLM
from standins.trtllm_common.newest import NewestServer


class OpenAIServer(NewestServer):
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
        allow_request_chat_template: bool = False,
        embedding_max_queue_delay: float = 0.005,
        embedding_max_queue_size: int = 2048,
        input_processor_workers: int = 8,
        media_load_workers: int = 8,
    ) -> None:
        self.generator = generator
        self.set_up(generator, model, server_role)
