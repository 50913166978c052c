"""The interface of storage that outlives the coordinator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Journal(Protocol):
    """Keeps entries when the coordinator's process ends, such as in a key-value store.

    Its methods raise a :class:`StorageError` if it cannot be reached. Thread-safe.
    """

    def put(self, key: str, value: bytes) -> None:
        """Store an entry; replaces one of the same key. Returns once it is stored."""

    def delete(self, key: str) -> None:
        """Delete an entry, if there is one."""

    def entries(self, prefix: str) -> Mapping[str, bytes]:
        """Return the entries whose keys begin with a prefix, by the rest of the key."""
