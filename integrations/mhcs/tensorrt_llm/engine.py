"""TensorRT-LLM, as the core sees it. Importing this does not import TensorRT-LLM."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from model_hosting_container_standards.engines import Engine, EngineDescription

from . import hooks

if TYPE_CHECKING:
    from fastapi import FastAPI

    from model_hosting_container_standards.engines import EngineCommand, MovedNames

    from .runtime import TensorRTRuntime

#: Routes that run a model, but read their request by themselves.
READ_BY_THEMSELVES: Final = frozenset({"/v1/videos", "/v1/videos/generations"})


class TensorRTLLM(Engine):
    """The ``Engine`` of ``trtllm-serve``, for every release since 0.17."""

    description = EngineDescription(
        name="tensorrt_llm",
        health_path=hooks.HEALTH_PATH,
        invocation_paths={
            "messages": ["/v1/chat/completions"],
            "prompt": ["/v1/completions", "/v1/images/generations"],
            # A server that embeds, or makes images, does nothing else.
            "input": ["/v1/embeddings", "/v1/responses"],
        },
        loads_adapters=True,
        # Each time it is what has come since the last time.
        metrics_is_json=True,
    )

    def patch(self) -> None:
        hooks.patch()

    def owns(self, app: FastAPI) -> bool:
        # As the hook has left it: without that, its requests do not know of adapters.
        return hasattr(app.state, "openai_server")

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        # Imported late, as all that only a server needs.
        from model_hosting_container_standards.engines import (
            find_inference_paths,
            find_routes,
        )

        found = find_inference_paths(app, _is_any)
        unseen = (p for p in READ_BY_THEMSELVES if find_routes(app, p, ["POST"]))
        return found.union(unseen)

    def start(self, app: FastAPI) -> TensorRTRuntime:
        # Imported late, as all that only a server needs.
        from .runtime import TensorRTRuntime

        return TensorRTRuntime(app)

    @property
    def command(self) -> EngineCommand:
        # Imported late, as only what starts servers needs it.
        from .command import TensorRTCommand

        return TensorRTCommand()

    @property
    def moved_names(self) -> MovedNames:
        # Imported late, as all that only a server needs.
        from .moved_names import MOVED_NAMES

        return MOVED_NAMES


def _is_any(_module: str) -> bool:
    """The app is the server's own: its routes are methods of that, or of its bases."""
    return True


engine: Final = TensorRTLLM()
