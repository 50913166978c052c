"""Endpoints since 0.20: they get the raw request too, and notice disconnects."""

from __future__ import annotations

import os
import re
import tempfile
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response
from starlette.routing import Mount
from tensorrt_llm.serve.openai_protocol import ChatCompletionRequest, CompletionRequest

from standins.trtllm_common.serving import Server

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"


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
    """The server since 1.0: it uses adapters, and can have ``/prometheus/metrics``."""

    def lora_of(self, request: Any) -> dict[str, Any]:
        return {"lora_request": request.lora_request}

    def mount_metrics(self) -> None:
        """Mount the metrics of all processes, and set the folder of their files."""
        if not self.engine.args.return_perf_metrics:
            return
        if FOLDER not in os.environ:
            self._folder = tempfile.TemporaryDirectory()
            os.environ[FOLDER] = self._folder.name
        # Imported only now: if the folder is not set, counts stay in memory.
        from prometheus_client import CollectorRegistry, Counter, make_asgi_app
        from prometheus_client.multiprocess import MultiProcessCollector

        self._success = Counter("trtllm_request_success", "Successful requests.")
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        mount = Mount("/prometheus/metrics", make_asgi_app(registry=registry))
        mount.path_regex = re.compile("^/prometheus/metrics(?P<path>.*)$")
        self.app.routes.append(mount)

    def note_metrics(self, raw_request: Request | None) -> None:
        if self.engine.args.return_perf_metrics:
            self._success.inc()
