"""The ``Engine`` of Ray Serve LLM, for the core. Importing this does not import Ray."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from model_hosting_container_standards.engines import Engine, EngineDescription

if TYPE_CHECKING:
    from fastapi import FastAPI

    from model_hosting_container_standards.engines import SessionStorage

    from .runtime import RayRuntime

#: Packages with endpoints of an ingress: Ray's, and what this package overrides.
_PACKAGES: Final = ("ray.llm.", "mhcs.ray.")


class Ray(Engine):
    """The ``Engine`` of Ray Serve LLM's ingress, whose engines are in other replicas.

    It needs no patch: the ingress class calls ``bootstrap``.
    """

    description = EngineDescription(
        name="ray",
        invocation_paths={
            "messages": ["/v1/chat/completions"],
            "prompt": ["/v1/completions"],
            "input": ["/v1/embeddings"],
        },
        # Ray's ingress knows no adapters of ours.
        checks_models=False,
        loads_adapters=True,
        activated_by="ingress_cls: mhcs.ray:SageMakerIngress",
    )

    def owns(self, app: FastAPI) -> bool:
        # Imported late: only a server needs it.
        from model_hosting_container_standards.engines import iter_routes

        endpoints = (getattr(route, "endpoint", None) for route in iter_routes(app))
        modules = {getattr(endpoint, "__module__", None) for endpoint in endpoints}
        return any(_is_of_ray(module) for module in modules if module)

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        # Imported late: only a server needs it.
        from model_hosting_container_standards.engines import find_inference_paths

        return find_inference_paths(app, _is_of_ray)

    def session_storage(self, app: FastAPI) -> SessionStorage | None:
        # Imported late: only a server needs it.
        from .models import models_of
        from .sessions import ClusterSessions

        models = models_of(app)
        return None if models is None else ClusterSessions(models.application)

    def start(self, app: FastAPI) -> RayRuntime:
        # Imported late: only a server needs it.
        from .runtime import RayRuntime

        return RayRuntime(app)


def _is_of_ray(module: str) -> bool:
    return module.startswith(_PACKAGES)


engine: Final = Ray()
