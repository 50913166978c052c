"""The actor that keeps the adapters and sessions of an application of Ray Serve."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import ray
from prometheus_client import Metric
from starlette.concurrency import run_in_threadpool

from model_hosting_container_standards.engines import AdapterSpec, Coordinator
from model_hosting_container_standards.exceptions import (
    AdapterError,
    SessionNotFoundError,
    StorageError,
)
from model_hosting_container_standards.logging_config import get_logger
from model_hosting_container_standards.settings import read_settings

from .journal import GCSJournal
from .model_adapters import ModelAdapters
from .process import end_process, read_own_metrics
from .serve_instance import serve_instance

logger = get_logger(__name__)

_NAMESPACE: Final = "model-hosting-container-standards"
_DEPLOYMENTS: Final = "deployments"
#: Methods of the table of sessions that never wait.
_READS: Final = frozenset({"find", "get"})
#: Calls at once: each member always has one that waits.
_CONCURRENCY: Final = 10_000


class CoordinatorActor:
    """Runs a ``Coordinator``. Errors are returned: Ray adds tracebacks to raised ones.

    Args:
        application: the name of the application.
    """

    def __init__(self, application: str) -> None:
        # Nothing that can fail: Ray restarts no actor whose constructor has failed.
        self._application = application
        self._coordinator: Coordinator | None = None
        self._starting = asyncio.Lock()

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method of the coordinator; return its result or its error."""
        try:
            coordinator = await self._started()
            result = getattr(coordinator, method)(*args)
            return await result if inspect.isawaitable(result) else result
        except (AdapterError, StorageError) as error:
            return error

    async def call_sessions(self, method: str, *args: Any) -> Any:
        """Call a method of the table of sessions; return its result or its error."""
        try:
            call = getattr((await self._started()).sessions, method)
            if method in _READS:
                return call(*args)
            # In a thread, as it waits for the journal.
            return await run_in_threadpool(call, *args)
        except (SessionNotFoundError, StorageError) as error:
            return error

    async def read_metrics(self) -> Sequence[Metric]:
        """Return the metrics of this process, for the page of the ingress."""
        return read_own_metrics()

    async def _started(self) -> Coordinator:
        async with self._starting:
            if self._coordinator is None:
                coordinator = self._make()
                try:
                    await coordinator.restore()
                except BaseException:
                    # Its tasks would write what they know, beside the next one.
                    await coordinator.close()
                    raise
                self._coordinator = coordinator
            return self._coordinator

    def _make(self) -> Coordinator:
        journal = GCSJournal(self._application)
        adapters = ModelAdapters(self._application)
        if deployments := journal.entries(_DEPLOYMENTS).get(""):
            adapters.set_deployments(msgspec.json.decode(deployments))
        return RayCoordinator(adapters, journal, read_settings().adapters_root)


class RayCoordinator(Coordinator):
    """A coordinator that finds the model which loads adapters when it needs it."""

    def __init__(
        self, adapters: ModelAdapters, journal: GCSJournal, root: Path | None
    ) -> None:
        super().__init__(adapters, journal, root)
        self._journal = journal
        self._model = adapters
        self._serve = serve_instance()

    async def set_deployments(self, deployments: Mapping[str, str]) -> None:
        """Set the names of the models' deployments, by the names of the models.

        Adapters of a model that is not among them have to be loaded again.

        Raises:
            StorageError: the journal cannot be written.
        """
        if await run_in_threadpool(serve_instance) != self._serve:
            # After `serve shutdown`: no handle of this process reaches new replicas.
            # Another one reads the journal, and the caller tries again.
            logger.info("Another instance of Serve runs: the coordinator starts again")
            end_process()
        names = msgspec.json.encode(deployments)
        await run_in_threadpool(self._journal.put, _DEPLOYMENTS, names)
        self._model.set_deployments(deployments)
        await run_in_threadpool(self.adapters.unload_others, [*deployments])

    async def register(self, spec: AdapterSpec, by_handler: bool) -> None:
        if not by_handler:
            await self._model.find()
        await super().register(spec, by_handler)

    async def update(self, name: str, pin: bool | None, preload: bool | None) -> None:
        if not self.adapters.get(name).by_handler:
            await self._model.find()
        await super().update(name, pin, preload)

    async def load_on_first_use(self, name: str) -> None:
        await self._model.find()
        await super().load_on_first_use(name)


class CoordinatorHandle:
    """A handle of an application's coordinator.

    Args:
        application: the name of the application in Ray Serve.
    """

    def __init__(self, application: str) -> None:
        self._application = application
        #: The actor; None after :meth:`forget`.
        self._actor: Any = _find(application)

    def get(self) -> Any:
        """Return the actor; finds it again, or starts it, after :meth:`forget`.

        Blocks in that case.
        """
        if self._actor is None:
            self._actor = _find(self._application)
        return self._actor

    async def get_async(self) -> Any:
        """Return the actor as :meth:`get` does, in a thread only if that blocks.

        Handlers of customers may use all threads.
        """
        if self._actor is None:
            return await run_in_threadpool(self.get)
        return self._actor

    def forget(self) -> None:
        """Drop the handle of an actor that Ray does not restart."""
        self._actor = None


def _find(application: str) -> Any:
    """Return the actor of an application; starts it if it does not run.

    It outlives the application, so that a new version of it finds what is registered.
    Ray restarts it, on any node.
    """
    return (
        ray.remote(CoordinatorActor)
        .options(
            name=f"coordinator of {application}",
            namespace=_NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_concurrency=_CONCURRENCY,
            num_cpus=0,
        )
        .remote(application)
    )
