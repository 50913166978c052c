"""The server of main."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from standins.trtllm_common import answers
from standins.trtllm_common.llm import LLM
from standins.trtllm_common.modern import GeneratorServer
from tensorrt_llm.serve.openai_protocol import (
    AnthropicCountTokensRequest,
    AnthropicMessagesRequest,
    ChatCompletionRequest,
)


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
        allow_request_chat_template: bool = False,
        embedding_max_queue_delay: float = 0.005,
        embedding_max_queue_size: int = 2048,
        input_processor_workers: int = 8,
        media_load_workers: int = 8,
    ) -> None:
        self.generator = generator
        self.set_up(generator, model, server_role)

    def register_routes(self) -> None:
        super().register_routes()
        routes = {
            "/v1/messages": self.anthropic_messages,
            "/v1/messages/count_tokens": self.anthropic_count_tokens,
            "/_internal/tokenize": self.control,
        }
        self.add_routes("POST", routes)

    async def anthropic_messages(
        self, request: AnthropicMessagesRequest, raw_request: Request
    ) -> Response:
        """Answer as /v1/chat/completions does, in Anthropic's words; never streams."""
        chat = ChatCompletionRequest(
            model=request.model,
            messages=request.messages,
            max_completion_tokens=request.max_tokens,
        )
        answer = await self.chat(chat, raw_request)
        if answer.status_code != HTTPStatus.OK:
            return answer
        return JSONResponse(answers.message(self.model, json.loads(bytes(answer.body))))

    async def anthropic_count_tokens(
        self, request: AnthropicCountTokensRequest
    ) -> JSONResponse:
        return JSONResponse({"input_tokens": len(str(request.messages).split())})
