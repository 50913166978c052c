"""vLLM, as the core sees it. Importing this does not import vLLM."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from fastapi import FastAPI

from model_hosting_container_standards.common.fastapi.routing import iter_routes

from .moved_names import MOVED_NAMES

#: The routes under /v1 that run a model, of all releases.
INFERENCE_PATHS: Final = frozenset(
    {
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/chat/completions",
        "/v1/chat/completions/batch",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/rerank",
        "/v1/responses",
        "/v1/score",
    }
)


class VLLM:
    """The ``Engine`` of vLLM, for every release since 0.6."""

    name: Final[str] = "vllm"
    health_path: Final[str] = "/health"
    adapter_path: Final[str] = "model"
    #: For 0.6, the last release line without an /invocations of its own.
    invocation_paths: Final[Mapping[str, str]] = {
        "messages": "/v1/chat/completions",
        "prompt": "/v1/completions",
        "input": "/v1/embeddings",
    }
    moved_names: Final[Mapping[str, Sequence[str]]] = MOVED_NAMES

    def owns(self, app: FastAPI) -> bool:
        return any(
            getattr(getattr(route, "endpoint", None), "__module__", "").startswith(
                "vllm."
            )
            for route in iter_routes(app)
        )

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        paths = {getattr(route, "path", None) for route in iter_routes(app)}
        return INFERENCE_PATHS & paths


engine: Final = VLLM()
