"""Servers of main: Anthropic's API, batches, metrics of each request."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, cast

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from tensorrt_llm.serve.openai_protocol import (
    AnthropicCountTokensRequest,
    AnthropicCreateBatchRequest,
    AnthropicMessagesRequest,
    ChatCompletionRequest,
    TokenizeRequest,
)

from standins.trtllm_common import answers, frontends
from standins.trtllm_common.llm import LLM
from standins.trtllm_common.modern import GeneratorServer


class PerfMetricsMiddleware:
    """Give every request a list for its metrics, which its handler requires."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {})["perf_metrics_records"] = []
        await self.app(scope, receive, send)


class OwnRoute(APIRoute):
    """Read bodies through another Request object, as main does for msgpack."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_own(request: Request) -> Response:
            return await handle(Request(request.scope, request.receive))

        return handle_own


class NewestServer(GeneratorServer):
    """The server of main since 2026."""

    has_signalled = False

    def set_up_app(self, model: str, server_role: Any) -> None:
        super().set_up_app(model, server_role)
        self.app.router.route_class = OwnRoute
        self.batches: dict[str, asyncio.Task[list[dict[str, Any]]]] = {}

    def bind_engine(self, engine: LLM) -> None:
        super().bind_engine(engine)
        self.has_perf_metrics = engine.args.return_perf_metrics

    def add_own_middleware(self) -> None:
        if self.has_perf_metrics:
            self.app.add_middleware(PerfMetricsMiddleware)
        super().add_own_middleware()

    def register_routes(self) -> None:
        frontends.forward_statistics(self.app)
        super().register_routes()
        routes = {
            "/v1/messages": self.anthropic_messages,
            "/v1/messages/count_tokens": self.anthropic_count_tokens,
            "/v1/messages/batches": self.anthropic_create_batch,
            "/_internal/tokenize": self.tokenize,
        }
        self.add_routes("POST", routes)
        results = "/v1/messages/batches/{batch_id}/results"
        self.add_routes("GET", {results: self.anthropic_batch_results})

    def note_metrics(self, raw_request: Request | None) -> None:
        super().note_metrics(raw_request)
        if self.engine.args.return_perf_metrics and raw_request is not None:
            raw_request.state.perf_metrics_records.append({})

    def meet_dead_engine(self) -> None:
        if not self.has_signalled:
            self.has_signalled = True
            signal.raise_signal(signal.SIGINT)

    async def anthropic_messages(
        self, request: AnthropicMessagesRequest, raw_request: Request
    ) -> Response:
        """Answer a chat in Anthropic's format; never streams."""
        answer = cast(Response | None, await self._chat_of(request, raw_request))
        if answer is None or answer.status_code != HTTPStatus.OK:
            return answer or answers.error("Internal server error", 500)
        body = json.loads(bytes(answer.body))
        return JSONResponse(answers.message(body["model"], body))

    def _chat_of(self, request: AnthropicMessagesRequest, raw_request: Request) -> Any:
        chat = ChatCompletionRequest(
            model=request.model,
            messages=request.messages,
            max_completion_tokens=request.max_tokens,
        )
        return self.openai_chat(chat, raw_request)

    async def anthropic_count_tokens(
        self, request: AnthropicCountTokensRequest
    ) -> JSONResponse:
        return JSONResponse({"input_tokens": len(str(request.messages).split())})

    async def anthropic_create_batch(
        self, request: AnthropicCreateBatchRequest
    ) -> JSONResponse:
        """Start a batch in the background."""
        key = f"msgbatch_{len(self.batches)}"
        work = asyncio.create_task(self._run_batch(request.requests))
        self.batches[key] = work
        return JSONResponse({"id": key, "processing_status": "in_progress"})

    async def _run_batch(
        self, requests: list[AnthropicMessagesRequest]
    ) -> list[dict[str, Any]]:
        state: dict[str, Any] = {"perf_metrics_records": []}
        scope = {"type": "http", "method": "POST", "headers": [], "state": state}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}"}

        results = []
        for request in requests:
            answer = await self._chat_of(request, Request(scope, receive))
            results.append(json.loads(bytes(answer.body)))
        return results

    async def anthropic_batch_results(self, batch_id: str) -> JSONResponse:
        return JSONResponse(await self.batches[batch_id])

    async def tokenize(self, request: TokenizeRequest) -> JSONResponse:
        tokens = [*range(len(request.prompt.split()))]
        return JSONResponse({"count": len(tokens), "tokens": tokens})
