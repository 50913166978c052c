"""The ``EngineRuntime`` of Ray Serve LLM's ingress."""

from __future__ import annotations

from model_hosting_container_standards.engines import EngineRuntime
from model_hosting_container_standards.exceptions import EngineUnhealthyError

from .health import ANSWER_S, health_of


class RayRuntime(EngineRuntime):
    """The runtime of an ingress, whose engines are in other replicas."""

    check_wait_s = ANSWER_S + 0.1

    async def check(self) -> None:
        """Return once a replica of each model has answered.

        Raises:
            EngineUnhealthyError: a model has no replica that answers in time.
        """
        if problem := await health_of(self.app).problem():
            # Serve starts new replicas.
            raise EngineUnhealthyError(problem, keeps_server=True)
