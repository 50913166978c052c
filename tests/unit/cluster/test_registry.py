"""A member's registry: its copy of the adapters, its leases, and lost connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from adapter_engine import Gate
from cluster import Cluster, Member
from model_hosting_container_standards.adapters.adapter import AdapterSpec
from model_hosting_container_standards.adapters.lease_middleware import LeaseMiddleware
from model_hosting_container_standards.adapters.runtime import AdapterRuntime
from model_hosting_container_standards.exceptions import (
    AdapterConflictError,
    AdapterEngineError,
    AdapterError,
    AdapterNotFoundError,
)
from model_hosting_container_standards.settings import read_settings
from virtual_time import in_virtual_time


def spec(cluster: Cluster, text: str = "meow", **fields: Any) -> AdapterSpec:
    return AdapterSpec("cats", cluster.write(text), **fields)


async def passed(work: Awaitable[Any]) -> float:
    """Return the seconds that something takes."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    await work
    return round(loop.time() - before, 1)


async def within_request(member: Member, work: Callable[[], Awaitable[None]]) -> None:
    """Do work within an HTTP request to the member."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await work()

    runtime = AdapterRuntime(None, read_settings())
    runtime.current = member.registry
    receive: Any = None
    await LeaseMiddleware(app, runtime)({"type": "http"}, receive, receive)


@in_virtual_time
async def test_request_needs_no_call(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        member = await cluster.start()
        await member.registry.register(spec(cluster))
        calls = len(member.link.calls)
        for _ in range(100):
            assert await member.ask("cats") == "meow"
        assert len(member.link.calls) <= calls + 1


@in_virtual_time
async def test_view_is_sorted_and_the_same_until_a_change(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = await cluster.start(), await cluster.start()
        src = cluster.write("meow")
        for name in ("b", "c", "a"):
            await first.registry.register(AdapterSpec(name, src))
        view = second.registry.view()
        assert list(view) == ["a", "b", "c"]
        await asyncio.sleep(20)
        assert second.registry.view() is view
        await first.registry.unregister("b")
        assert (list(view), list(second.registry.view())) == (
            ["a", "b", "c"],
            ["a", "c"],
        )
        await first.registry.update("a", pin=True)
        assert list(second.registry.view()) == ["a", "c"]
        with pytest.raises(AdapterNotFoundError, match="'b' does not exist"):
            second.registry.get("b")


@in_virtual_time
async def test_adapters_that_may_be_evicted_need_their_files(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        member = await cluster.start()
        member.engine.cache_size = 1
        await member.registry.register(spec(cluster))
        (tmp_path / "adapters/meow/adapter_model.bin").unlink()
        assert member.registry.lease("cats").name == "cats"
        await member.registry.register(AdapterSpec("b", cluster.write("b")))
        with pytest.raises(AdapterNotFoundError, match="files of adapter 'cats'"):
            member.registry.lease("cats")


# --- lost connections -----------------------------------------------------------------


@in_virtual_time
async def test_old_copy_is_not_used(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, lost = await cluster.start(), await cluster.start()
        await first.registry.register(spec(cluster))
        lost.link.is_up = False
        await asyncio.sleep(3.9)
        assert await passed(lost.ask("cats")) == 0
        await asyncio.sleep(2.1)
        with pytest.raises(AdapterEngineError, match="cannot be reached"):
            lost.registry.lease("cats")

        async def ask() -> None:
            with pytest.raises(AdapterEngineError, match="cannot be reached"):
                await lost.ask("cats")

        assert await passed(ask()) == 20
        request = asyncio.create_task(lost.ask("cats"))
        await asyncio.sleep(10)
        lost.link.is_up = True
        assert await passed(request) <= 2
        assert await request == "meow"


@in_virtual_time
async def test_operation_goes_on_once_the_old_copy_is_not_used(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, lost = await cluster.start(), await cluster.start()
        await first.registry.register(spec(cluster))
        for pause in (0.0, 1.9, 3.0):
            lost.link.is_up = True
            await asyncio.sleep(5)
            await first.registry.register(spec(cluster, "meow", replace=True))
            await asyncio.sleep(pause)
            lost.link.is_up = False
            replace = first.registry.register(spec(cluster, "purr", replace=True))
            operation = asyncio.create_task(replace)
            await asyncio.sleep(0.1)
            assert await first.ask("cats") == "purr"
            # The copy is old, but the operation has not returned.
            assert await lost.ask("cats") == "meow"
            await operation
            with pytest.raises(AdapterEngineError):
                lost.registry.lease("cats")
        lost.link.is_up = True
        assert await lost.ask("cats") == "purr"
        await asyncio.sleep(5)
        assert lost.engine.texts == ["purr"]


@in_virtual_time
async def test_request_goes_on_with_what_it_has_leased(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        member = await cluster.start()
        await member.registry.register(spec(cluster))

        async def request() -> None:
            registry = member.registry
            await registry.select("cats")
            member.link.is_up = False
            await asyncio.sleep(60)
            assert await passed(registry.keep_loaded("cats")) == 0
            assert registry.find("cats") is registry.selected()
            assert await passed(member.ask("cats")) == 20

        with pytest.raises(AdapterEngineError):
            await within_request(member, request)
        member.link.is_up = True
        await asyncio.sleep(1)


@in_virtual_time
async def test_lookup_in_an_old_copy_is_an_error(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        member = await cluster.start()
        await member.registry.register(spec(cluster))
        member.link.is_up = False
        await asyncio.sleep(10)

        async def request() -> None:
            assert member.registry.find("dogs") is None
            with pytest.raises(AdapterEngineError):
                member.registry.find("cats")

        await within_request(member, request)
        member.link.is_up = True
        await asyncio.sleep(1)


@in_virtual_time
async def test_loss_and_return_of_the_coordinator_are_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Cluster(tmp_path) as cluster:
        member = await cluster.start()
        for _ in range(2):
            caplog.clear()
            member.link.is_up = False
            await asyncio.sleep(10)
            member.link.is_up = True
            await asyncio.sleep(10)
            levels = [record.levelname for record in caplog.records]
            assert levels == ["ERROR", "WARNING"]


@in_virtual_time
async def test_answers_that_come_too_late_make_no_copy_valid(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        member = await cluster.start()
        await member.registry.register(spec(cluster))
        member.link.delay_s = 7
        await asyncio.sleep(30)
        with pytest.raises(AdapterEngineError):
            await member.ask("cats")
        member.link.delay_s = 0
        await asyncio.sleep(10)
        assert await member.ask("cats") == "meow"


@in_virtual_time
async def test_member_that_missed_many_changes(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        member = await cluster.start()
        await member.registry.register(spec(cluster))
        await member.registry.register(AdapterSpec("dogs", cluster.write("wuff")))
        member.link.is_up = False
        await asyncio.sleep(10)
        table = cluster.coordinator.adapters
        table.drain("dogs")
        for number in range(1_001):
            table.change(table.get("cats"), pin=number % 2 == 0)
        member.link.is_up = True
        assert await member.ask("cats") == "meow"
        assert list(member.registry.view()) == ["cats"]
        assert member.registry.get("cats").pin
        await asyncio.sleep(1)
        assert member.engine.texts == ["meow"]


# --- joining and leaving --------------------------------------------------------------


@in_virtual_time
async def test_member_waits_for_the_coordinator(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        await cluster.kill_coordinator()
        start = asyncio.create_task(cluster.start())
        await asyncio.sleep(60)
        assert not start.done()
        await cluster.start_coordinator()
        assert await passed(start) < 1


@in_virtual_time
async def test_member_waits_until_it_can_be_stored(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        cluster.journal.fail_always()
        start = asyncio.create_task(cluster.start())
        await asyncio.sleep(60)
        assert not start.done()
        cluster.journal.heal()
        assert await passed(start) < 1


@in_virtual_time
async def test_member_that_leaves_is_forgotten(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = await cluster.start(), await cluster.start()
        await first.registry.register(spec(cluster))
        assert len(cluster.journal.entries("member/")) == 2
        cluster.members.remove(second)
        second.registry.lease("cats")
        await second.registry.close()
        assert len(cluster.journal.entries("member/")) == 1
        assert await passed(first.registry.unregister("cats")) < 1


@in_virtual_time
async def test_member_leaves_without_the_coordinator(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        member = await cluster.start()
        await cluster.kill_coordinator()
        assert await passed(member.registry.close()) == 0
        cluster.members.clear()


# --- unloading ------------------------------------------------------------------------


@in_virtual_time
async def test_engine_that_cannot_unload_holds_nothing_up(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        member = await cluster.start()
        await member.registry.register(spec(cluster))
        gate = member.engine.gates["unload"] = Failing()
        assert await passed(member.registry.unregister("cats")) < 1
        assert gate.reached.is_set()
        assert cluster.coordinator.adapters.rows() == []


class Failing(Gate):
    """A step of the engine that fails."""

    async def pass_through(self) -> None:
        self.reached.set()
        raise AdapterError("The engine refuses.")


@in_virtual_time
async def test_leases_are_counted(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = await cluster.start(), await cluster.start()
        await first.registry.register(spec(cluster))
        leases = [second.registry.lease("cats") for _ in range(3)]
        second.registry.release(leases.pop())
        removal = asyncio.create_task(first.registry.unregister("cats"))
        while leases:
            await asyncio.sleep(3)
            assert second.engine.texts == ["meow"]
            second.registry.release(leases.pop())
        assert await passed(removal) < 0.1
        assert second.engine.texts == []
        assert second.engine.violations == []


# --- registered handlers --------------------------------------------------------------


@in_virtual_time
async def test_handler_is_called_only_to_load(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = await cluster.start(), await cluster.start()
        calls = []

        async def load() -> None:
            calls.append("load")

        async def unload() -> None:
            calls.append("unload")

        await first.registry.register(spec(cluster), load)
        assert second.registry.get("cats").by_handler
        assert second.registry.lease("cats").by_handler
        await second.registry.register(spec(cluster), load)
        with pytest.raises(AdapterConflictError):
            await second.registry.register(spec(cluster, "purr"), load)
        assert calls == ["load"]
        await second.registry.register(spec(cluster, "purr", replace=True), load)
        assert calls == ["load", "load"]
        with pytest.raises(AdapterError, match="no handler unloads it"):
            await first.registry.unregister("cats")
        await first.registry.unregister("cats", unload)
        assert calls == ["load", "load", "unload"]
        assert second.registry.view() == {}
        assert (first.engine.calls, second.engine.calls) == ([], [])
