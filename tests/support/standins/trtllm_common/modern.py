"""Servers since 1.2: /v1/responses, a middleware, health."""

from __future__ import annotations

import socket
from collections import deque
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
from standins.trtllm_common.serving import FAILURES


class ServerArrivalTimeMiddleware:
    """Pure ASGI middleware, added last by ``__init__``; disconnects stay visible."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["server_arrival_time"] = 0.0
        await self.app(scope, receive, send)


class ModernServer(PrometheusServer):
    """The server since 1.2."""

    def set_up(self, engine: LLM, model: str, server_role: Any) -> None:
        """Set up the server; called by each release's ``__init__``."""
        self.set_up_app(model, server_role)
        self.bind_engine(engine)
        self.register_routes_of_role()
        self.add_own_middleware()

    def set_up_app(self, model: str, server_role: Any) -> None:
        """Do the part of the setup that needs no engine."""
        self.server_role = server_role
        self.binding_addr: str | None = None
        self.host: str | None = None
        self.port: int | None = None
        self.perf_metrics: deque[dict[str, Any]] = deque(maxlen=100)
        self.prepare_app(model)

    def bind_engine(self, engine: LLM) -> None:
        self.engine = engine
        self.tokenizer = engine.tokenizer

    def register_routes_of_role(self) -> None:
        if self.server_role == "MM_ENCODER":
            self.register_mm_encoder_routes()
        else:
            self.register_routes()

    def add_own_middleware(self) -> None:
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
        """Register the routes of ``mm_embedding_serve``."""
        self.register_common_routes()
        self.add_routes("POST", {"/v1/chat/completions": self.openai_mm_encoder})

    async def get_perf_metrics(self) -> JSONResponse:
        """Return the metrics of each request since the last call, and clear them."""
        metrics = [*self.perf_metrics]
        self.perf_metrics.clear()
        return JSONResponse(metrics)

    def note_metrics(self, raw_request: Request | None) -> None:
        super().note_metrics(raw_request)
        if self.engine.args.return_perf_metrics:
            state = {} if raw_request is None else raw_request.scope["state"]
            self.perf_metrics.append(
                {"server_arrival_time": state.get("server_arrival_time")}
            )

    async def openai_responses(
        self, request: ResponsesRequest, raw_request: Request
    ) -> Response:
        """Return the error of 1.2 for models other than gpt-oss."""
        return answers.error("Responses API only supports harmony format for now")

    async def openai_mm_encoder(
        self, request: ChatCompletionRequest, raw_request: Request
    ) -> Response:
        """Encode inputs that are not text, without the request's adapter."""
        try:
            promise = self.engine.generate_async(inputs="encoded")
            return JSONResponse(answers.chat(self.model, await promise))
        except FAILURES as error:
            return self.failed(error)


class GeneratorServer(ModernServer):
    """The server since 1.3: /health checks the engine, and routes serve training."""

    def register_routes(self) -> None:
        super().register_routes()
        # These do not generate.
        paths = ("/release_memory", "/resume_memory", "/update_weights")
        self.add_routes("POST", dict.fromkeys(paths, self.control))
        self.add_routes("GET", {"/server_info": self.get_server_info})

    async def openai_responses(
        self, request: ResponsesRequest, raw_request: Request
    ) -> Response:
        return await self.respond(request, raw_request)

    async def chat_body(self, model: str, promise: RequestOutput) -> dict[str, Any]:
        return (await self._create_chat_response(model, promise)).model_dump()

    async def _create_chat_response(
        self, model: str, promise: RequestOutput
    ) -> ChatCompletionResponse:
        """Return an object with a ``model`` although it is not a response."""
        return ChatCompletionResponse(**answers.chat(model, await promise))

    def lora_of(self, request: Any) -> dict[str, Any]:
        if isinstance(request, ResponsesRequest):
            return {}
        return super().lora_of(request)

    async def health(self) -> Response:
        if self.engine._check_health():
            return Response(status_code=200)
        self.meet_dead_engine()
        return Response("LLM is unavailable.", status_code=503)

    def meet_dead_engine(self) -> None:
        """End the server in later releases.

        1.3 sends no signal while the engine shuts down, which a dead one always does.
        """

    def validation_error(self, message: str) -> Response:
        return JSONResponse({"error": message}, status_code=400)

    async def control(self) -> JSONResponse:
        return JSONResponse({"status": "success"})

    async def get_server_info(self) -> JSONResponse:
        return JSONResponse({"disaggregated_params": {}})
