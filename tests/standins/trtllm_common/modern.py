"""What servers have gained since 1.2: responses, a middleware, health."""

from __future__ import annotations

import socket
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from tensorrt_llm.serve.openai_protocol import ChatCompletionRequest, ResponsesRequest

from standins.trtllm_common import answers
from standins.trtllm_common.llm import LLM
from standins.trtllm_common.output import RequestOutput
from standins.trtllm_common.protocol import ChatCompletionResponse
from standins.trtllm_common.requests import PrometheusServer


class ServerArrivalTimeMiddleware:
    """Pure ASGI, added last by ``__init__``: it never stands between us and a leave."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["server_arrival_time"] = 0.0
        await self.app(scope, receive, send)


class ModernServer(PrometheusServer):
    """Since 1.2."""

    def set_up(self, engine: LLM, model: str, server_role: Any) -> None:
        """Do what constructors do, whatever they call their engine."""
        self.tokenizer = engine.tokenizer
        self.server_role = server_role
        self.binding_addr: str | None = None
        self.host: str | None = None
        self.port: int | None = None
        self.prepare(engine, model)
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

    def register_routes(self) -> None:
        super().register_routes()
        self.add_routes("GET", {"/perf_metrics": self.get_perf_metrics})
        self.add_routes("POST", {"/v1/responses": self.openai_responses})
        self.mount_metrics()

    def register_mm_encoder_routes(self) -> None:
        """The few routes of ``mm_embedding_serve``."""
        self.register_common_routes()
        self.add_routes("POST", {"/v1/chat/completions": self.openai_mm_encoder})

    async def get_perf_metrics(self) -> JSONResponse:
        return JSONResponse([])

    async def openai_responses(
        self, request: ResponsesRequest, raw_request: Request
    ) -> Response:
        return await self.respond(request, raw_request)

    async def openai_mm_encoder(
        self, request: ChatCompletionRequest, raw_request: Request
    ) -> Response:
        return await self.chat(request, raw_request)


class GeneratorServer(ModernServer):
    """Since 1.3: health that looks at the engine, and what training asks for."""

    def register_routes(self) -> None:
        super().register_routes()
        # None of them generates.
        paths = ("/release_memory", "/resume_memory", "/update_weights")
        self.add_routes("POST", dict.fromkeys(paths, self.control))
        self.add_routes("GET", {"/server_info": self.get_server_info})

    async def chat_body(self, promise: RequestOutput) -> dict[str, Any]:
        return (await self._create_chat_response(promise)).model_dump()

    async def _create_chat_response(
        self, promise: RequestOutput
    ) -> ChatCompletionResponse:
        """Answer no request, and return what has a ``model`` all the same."""
        return ChatCompletionResponse(**answers.chat(self.model, await promise))

    def lora_of(self, request: Any) -> dict[str, Any]:
        if isinstance(request, ResponsesRequest):
            return {}
        return super().lora_of(request)

    async def health(self) -> Response:
        if self.engine._check_health():
            return Response(status_code=200)
        return Response("LLM is unavailable.", status_code=503)

    def validation_error(self, message: str) -> Response:
        return JSONResponse({"error": message}, status_code=400)

    async def control(self) -> JSONResponse:
        return JSONResponse({"status": "success"})

    async def get_server_info(self) -> JSONResponse:
        return JSONResponse({"disaggregated_params": {}})
