"""The server of 1.2."""

from __future__ import annotations

from typing import Any

from standins.trtllm_common.llm import LLM
from standins.trtllm_common.modern import ModernServer


class OpenAIServer(ModernServer):
    def __init__(
        self,
        llm: LLM,
        model: str,
        tool_parser: str | None,
        server_role: Any,
        metadata_server_cfg: Any,
        disagg_cluster_config: Any = None,
        multimodal_server_config: Any = None,
        chat_template: str | None = None,
    ) -> None:
        self.llm = llm
        self.set_up(llm, model, server_role)
