"""The ``Engine`` of SGLang, for the core. Importing this does not import SGLang."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from model_hosting_container_standards.engines import Engine, EngineDescription

from . import hooks

if TYPE_CHECKING:
    from fastapi import FastAPI

    from model_hosting_container_standards.engines import EngineCommand

    from .runtime import SGLangRuntime

#: SGLang's own route for a prompt.
GENERATE: Final = "/generate"
#: Inference routes whose requests are no models with a field for the model's name.
_UNTYPED: Final = (
    GENERATE,
    "/classify",
    "/encode",
    "/v1/audio/transcriptions",
    "/v1/rerank",
    "/vertex_generate",
)
_DECISIONS: Final = "/v1/systemone"


class SGLang(Engine):
    """The ``Engine`` of SGLang's HTTP server."""

    description = EngineDescription(
        name="sglang",
        invocation_paths={
            "messages": ["/v1/chat/completions"],
            "prompt": ["/v1/completions"],
            "input": ["/v1/embeddings"],
            "text": [GENERATE],
            "input_ids": [GENERATE],
        },
        # SGLang's own takes chats only.
        replaces_invocations=True,
        checks_models=False,
        loads_adapters=True,
    )

    def patch(self) -> None:
        hooks.patch()

    def problems(self) -> Iterable[str]:
        if hooks.uses_rust_server():
            yield hooks.RUST_PROBLEM

    def loads_plugins(self) -> bool:
        return hooks.loads_plugins()

    def owns(self, app: FastAPI) -> bool:
        return hooks.is_server_app(app)

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        # Imported late: only a server needs it.
        from model_hosting_container_standards.engines import find_inference_paths

        # SGLang's warm-up names no model of the server in requests for decisions.
        return find_inference_paths(app, _is_of_sglang, _UNTYPED) - {_DECISIONS}

    def api_keys(self, app: FastAPI) -> Collection[str]:
        arguments = hooks.server_args(app)
        keys = (getattr(arguments, name, None) for name in ("api_key", "admin_api_key"))
        return [key for key in keys if key]

    def start(self, app: FastAPI) -> SGLangRuntime:
        # Imported late: only a server needs it.
        from .runtime import SGLangRuntime

        return SGLangRuntime(app)

    @property
    def command(self) -> EngineCommand:
        # Imported late: only commands that start servers need it.
        from .command import SGLangCommand

        return SGLangCommand()


def _is_of_sglang(module: str) -> bool:
    return module.startswith("sglang.")


engine: Final = SGLang()
