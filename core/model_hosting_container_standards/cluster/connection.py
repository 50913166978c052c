"""How a member calls the coordinator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any

from ..adapters.adapter import AdapterSpec
from ..adapters.operations import AdapterOperations, ByHandler
from ..adapters.table import AdapterView
from .coordinator import Update


class Connection(ABC):
    """Calls the coordinator, whose methods of the same names these are.

    They raise what the coordinator's raise, and an :class:`AdapterEngineError` if it
    cannot be reached.
    """

    @abstractmethod
    async def call(self, method: str, *args: Any) -> Any:
        """Call a method of the coordinator, and return its result."""

    async def carry_out(self, method: str, *args: Any) -> None:
        """Carry out an operation; override it to try again if the call is lost."""
        await self.call(method, *args)

    async def sync(
        self, member_id: str, epoch: str, version: int, draining: Collection[int]
    ) -> Update:
        update: Update = await self.call("sync", member_id, epoch, version, draining)
        return update

    async def report(
        self, member_id: str, epoch: str, version: int, draining: Collection[int]
    ) -> None:
        await self.call("report", member_id, epoch, version, draining)

    async def leave(self, member_id: str) -> None:
        await self.call("leave", member_id)

    async def register(self, spec: AdapterSpec, by_handler: bool) -> None:
        await self.carry_out("register", spec, by_handler)

    async def unregister(self, name: str, by_handler: bool) -> None:
        await self.carry_out("unregister", name, by_handler)

    async def update(self, name: str, pin: bool | None, preload: bool | None) -> None:
        await self.carry_out("update", name, pin, preload)

    async def load_on_first_use(self, name: str) -> None:
        await self.carry_out("load_on_first_use", name)


class RemoteOperations(AdapterOperations):
    """The operations of the coordinator.

    It cannot call the handlers of a member, so they are called before it.
    """

    def __init__(self, connection: Connection, copy: AdapterView) -> None:
        self._connection = connection
        self._copy = copy

    async def register(self, spec: AdapterSpec, by_handler: ByHandler | None) -> None:
        if by_handler is not None and self._will_load(spec):
            await by_handler()
        await self._connection.register(spec, by_handler is not None)

    def _will_load(self, spec: AdapterSpec) -> bool:
        """Return whether an adapter of this name is to be loaded, again or not."""
        existing = self._copy.view().get(spec.name)
        return existing is None or not existing.answers or spec.replace

    async def unregister(self, name: str, by_handler: ByHandler | None) -> None:
        if by_handler is not None:
            await by_handler()
        await self._connection.unregister(name, by_handler is not None)

    async def update(self, name: str, pin: bool | None, preload: bool | None) -> None:
        await self._connection.update(name, pin, preload)

    async def load_on_first_use(self, name: str) -> None:
        await self._connection.load_on_first_use(name)

    async def close(self) -> None:
        """Do nothing: the coordinator carries the operations out."""
