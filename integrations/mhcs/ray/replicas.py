"""The replicas of a deployment, each of which can be asked."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Mapping
from typing import Any

from ray.serve._private.common import RequestMetadata
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


async def call_replica(actor: Any, method: str, *args: Any, **options: Any) -> Any:
    """Call a method of the class of a replica, and return its result.

    Raises:
        RayError: the replica has died, or the method has raised.
    """
    request_id = f"{method}-{uuid.uuid4()}"
    metadata = RequestMetadata(
        request_id=request_id, internal_request_id=request_id, call_method=method
    )
    return await actor.handle_request.remote(pickle.dumps(metadata), *args, **options)
