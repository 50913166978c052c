"""A journal in the key-value store of Ray's GCS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import ray
from ray._raylet import GcsClient
from ray.exceptions import RaySystemError, RpcError

from model_hosting_container_standards.engines import Journal
from model_hosting_container_standards.exceptions import StorageError

_NAMESPACE: Final = b"model-hosting-container-standards"
#: Seconds that one call may take.
_TIMEOUT_S: Final = 10.0


class GCSJournal(Journal):
    """Keeps entries where Serve's controller keeps its state.

    They outlive the GCS itself if Ray runs with GCS fault tolerance.

    Args:
        name: separates the entries of this journal from those of others.
    """

    def __init__(self, name: str) -> None:
        self._prefix = f"{name}/"
        self._client: Any = GcsClient(address=ray.get_runtime_context().gcs_address)

    def put(self, key: str, value: bytes) -> None:
        self._call("put", self._key(key), value, True)

    def delete(self, key: str) -> None:
        self._call("del", self._key(key), False)

    def entries(self, prefix: str) -> Mapping[str, bytes]:
        start = self._key(prefix)
        keys = self._call("keys", start)
        values = self._call("multi_get", keys) if keys else {}
        return {key[len(start) :].decode(): value for key, value in values.items()}

    def _call(self, name: str, *args: Any) -> Any:
        method = getattr(self._client, f"internal_kv_{name}")
        try:
            return method(*args, namespace=_NAMESPACE, timeout=_TIMEOUT_S)
        except (RpcError, RaySystemError, TimeoutError) as error:
            raise StorageError(f"Ray's GCS cannot be reached: {error}") from error

    def _key(self, key: str) -> bytes:
        return f"{self._prefix}{key}".encode()
