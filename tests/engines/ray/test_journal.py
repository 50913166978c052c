"""The journal in the GCS's key-value store, and replicas without Ray Serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from model_hosting_container_standards.exceptions import StorageError

pytestmark = pytest.mark.usefixtures("ray_standin")


def journal(name: str = "app") -> Any:
    from mhcs.ray.journal import GCSJournal

    return GCSJournal(name)


def test_entries_are_found_by_the_beginnings_of_their_keys() -> None:
    written = journal()
    written.put("adapter/ä/b", b"1")
    written.put("adapter/ä/b", b"2")
    written.put("adapter/c", b"3")
    written.put("other", b"4")
    assert journal().entries("adapter/") == {"ä/b": b"2", "c": b"3"}
    written.delete("adapter/c")
    written.delete("adapter/c")
    assert journal().entries("adapter/") == {"ä/b": b"2"}
    assert journal().entries("nothing/") == {}


def test_each_application_has_its_own() -> None:
    journal("one").put("key", b"1")
    assert journal("two").entries("key") == {}


@pytest.mark.parametrize("name", ["RpcError", "RaySystemError", "TimeoutError"])
def test_errors_of_the_gcs_have_no_address(name: str) -> None:
    from ray import exceptions
    from ray._raylet import store

    opened = journal()
    kind = TimeoutError if name == "TimeoutError" else getattr(exceptions, name)

    def fail(*_: Any) -> None:
        raise kind("192.0.2.1 is gone.")

    store.before = fail
    calls: list[Callable[[], Any]] = [
        lambda: opened.put("key", b""),
        lambda: opened.entries(""),
        journal,
    ]
    for call in calls:
        with pytest.raises(StorageError) as raised:
            call()
        assert str(raised.value) == "Ray's GCS cannot be reached. Try again."


async def test_app_outside_a_replica_has_the_adapters_of_its_machine() -> None:
    from mhcs.ray import engine
    from mhcs.ray.runtime import RayRuntime
    from model_hosting_container_standards.settings import read_settings

    app = FastAPI()
    runtime = RayRuntime(app)
    assert runtime.adapter_backend() is None
    assert engine.session_storage(app) is None
    registry = await runtime.open_adapter_registry(None, read_settings())
    assert registry.view() == {}
    await registry.close()
