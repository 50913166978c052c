"""Adapters of an application's model, loaded into all of its replicas."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from ray import serve
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve._private.common import ReplicaID
from ray.serve.handle import DeploymentHandle

from model_hosting_container_standards.engines import (
    Adapter,
    AdapterBackend,
    RegisteredAdapters,
)
from model_hosting_container_standards.exceptions import (
    AdapterCrashError,
    AdapterEngineError,
    AdapterError,
)
from model_hosting_container_standards.logging_config import get_logger

from .replicas import call_replica, running_replicas

logger = get_logger(__name__)

#: Seconds that an operation waits for a replica of the model.
_WAIT_S: Final = 10.0
#: Seconds that unloading waits for one; a new handle knows its replicas before.
_UNLOAD_WAIT_S: Final = 3.0
_POLL_S: Final = 0.1
#: What Ray raises for a replica that has died.
_DIED: Final = (ActorDiedError, ActorUnavailableError)


class AdapterLimits(msgspec.Struct, frozen=True):
    """What a replica's engine can load; ``unavailable`` says why it loads none."""

    unavailable: str | None = None
    slots: int = 0
    own_models: Collection[str] = ()
    own_adapters: Collection[str] = ()


class ModelAdapters(AdapterBackend):
    """The ``AdapterBackend`` of the coordinator.

    An adapter is loaded into one replica first: one that ends its engine ends no other.
    Replicas that start later load an adapter when they first use it.

    Args:
        application: the name of the application in Ray Serve.
    """

    slots_option: Final = "max_loras in engine_kwargs"

    def __init__(self, application: str) -> None:
        self._application = application
        self._deployments: Mapping[str, str] = {}
        self._models: Mapping[str, DeploymentHandle] = {}
        self._model = ""
        #: What the replicas of each model can load, and which replicas these were.
        self._limits: dict[str, AdapterLimits] = {}
        self._replicas: dict[str, Collection[ReplicaID]] = {}

    def set_deployments(self, deployments: Mapping[str, str]) -> None:
        """Set the names of the models' deployments, by the names of the models."""
        if deployments == self._deployments:
            return  # A new handle would not know its replicas yet.
        self._deployments = deployments
        # They may not exist any more: the journal may be of an earlier version.
        self._models = {
            model: serve.get_deployment_handle(
                name, self._application, _check_exists=False
            )
            for model, name in deployments.items()
        }

    async def find(self) -> None:
        """Find the model that loads adapters, and what it can load.

        A model without a replica that answers is left out if another one loads them.

        Raises:
            AdapterError: none does, or several do, or no replica answers.
        """
        limits, errors = await self._ask_all_limits()
        able = [model for model, each in limits.items() if each.unavailable is None]
        if len(able) > 1:
            raise AdapterError(
                f"Several models load adapters ({', '.join(able)}), and only one may: "
                "set enable_lora in the engine_kwargs of one, or serve the others as "
                "applications of their own."
            )
        if not able and errors:
            raise errors[0]
        if not able:
            raise AdapterError(
                next((each.unavailable for each in limits.values()), None)
                or "This application has no model."
            )
        self._model = able[0]

    async def _ask_all_limits(
        self,
    ) -> tuple[dict[str, AdapterLimits], list[AdapterEngineError]]:
        """Ask all models at once; return their answers, and the errors of the rest."""
        asked = [self._ask_limits(model) for model in self._models]
        limits: dict[str, AdapterLimits] = {}
        errors: list[AdapterEngineError] = []
        for model, result in zip(
            self._models,
            await asyncio.gather(*asked, return_exceptions=True),
            strict=True,
        ):
            if isinstance(result, AdapterEngineError):
                errors.append(result)
            elif isinstance(result, BaseException):
                raise result
            else:
                limits[model] = result
        return limits, errors

    async def _ask_limits(self, model: str) -> AdapterLimits:
        """Return what a model can load; asks again if its replicas have changed."""
        replicas = {*running_replicas(self._models[model])}
        if not replicas or replicas != self._replicas.get(model):
            try:
                self._limits[model] = await self._call_any(model, "adapter_limits")
            except RayTaskError:
                self._limits[model] = AdapterLimits(
                    unavailable=f"The replicas of {model!r} load no adapters: set "
                    "server_cls to mhcs.ray:SageMakerLLMServer in its configuration."
                )
            self._replicas[model] = replicas
        return self._limits[model]

    @property
    def server_name(self) -> str:
        return f"ray-{self._application}"

    @property
    def slots(self) -> int:
        return self._current_limits.slots

    @property
    def _current_limits(self) -> AdapterLimits:
        return self._limits.get(self._model, AdapterLimits())

    def attach(self, adapters: RegisteredAdapters) -> None:
        """Do nothing: no request reaches the coordinator."""

    def own_models(self) -> Collection[str]:
        return self._current_limits.own_models

    def own_adapters(self) -> Collection[str]:
        return self._current_limits.own_adapters

    async def locate(self, src: str, root: Path | None) -> str:
        if not self._model:  # A registered handler loads it.
            return await super().locate(src, root)
        path: str = await self._call_any(
            self._model, "call_adapters", "locate", src, root
        )
        return path

    async def check_folder(
        self, src: str, root: Path | None, *, values: bool = True
    ) -> str:
        model = self._model
        path, limits = await self._call_any(model, "check_adapter", src, root, values)
        # Ray may have loaded adapters of its own in the meantime.
        self._limits[model] = limits
        checked: str = _result(path)
        return checked

    async def load(self, adapter: Adapter) -> str:
        first, *others = await self._responsive()
        try:
            await _call(first, "load", adapter)
        except _DIED as error:
            raise AdapterCrashError(
                f"A replica ended while it loaded adapter {adapter.name!r}."
            ) from error
        await _call_all(others, "load", adapter)
        return self._model

    async def _responsive(self) -> list[Any]:
        """Return the running replicas, the first of which has just answered."""
        actors = await self._running(self._model)
        while actors:
            try:
                await call_replica(actors[0], "adapter_limits")
            except _DIED:
                del actors[0]  # Serve does not know it yet.
            else:
                return actors
        raise _unavailable(self._model)

    async def unload(self, adapter: Adapter) -> None:
        model = adapter.engine_id or self._model
        # Unknown after a restart, if it was not yet loaded into all replicas.
        for name in [model] if model else self._models:
            await self._unload_from(name, adapter)

    async def _unload_from(self, model: str, adapter: Adapter) -> None:
        if model not in self._models:
            return  # It is not served any more.
        try:
            actors = await self._running(model, _UNLOAD_WAIT_S)
        except AdapterEngineError:
            return
        await _call_all(actors, "unload", adapter)

    async def pin(self, adapter: Adapter) -> None:
        await _call_all(await self._running(self._model), "pin", adapter)

    async def unpin(self, adapter: Adapter) -> None:
        await _call_all(await self._running(self._model), "unpin", adapter)

    async def _call_any(
        self, model: str, method: str, *args: Any, **options: Any
    ) -> Any:
        """Call a replica of a model; another one if it dies."""
        for actor in await self._running(model):
            try:
                return _result(await call_replica(actor, method, *args, **options))
            except _DIED:
                continue
        raise _unavailable(model)

    async def _running(self, model: str, seconds: float | None = None) -> list[Any]:
        """Return the running replicas of a model; waits until there is one.

        Raises:
            AdapterEngineError: there is none.
        """
        deadline = time.monotonic() + (_WAIT_S if seconds is None else seconds)
        while not (actors := [*running_replicas(self._models[model]).values()]):
            if time.monotonic() > deadline:
                raise _unavailable(model)
            await asyncio.sleep(_POLL_S)
        return actors


async def _call(actor: Any, method: str, *args: Any) -> Any:
    try:
        return _result(await call_replica(actor, "call_adapters", method, *args))
    except RayTaskError as error:
        # Its text has a traceback, which is not for clients.
        logger.error("A replica has failed in %s: %s", method, error)
        raise AdapterEngineError(
            f"A replica has failed in {method}; the server's log says why."
        ) from error


async def _call_all(actors: Collection[Any], method: str, adapter: Adapter) -> None:
    """Call all replicas; those that die are replaced, and load what they use.

    Raises:
        AdapterError: the first error.
    """
    calls = [_call(actor, method, adapter) for actor in actors]
    for result in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(result, _DIED):
            logger.warning("A replica ended during %s of %r", method, adapter.name)
        elif isinstance(result, BaseException):
            raise result


def _result(result: Any) -> Any:
    if isinstance(result, AdapterError):
        raise result
    return result


def _unavailable(model: str) -> AdapterEngineError:
    return AdapterEngineError(f"No replica of {model!r} runs. Try again.")
