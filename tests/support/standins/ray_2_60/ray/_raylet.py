"""The key-value store of the GCS, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.actor import CURRENT
from ray.exceptions import RpcError


class Store:
    def __init__(self) -> None:
        self.entries: dict[tuple[bytes, bytes], bytes] = {}
        #: Called with the name of a method and its first argument; may raise an error.
        self.before: Callable[[str, Any], None] = lambda *_: None


#: That of the cluster; tests may look into it.
store = Store()


class GcsClient:
    def __init__(self, address: str) -> None:
        assert address
        _check("connect", address)

    def internal_kv_put(
        self,
        key: bytes,
        value: bytes,
        overwrite: bool = False,
        namespace: bytes | None = None,
        timeout: float | None = None,
    ) -> int:
        assert namespace
        assert timeout
        _check("put", key)
        exists = (namespace, key) in store.entries
        if overwrite or not exists:
            store.entries[namespace, key] = value
        return not exists

    def internal_kv_del(
        self,
        key: bytes,
        del_by_prefix: bool,
        namespace: bytes | None = None,
        timeout: float | None = None,
    ) -> int:
        assert not del_by_prefix
        assert namespace
        assert timeout
        _check("del", key)
        return store.entries.pop((namespace, key), None) is not None

    def internal_kv_keys(
        self,
        prefix: bytes,
        namespace: bytes | None = None,
        timeout: float | None = None,
    ) -> list[bytes]:
        assert namespace
        assert timeout
        _check("keys", prefix)
        return [
            key
            for space, key in [*store.entries]
            if space == namespace and key.startswith(prefix)
        ]

    def internal_kv_multi_get(
        self,
        keys: list[bytes],
        namespace: bytes | None = None,
        timeout: float | None = None,
    ) -> dict[bytes, bytes]:
        assert namespace
        assert timeout
        _check("multi_get", keys)
        pairs = [(key, store.entries.get((namespace, key))) for key in keys]
        return {key: value for key, value in pairs if value is not None}


def _check(method: str, argument: Any) -> None:
    process = CURRENT.get()
    if process is not None and process.has_ended:
        raise RpcError("The caller has ended.")
    store.before(method, argument)
