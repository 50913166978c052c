"""Handles of deployments; their replicas can be called one by one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pickle
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

from ray.actor import Method, ObjectRef, Process, failed
from ray.exceptions import ActorUnavailableError
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.exceptions import RayServeException


class Actor:
    """The actor of a replica, which calls the methods of its object."""

    def __init__(self, replica: Any) -> None:
        self.replica = replica
        self.process = Process()
        #: Whether calls fail, as in a network that is down.
        self.is_cut_off = False
        self.check_health = Method(lambda: self._call(replica.check_health))
        self.handle_request = Method(
            lambda *args, **options: self._call(self._handle_request, *args, **options)
        )

    def _call(self, function: Any, *args: Any, **options: Any) -> ObjectRef:
        if self.is_cut_off:
            return failed(ActorUnavailableError("It cannot be reached."))
        return self.process.call(function, *args, **options)

    async def _handle_request(self, pickled: bytes, *args: Any, **options: Any) -> Any:
        return await self._method(pickle.loads(pickled).call_method)(*args, **options)

    def _method(self, name: str) -> Any:
        if not hasattr(self.replica, name):
            raise RayServeException(f"Tried to call {name!r} that does not exist.")
        return getattr(self.replica, name)

    def run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Run a function in the process of the replica, and return its result."""
        return self.process.call(function, *args).future().result()

    async def stream(self, method: str, *args: Any) -> AsyncGenerator[Any, None]:
        """Yield the outputs of a method."""
        outputs: asyncio.Queue[Any] = asyncio.Queue()
        loop, end = asyncio.get_running_loop(), object()

        def put(output: Any) -> None:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(outputs.put_nowait, output)

        async def produce(*args: Any) -> None:
            async with aclosing(await self._method(method)(*args)) as produced:
                async for output in produced:
                    put(output)

        call = self.process.call(produce, *args)
        call.future().add_done_callback(lambda _: put(end))
        try:
            while (output := await outputs.get()) is not end:
                yield output
            await call
        finally:
            self.process.cancel(call)


class DeploymentHandle:
    """A handle, which knows its replicas once it has been initialized."""

    def __init__(self, name: str, **replicas: Any) -> None:
        self.deployment_id = DeploymentID(name)
        self._router: Any = None
        self.knows_how_to_route = True
        #: The actors of the running replicas, which tests may change.
        self.actors: dict[str, Actor] = {}
        self._current: dict[ReplicaID, Any] = {}
        self._turns = itertools.count()
        for replica_name, replica in replicas.items():
            self.add(replica_name, Actor(replica))

    @property
    def deployment_name(self) -> str:
        name: str = self.deployment_id.name
        return name

    @property
    def is_initialized(self) -> bool:
        return self._router is not None

    def add(self, name: str, actor: Actor) -> None:
        """Add a replica that has started."""
        self.actors[name] = actor
        replica_id = ReplicaID(name, self.deployment_id)
        self._current[replica_id] = SimpleNamespace(
            replica_id=replica_id, _actor_handle=actor
        )

    def remove(self, name: str) -> None:
        """Remove a replica, as soon as Serve knows that it has ended."""
        del self.actors[name]
        del self._current[ReplicaID(name, self.deployment_id)]

    def _init(self) -> None:
        assert not self.is_initialized
        router = SimpleNamespace(curr_replicas=self._current)
        self._router = SimpleNamespace(
            _asyncio_router=SimpleNamespace(
                request_router=router if self.knows_how_to_route else None
            )
        )

    def __getattr__(self, method: str) -> Method:
        if method.startswith("_"):
            raise AttributeError(method)
        return Method(lambda *args: self._stream(method, *args))

    def _stream(self, method: str, *args: Any) -> AsyncGenerator[Any, None]:
        """Stream what a replica answers; each in turn."""
        actors = [*self.actors.values()]
        return actors[next(self._turns) % len(actors)].stream(method, *args)
