"""What `mhcs.ray` uses of Ray 2.60, laid out as there; its processes are threads."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ray.actor import ActorClass, shutdown

__all__ = ["get_actor", "get_runtime_context", "remote", "shutdown"]

#: The id of Serve's controller, which tests may change.
controller_id = b"first"


def remote(cls: type) -> ActorClass:
    return ActorClass(cls)


def get_actor(name: str, namespace: str) -> Any:
    assert (name, namespace) == ("SERVE_CONTROLLER_ACTOR", "serve")
    return SimpleNamespace(_actor_id=controller_id)


def get_runtime_context() -> Any:
    return SimpleNamespace(gcs_address="192.0.2.1:6379")
