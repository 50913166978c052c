"""The ``Engine`` of TensorRT-LLM, for the core. Does not import TensorRT-LLM."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from model_hosting_container_standards.engines import Engine, EngineDescription

from . import hooks

if TYPE_CHECKING:
    from fastapi import FastAPI

    from model_hosting_container_standards.engines import EngineCommand, MovedNames

    from .runtime import TensorRTRuntime

#: Inference routes that parse the request themselves, so that it has no model class.
UNTYPED_ROUTES: Final = frozenset({"/v1/videos", "/v1/videos/generations"})


class TensorRTLLM(Engine):
    """The ``Engine`` of ``trtllm-serve``, for every release since 0.17."""

    description = EngineDescription(
        name="tensorrt_llm",
        health_path=hooks.HEALTH_PATH,
        invocation_paths={
            "messages": ["/v1/chat/completions"],
            "prompt": ["/v1/completions", "/v1/images/generations"],
            # A server of embeddings or of images has no other inference route.
            "input": ["/v1/embeddings", "/v1/responses"],
        },
        loads_adapters=True,
        # Each response has the statistics since the previous one.
        metrics_is_json=True,
    )

    def patch(self) -> None:
        hooks.patch()

    def owns(self, app: FastAPI) -> bool:
        # Set by the hook, without which requests do not support adapters.
        return hasattr(app.state, "openai_server")

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        # Imported late: only a server needs it.
        from model_hosting_container_standards.engines import find_inference_paths

        return find_inference_paths(app, _is_any, UNTYPED_ROUTES)

    def start(self, app: FastAPI) -> TensorRTRuntime:
        # Imported late: only a server needs it.
        from .runtime import TensorRTRuntime

        return TensorRTRuntime(app)

    @property
    def command(self) -> EngineCommand:
        # Imported late: only commands that start servers need it.
        from .command import TensorRTCommand

        return TensorRTCommand()

    @property
    def moved_names(self) -> MovedNames:
        # Imported late: only a server that loads a script needs it.
        from .moved_names import MOVED_NAMES

        return MOVED_NAMES


def _is_any(_module: str) -> bool:
    """Accept every module: all routes are methods of the server or its base classes."""
    return True


engine: Final = TensorRTLLM()
