"""Calls of the coordinator from an ingress or a model replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from ray.exceptions import ActorDiedError, RayError, RayTaskError

from model_hosting_container_standards.engines import Connection
from model_hosting_container_standards.exceptions import (
    AdapterEngineError,
    AdapterNotFoundError,
    StorageError,
)
from model_hosting_container_standards.logging_config import get_logger

from .coordinator import CoordinatorHandle

logger = get_logger(__name__)

#: Seconds for which an operation is tried again while the actor is being restarted.
_RETRY_FOR_S: Final = 25.0
_RETRY_S: Final = 0.2


class ActorConnection(Connection):
    """Calls the coordinator's actor.

    Args:
        coordinator: its handle.
    """

    def __init__(self, coordinator: CoordinatorHandle) -> None:
        self._coordinator = coordinator

    async def set_deployments(self, deployments: Mapping[str, str]) -> None:
        """Set the names of the models' deployments, by the names of the models.

        Raises:
            AdapterError: the coordinator's error.
        """
        await self.carry_out("set_deployments", deployments)

    async def carry_out(self, method: str, *args: Any) -> None:
        """Carry out an operation; again if the actor died, as it may have done nothing.

        Raises:
            AdapterError: the coordinator's error.
        """
        deadline = time.monotonic() + _RETRY_FOR_S
        is_repeated = False
        while True:
            try:
                await self.call(method, *args)
            except _UnreachableError:
                if time.monotonic() > deadline:
                    raise
                is_repeated = True
                await asyncio.sleep(_RETRY_S)
            except AdapterNotFoundError:
                # The actor may have died after it had unregistered the adapter.
                if method == "unregister" and is_repeated:
                    return
                raise
            else:
                return

    async def call(self, method: str, *args: Any) -> Any:
        try:
            actor = await self._coordinator.get_async()
            result = await actor.call.remote(method, *args)
        except RayTaskError as error:
            # Its text has a traceback, which is not for clients.
            logger.error("The registry of adapters: %s", error)
            raise AdapterEngineError(
                "The registry of adapters has failed; the server's log says why."
            ) from error
        except RayError as error:
            if isinstance(error, ActorDiedError):
                self._coordinator.forget()
            raise _UnreachableError(
                "The registry of adapters cannot be reached. Try again."
            ) from error
        if isinstance(result, StorageError):
            raise AdapterEngineError(str(result))
        if isinstance(result, Exception):
            raise result
        return result


class _UnreachableError(AdapterEngineError):
    """The actor does not run, or died during a call."""
