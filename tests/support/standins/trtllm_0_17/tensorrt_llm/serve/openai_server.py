"""The server of 0.17 to 0.19: its endpoints do not get the raw request."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from standins.trtllm_common.llm import LLM
from standins.trtllm_common.serving import Server
from tensorrt_llm.serve.openai_protocol import ChatCompletionRequest, CompletionRequest


class OpenAIServer(Server):
    def __init__(self, llm: LLM, model: str, hf_tokenizer: Any = None) -> None:
        self.llm = llm
        self.tokenizer = hf_tokenizer
        self.prepare(llm, model)
        self.register_routes()

    def register_routes(self) -> None:
        self.register_common_routes()
        routes = {
            "/v1/completions": self.openai_completion,
            "/v1/chat/completions": self.openai_chat,
        }
        self.add_routes("POST", routes)

    async def openai_completion(self, request: CompletionRequest) -> Response:
        return await self.complete(request, None)

    async def openai_chat(self, request: ChatCompletionRequest) -> Response:
        return await self.chat(request, None)

    async def __call__(self, host: str, port: int) -> None:
        await self.serve(host, port)
