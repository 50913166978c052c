"""Handles of deployments; their replicas can be called one by one."""

from __future__ import annotations

import pickle
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

from ray.serve._private.common import DeploymentID, ReplicaID


class Method:
    def __init__(self, function: Callable[..., Awaitable[Any]]) -> None:
        self.remote = function


class Actor:
    """The actor of a replica, which calls the methods of its object."""

    def __init__(self, replica: Any) -> None:
        self.replica = replica
        self.check_health = Method(replica.check_health)
        self.handle_request = Method(self._handle_request)

    async def _handle_request(self, pickled: bytes, *args: Any) -> Any:
        method = pickle.loads(pickled).call_method
        return await getattr(self.replica, method)(*args)


class DeploymentHandle:
    """A handle, which knows its replicas once it has been initialized."""

    def __init__(self, name: str, **replicas: Any) -> None:
        self.deployment_id = DeploymentID(name)
        self._router: Any = None
        self._replicas = replicas
        self.knows_how_to_route = True

    @property
    def is_initialized(self) -> bool:
        return self._router is not None

    def _init(self) -> None:
        assert not self.is_initialized
        current = {
            ReplicaID(name, self.deployment_id): SimpleNamespace(
                replica_id=ReplicaID(name, self.deployment_id),
                _actor_handle=Actor(replica),
            )
            for name, replica in self._replicas.items()
        }
        router = SimpleNamespace(curr_replicas=current)
        self._router = SimpleNamespace(
            _asyncio_router=SimpleNamespace(
                request_router=router if self.knows_how_to_route else None
            )
        )

    async def completions(self, body: Any, headers: Any) -> AsyncGenerator[Any, None]:
        """Stream what the first replica answers."""
        replica = next(iter(self._replicas.values()))
        async for output in await replica.completions(body, headers):
            yield output
