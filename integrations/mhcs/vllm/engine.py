"""vLLM, as the core sees it. Importing this does not import vLLM."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from . import hooks

if TYPE_CHECKING:
    from fastapi import FastAPI

    from model_hosting_container_standards.adapters.backend import AdapterBackend
    from model_hosting_container_standards.customer_code.moved_names import MovedNames
    from model_hosting_container_standards.engines.command import EngineCommand

#: What vLLM takes for its ``--api-key`` where there is none.
_API_KEY: Final = "VLLM_API_KEY"


class VLLM:
    """The ``Engine`` of vLLM, for every release since 0.6."""

    name: Final[str] = "vllm"
    health_path: Final[str] = "/health"
    adapter_path: Final[str] = "model"
    metrics_is_json: Final[bool] = False
    #: For 0.6, the last release line without an /invocations of its own.
    invocation_paths: Final[Mapping[str, Sequence[str]]] = {
        "messages": ["/v1/chat/completions"],
        "prompt": ["/v1/completions"],
        "input": ["/v1/embeddings"],
    }

    @property
    def moved_names(self) -> MovedNames:
        # Imported late: only a server that loads a script needs the table.
        from .moved_names import moved_names

        return moved_names()

    @property
    def command(self) -> EngineCommand:
        # Imported late, as only what starts servers needs it.
        from .command import VLLMCommand

        return VLLMCommand()

    def patch(self) -> None:
        hooks.patch()

    def problems(self) -> Iterable[str]:
        if hooks.uses_rust_frontend():
            yield hooks.RUST_PROBLEM

    def api_keys(self, app: FastAPI) -> Collection[str]:
        # One up to 0.9, and several since.
        given = getattr(getattr(app.state, "args", None), "api_key", None)
        keys = [given] if isinstance(given, str) else given or []
        return [key for key in keys or [os.environ.get(_API_KEY, "")] if key]

    def adapter_backend(self, app: FastAPI) -> AdapterBackend:
        # Imported late, as all that only a server needs.
        from .adapters import VLLMAdapters

        return VLLMAdapters(app)

    async def check(self, app: FastAPI) -> None:
        # Imported late, as all that only a server needs.
        from .health import check

        await check(getattr(app.state, "engine_client", None))

    async def probe_generation(self, app: FastAPI) -> None:
        from .health import probe_generation

        await probe_generation(getattr(app.state, "engine_client", None))

    def processes(self, app: FastAPI) -> Collection[int]:  # noqa: ARG002 - one a server
        from .processes import engine_processes

        return engine_processes()

    def owns(self, app: FastAPI) -> bool:
        endpoints = (getattr(route, "endpoint", None) for route in _routes(app))
        modules = {getattr(endpoint, "__module__", None) for endpoint in endpoints}
        return any(_is_of_vllm(module) for module in modules if module)

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        # Imported late, as all that only a server needs.
        from model_hosting_container_standards.asgi.inference_paths import (
            find_inference_paths,
        )

        return find_inference_paths(app, _is_of_vllm)


def _is_of_vllm(module: str) -> bool:
    if module == "__main__":  # python -m vllm.entrypoints.openai.api_server
        spec = getattr(sys.modules[module], "__spec__", None)
        module = spec.name if spec is not None else module
    return module.startswith("vllm.")


def _routes(app: FastAPI) -> Iterator[Any]:
    # Imported late: vLLM's workers load this module too, and need no FastAPI.
    from model_hosting_container_standards.asgi.routing import iter_routes

    return iter_routes(app)


engine: Final = VLLM()
