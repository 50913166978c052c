"""Calls of the coordinator from an ingress or a model replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any, Final

from ray.exceptions import RayError, RayTaskError

from model_hosting_container_standards.engines import (
    AdapterSpec,
    Connection,
    Update,
)
from model_hosting_container_standards.exceptions import (
    AdapterEngineError,
    AdapterNotFoundError,
    StorageError,
)
from model_hosting_container_standards.logging_config import get_logger

logger = get_logger(__name__)

#: Seconds for which an operation is tried again while the actor is being restarted.
_PATIENCE_S: Final = 25.0
_RETRY_S: Final = 0.2


class ActorConnection(Connection):
    """Calls the coordinator's actor.

    Args:
        actor: its handle.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def serve(self, deployments: Mapping[str, str]) -> None:
        """Set the names of the models' deployments, by the names of the models.

        Raises:
            AdapterError: the coordinator's error.
        """
        await self._carry_out("serve", deployments)

    async def sync(
        self, member_id: str, epoch: str, version: int, draining: Collection[int]
    ) -> Update:
        update: Update = await self._call("sync", member_id, epoch, version, draining)
        return update

    async def report(
        self, member_id: str, epoch: str, version: int, draining: Collection[int]
    ) -> None:
        await self._call("report", member_id, epoch, version, draining)

    async def leave(self, member_id: str) -> None:
        await self._call("leave", member_id)

    async def register(self, spec: AdapterSpec, by_handler: bool) -> None:
        await self._carry_out("register", spec, by_handler)

    async def unregister(self, name: str, by_handler: bool) -> None:
        await self._carry_out("unregister", name, by_handler)

    async def update(self, name: str, pin: bool | None, preload: bool | None) -> None:
        await self._carry_out("update", name, pin, preload)

    async def load_on_first_use(self, name: str) -> None:
        await self._carry_out("load_on_first_use", name)

    async def _carry_out(self, method: str, *args: Any) -> None:
        """Carry out an operation; again if the actor died, as it may have done nothing.

        Raises:
            AdapterError: the coordinator's error.
        """
        deadline = time.monotonic() + _PATIENCE_S
        is_repeated = False
        while True:
            try:
                await self._call(method, *args)
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

    async def _call(self, method: str, *args: Any) -> Any:
        try:
            result = await self._actor.call.remote(method, *args)
        except RayTaskError as error:
            # Its text has a traceback, which is not for clients.
            logger.error("The registry of adapters: %s", error)
            raise AdapterEngineError(
                "The registry of adapters has failed; the server's log says why."
            ) from error
        except RayError as error:
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
