"""The ``Engine`` of vLLM, for the core. Importing this does not import vLLM."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from model_hosting_container_standards.engines import Engine, EngineDescription

from . import hooks

if TYPE_CHECKING:
    from fastapi import FastAPI

    from model_hosting_container_standards.engines import EngineCommand, MovedNames

    from .runtime import VLLMRuntime

#: vLLM's default for ``--api-key``.
_API_KEY: Final = "VLLM_API_KEY"


class VLLM(Engine):
    """The ``Engine`` of vLLM, for every release since 0.6."""

    description = EngineDescription(
        name="vllm",
        # For 0.6, the last release line without its own /invocations.
        invocation_paths={
            "messages": ["/v1/chat/completions"],
            "prompt": ["/v1/completions"],
            "input": ["/v1/embeddings"],
        },
        loads_adapters=True,
    )

    def patch(self) -> None:
        hooks.patch()

    def problems(self) -> Iterable[str]:
        if hooks.uses_rust_frontend():
            yield hooks.RUST_PROBLEM

    def owns(self, app: FastAPI) -> bool:
        endpoints = (getattr(route, "endpoint", None) for route in _routes(app))
        modules = {getattr(endpoint, "__module__", None) for endpoint in endpoints}
        return any(_is_of_vllm(module) for module in modules if module)

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        # Imported late: only a server needs it.
        from model_hosting_container_standards.engines import find_inference_paths

        return find_inference_paths(app, _is_of_vllm)

    def api_keys(self, app: FastAPI) -> Collection[str]:
        # A string up to 0.9, a list since.
        given = getattr(getattr(app.state, "args", None), "api_key", None)
        keys = [given] if isinstance(given, str) else given or []
        return [key for key in keys or [os.environ.get(_API_KEY, "")] if key]

    def start(self, app: FastAPI) -> VLLMRuntime:
        # Imported late: only a server needs it.
        from .runtime import VLLMRuntime

        return VLLMRuntime(app)

    @property
    def command(self) -> EngineCommand:
        # Imported late: only commands that start servers need it.
        from .command import VLLMCommand

        return VLLMCommand()

    @property
    def moved_names(self) -> MovedNames:
        # Imported late: only a server that loads a script needs the table.
        from .moved_names import moved_names

        return moved_names()


def _is_of_vllm(module: str) -> bool:
    if module == "__main__":  # python -m vllm.entrypoints.openai.api_server
        spec = getattr(sys.modules[module], "__spec__", None)
        module = spec.name if spec is not None else module
    return module.startswith("vllm.")


def _routes(app: FastAPI) -> Iterator[Any]:
    # Imported late: vLLM's workers load this module too, but do not need FastAPI.
    from model_hosting_container_standards.engines import iter_routes

    return iter_routes(app)


engine: Final = VLLM()
