"""The adapter registry of a server on one machine, in SQLite and with file locks."""

from __future__ import annotations

from pathlib import Path

from ..storage import ByteLocks
from .backend import AdapterBackend
from .leases import ProcessLeases
from .loader import AdapterLoader
from .registry import AdapterRegistry
from .service import AdapterService
from .store import AdapterStore


class LocalRegistry(AdapterRegistry):
    """The registered adapters that all processes of one machine share.

    Args:
        folder: the folder of the table and the locks.
    """

    def __init__(
        self, backend: AdapterBackend | None, folder: Path, root: Path | None
    ) -> None:
        self.store = AdapterStore(folder / "adapters.sqlite3")
        self.names = ByteLocks(folder / "names.lock")
        self.users = ByteLocks(folder / "users.lock")
        self.loader = AdapterLoader(backend, self.store, root)
        leases = ProcessLeases(self.users)
        service = AdapterService(self.store, self.loader, self.names, leases)
        super().__init__(backend, self.store, leases, service, root)

    async def close(self) -> None:
        await super().close()
        self.store.close()
        self.names.close()
        self.users.close()
