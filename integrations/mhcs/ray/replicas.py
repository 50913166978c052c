"""The replicas of a deployment, each of which can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.serve.handle import DeploymentHandle


def running_replicas(handle: DeploymentHandle) -> Mapping[str, Any]:
    """Return the actors of the running replicas, by the names of the actors.

    Serve has no interface for it: Ray's own ``/sleep`` finds them in the same way.
    """
    if not handle.is_initialized:
        handle._init()
    router = handle._router
    # With a loop of its own, as by default, the router is behind another object.
    router = getattr(router, "_asyncio_router", router)
    request_router = getattr(router, "request_router", None)
    if request_router is None:
        return {}  # The controller has not yet said how to route.
    return {
        replica.replica_id.to_full_id_str(): replica._actor_handle
        for replica in [*request_router.curr_replicas.values()]
    }
