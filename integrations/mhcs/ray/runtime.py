"""The ``EngineRuntime`` of Ray Serve LLM's ingress."""

from __future__ import annotations

from model_hosting_container_standards.engines import (
    AdapterBackend,
    AdapterRegistry,
    ClusterRegistry,
    EngineRuntime,
)
from model_hosting_container_standards.exceptions import EngineUnhealthyError
from model_hosting_container_standards.settings import Settings

from .connection import ActorConnection
from .coordinator import CoordinatorHandle
from .health import ANSWER_S, health_of
from .ingress_adapters import IngressAdapters
from .models import models_of


class RayRuntime(EngineRuntime):
    """The runtime of an ingress, whose engines are in other replicas."""

    check_wait_s = ANSWER_S + 0.1

    def adapter_backend(self) -> IngressAdapters | None:
        models = models_of(self.app)
        return None if models is None else IngressAdapters(models)

    async def open_adapter_registry(
        self, backend: AdapterBackend | None, settings: Settings
    ) -> AdapterRegistry:
        """Join the coordinator, which all replicas of all machines share."""
        models = models_of(self.app)
        if models is None:
            return await super().open_adapter_registry(backend, settings)
        connection = ActorConnection(CoordinatorHandle(models.application))
        await connection.set_deployments(
            {name: handle.deployment_name for name, handle in models.handles.items()}
        )
        registry = ClusterRegistry(backend, connection, settings.adapters_root)
        await registry.start()
        return registry

    async def check(self) -> None:
        """Return once a replica of each model has answered.

        Raises:
            EngineUnhealthyError: a model has no replica that answers in time.
        """
        if problem := await health_of(self.app).problem():
            # Serve starts new replicas.
            raise EngineUnhealthyError(problem, keeps_server=True)
