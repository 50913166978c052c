"""The replicas of a deployment, each of which can be called."""

from __future__ import annotations

import asyncio
import pickle
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from ray.exceptions import RayError
from ray.serve._private.common import ReplicaID, RequestMetadata
from ray.serve.handle import DeploymentHandle

from model_hosting_container_standards.logging_config import get_logger

logger = get_logger(__name__)


def running_replicas(handle: DeploymentHandle) -> Mapping[ReplicaID, Any]:
    """Return the actors of the running replicas.

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
        replica.replica_id: replica._actor_handle
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


async def call_each(
    handles: Iterable[DeploymentHandle], method: str, *args: Any, seconds: float
) -> Mapping[ReplicaID, Any]:
    """Call a method of each running replica, and return the results.

    A replica that raises an error, ends or does not answer in time has no result.
    """
    calls = {
        replica: asyncio.ensure_future(call_replica(actor, method, *args))
        for handle in handles
        for replica, actor in running_replicas(handle).items()
    }
    if calls:
        await asyncio.wait(calls.values(), timeout=seconds)
    return {
        replica: call.result()
        for replica, call in calls.items()
        if _has_result(replica, call)
    }


def _has_result(replica: ReplicaID, call: asyncio.Task[Any]) -> bool:
    if not call.done():
        call.cancel()
        logger.warning("%s does not answer", replica)
        return False
    error = call.exception()
    if error is not None and not isinstance(error, RayError):
        raise error
    return error is None
