"""A request's lease is released exactly once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from model_hosting_container_standards.adapters.adapter import Adapter
from model_hosting_container_standards.adapters.leases import ProcessLeases
from model_hosting_container_standards.adapters.request_leases import RequestLeases
from model_hosting_container_standards.storage import ByteLocks


@pytest.mark.asyncio
async def test_request_and_task_ending_together_release_once(
    tmp_path: Path,
) -> None:
    leases = ProcessLeases(ByteLocks(tmp_path / "locks"))
    adapter = Adapter(
        id=1,
        name="fr",
        src="/src",
        path="/src",
        engine_name="fr",
        preload=True,
        pin=False,
        state="ready",
        loaded=True,
        by_handler=False,
        reason=None,
        options={},
    )
    leases.acquire(adapter)  # Held by another request, which continues.
    leases.acquire(adapter)
    request = RequestLeases(leases)
    request.by_name["fr"] = adapter

    async def work() -> None:
        request.release()  # The request ends just before its task.

    await request.extend(work)
    await asyncio.sleep(0)
    assert request.is_over

    retired = asyncio.ensure_future(retire(leases, adapter))
    _, pending = await asyncio.wait({retired}, timeout=0.2)
    assert pending, "The other request's lease was released."
    leases.release(adapter)
    await asyncio.wait_for(retired, 5)
    leases.close()


async def retire(leases: ProcessLeases, adapter: Adapter) -> None:
    async with leases.exclusive(adapter.id):
        """The adapter has no leases."""
