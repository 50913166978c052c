"""A journal in the key-value store of Ray's GCS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import ray
from ray._raylet import GcsClient
from ray.exceptions import RaySystemError, RpcError

from model_hosting_container_standards.engines import Journal
from model_hosting_container_standards.exceptions import StorageError
from model_hosting_container_standards.logging_config import get_logger

logger = get_logger(__name__)

_NAMESPACE: Final = b"model-hosting-container-standards"
#: Seconds that one call may take.
_TIMEOUT_S: Final = 10.0


class GCSJournal(Journal):
    """Keeps entries where Serve's controller keeps its state.

    They outlive the GCS itself if Ray runs with GCS fault tolerance.

    Args:
        name: separates the entries of this journal from those of others.

    Raises:
        StorageError: the GCS cannot be reached.
    """

    def __init__(self, name: str) -> None:
        self._prefix = f"{name}/"
        address = ray.get_runtime_context().gcs_address
        with _storage_errors():
            self._client: Any = GcsClient(address=address)

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
        with _storage_errors():
            return method(*args, namespace=_NAMESPACE, timeout=_TIMEOUT_S)

    def _key(self, key: str) -> bytes:
        return f"{self._prefix}{key}".encode()


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except (RpcError, RaySystemError, TimeoutError) as error:
        # Its text has addresses, which are not for clients.
        logger.error("Ray's GCS cannot be reached: %s", error)
        raise StorageError("Ray's GCS cannot be reached. Try again.") from error
