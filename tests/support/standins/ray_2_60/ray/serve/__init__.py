"""The functions that a replica calls."""

from __future__ import annotations

from typing import Any

from ray.serve._private.common import ReplicaContext
from ray.serve.handle import DeploymentHandle

#: Set by tests.
deployments: dict[str, DeploymentHandle] = {}
context = ReplicaContext("app", "SageMakerIngress")


def get_replica_context() -> ReplicaContext:
    return context


def get_deployment_handle(name: str, app_name: str, **_: Any) -> DeploymentHandle:
    assert app_name == context.app_name
    return deployments[name]
