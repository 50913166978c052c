"""Endpoints that get the raw request as well, and so see a client leave: since 0.20."""

from __future__ import annotations

import re
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from starlette.routing import Mount
from tensorrt_llm.serve.openai_protocol import ChatCompletionRequest, CompletionRequest

from standins.trtllm_common.serving import Server


class WatchingServer(Server):
    async def openai_completion(
        self, request: CompletionRequest, raw_request: Request
    ) -> Response:
        return await self.complete(request, raw_request)

    async def openai_chat(
        self, request: ChatCompletionRequest, raw_request: Request
    ) -> Response:
        return await self.chat(request, raw_request)

    async def health_generate(self) -> Response:
        """Run a generation of one token."""
        request = ChatCompletionRequest(
            model=self.model,
            messages=[{"role": "user", "content": "hi"}],
            max_completion_tokens=1,
        )
        answer = await self.chat(request, None)
        return Response(status_code=200 if answer.status_code == 200 else 500)

    async def get_kv_cache_events(self) -> Response:
        return Response("[]", media_type="application/json")

    def register_routes(self) -> None:
        self.register_common_routes()
        self.add_routes("GET", {"/health_generate": self.health_generate})
        routes = {
            "/kv_cache_events": self.get_kv_cache_events,
            "/v1/completions": self.openai_completion,
            "/v1/chat/completions": self.openai_chat,
        }
        self.add_routes("POST", routes)


class PrometheusServer(WatchingServer):
    """Since 1.0: hands adapters on, and has ``/prometheus/metrics`` if asked to."""

    def lora_of(self, request: Any) -> dict[str, Any]:
        return {"lora_request": getattr(request, "lora_request", None)}

    def mount_metrics(self) -> None:
        if not self.engine.args.return_perf_metrics:
            return
        mount = Mount("/prometheus/metrics", Response("trtllm_requests 0\n"))
        mount.path_regex = re.compile("^/prometheus/metrics(?P<path>.*)$")
        self.app.routes.append(mount)
