"""The functions that a replica calls."""

from __future__ import annotations

from ray.serve._private.common import ReplicaContext
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

#: Set by tests.
deployments: dict[str, DeploymentHandle] = {}
context = ReplicaContext("app", "SageMakerIngress")


def get_replica_context() -> ReplicaContext:
    return context


def get_deployment_handle(
    name: str, app_name: str, _check_exists: bool = True
) -> DeploymentHandle:
    assert app_name == context.app_name
    if _check_exists and name not in deployments:
        raise RayServeException(f"Deployment {name!r} does not exist.")
    return deployments.get(name) or DeploymentHandle(name)
