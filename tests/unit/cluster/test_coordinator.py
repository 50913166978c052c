"""Operations of the coordinator, and what becomes of them if processes die."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from adapter_engine import BROKEN, Gate, write_adapter
from cluster import Cluster, Member
from model_hosting_container_standards.adapters.adapter import AdapterSpec
from model_hosting_container_standards.exceptions import (
    AdapterConflictError,
    AdapterEngineError,
    AdapterError,
    AdapterNotFoundError,
    StorageError,
)
from virtual_time import in_virtual_time


def spec(cluster: Cluster, text: str = "meow", **fields: Any) -> AdapterSpec:
    """Return a registration of "cats" that answers with a text."""
    return AdapterSpec("cats", cluster.write(text), **fields)


async def answer(member: Member, name: str = "cats") -> str | None:
    """Return an adapter's answer to a request; None if it is not registered."""
    try:
        return await member.ask(name)
    except AdapterNotFoundError:
        return None


async def passed(work: Awaitable[Any]) -> float:
    """Return the seconds that something takes."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    await work
    return round(loop.time() - before, 2)


async def settled(cluster: Cluster) -> None:
    """Wait until nothing is left that an operation has begun."""
    for _ in range(600):
        if all(row.state in ("ready", "failed") for row in rows(cluster)):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{rows(cluster)} are not unloaded.")


def rows(cluster: Cluster) -> Any:
    return cluster.coordinator.adapters.rows()


def texts(cluster: Cluster) -> list[list[str]]:
    """Return what is loaded into the engine of each member."""
    return [member.engine.texts for member in cluster.members]


# --- operations are seen by all members -----------------------------------------------


@in_virtual_time
async def test_operation_that_returned_is_seen_by_all(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        members = [await cluster.start() for _ in range(3)]
        first, second, third = (member.registry for member in members)

        async def answers() -> list[str | None]:
            return [await answer(member) for member in members]

        assert await passed(first.register(spec(cluster))) < 0.1
        assert await answers() == ["meow"] * 3
        await second.register(spec(cluster, "purr", replace=True))
        assert await answers() == ["purr"] * 3
        assert texts(cluster) == [["purr"]] * 3
        await third.update("cats", pin=True)
        assert [each.get("cats").pin for each in (first, second, third)] == [True] * 3
        assert [member.engine.pinned for member in members] == [["purr"]] * 3
        assert await passed(third.unregister("cats")) < 0.1
        assert await answers() == [None] * 3
        assert texts(cluster) == [[]] * 3
        assert rows(cluster) == []


@in_virtual_time
async def test_slow_member_is_waited_for(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, slow = await cluster.start(), await cluster.start()
        slow.link.delay_s = 1.5
        await asyncio.sleep(5)
        await first.registry.register(spec(cluster))
        assert await passed(answer(slow)) == 0
        assert await answer(slow) == "meow"
        assert await passed(first.registry.unregister("cats")) > 1
        assert await answer(slow) is None


@in_virtual_time
async def test_member_that_joins_during_an_operation(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first = await cluster.start()
        for step, work in (
            ("load", first.registry.register(spec(cluster))),
            ("unload", first.registry.unregister("cats")),
        ):
            gate = first.engine.gates[step] = Gate()
            operation = asyncio.create_task(work)
            await gate.reached.wait()
            second = await cluster.start()
            assert not operation.done()
            gate.opened.set()
            await operation
            assert await answer(second) == await answer(first)
            assert await answer(second) == ("meow" if step == "load" else None)
        await settled(cluster)
        assert texts(cluster) == [[], [], []]


@in_virtual_time
async def test_operations_on_one_name_are_serialised(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = await cluster.start(), await cluster.start()
        results = await asyncio.gather(
            first.registry.register(spec(cluster)),
            second.registry.register(spec(cluster, "purr")),
            return_exceptions=True,
        )
        (error,) = filter(None, results)
        assert isinstance(error, AdapterConflictError)
        text = "purr" if results[0] else "meow"
        assert [await answer(first), await answer(second)] == [text] * 2
        assert texts(cluster) == [[text]] * 2
        for _ in range(5):
            await asyncio.gather(
                first.registry.register(spec(cluster, "hiss", replace=True)),
                second.registry.register(spec(cluster, "purr", replace=True)),
            )
            assert await answer(first) == await answer(second)
            assert len(rows(cluster)) == 1
        removals = await asyncio.gather(
            first.registry.unregister("cats"),
            second.registry.unregister("cats"),
            return_exceptions=True,
        )
        assert [type(one) for one in removals if one] == [AdapterNotFoundError]
        assert texts(cluster) == [[], []]


@in_virtual_time
async def test_operation_whose_caller_gave_up_is_carried_out(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        member = await cluster.start()
        gate = member.engine.gates["load"] = Gate()
        operation = asyncio.create_task(member.registry.register(spec(cluster)))
        await gate.reached.wait()
        operation.cancel()
        await asyncio.gather(operation, return_exceptions=True)
        gate.opened.set()
        await settled(cluster)
        await asyncio.sleep(3)
        assert await answer(member) == "meow"


@in_virtual_time
async def test_closed_coordinator_undoes_what_it_has_begun(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        member = await cluster.start()
        gate = member.engine.gates["load"] = Gate()
        operation = asyncio.create_task(member.registry.register(spec(cluster)))
        await gate.reached.wait()
        await cluster.coordinator.close()
        with pytest.raises(asyncio.CancelledError):
            await operation
        assert rows(cluster) == []


# --- loading --------------------------------------------------------------------------


@in_virtual_time
async def test_adapter_is_loaded_on_first_use(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = await cluster.start(), await cluster.start()
        await first.registry.register(spec(cluster, preload=False))
        assert texts(cluster) == [[], []]
        answers = [answer(member) for member in (first, second, first, second)]
        assert await asyncio.gather(*answers) == ["meow"] * 4
        assert first.registry.get("cats").loaded
        assert first.engine.calls.count("load cats") == 1


@in_virtual_time
async def test_adapter_that_cannot_be_loaded_any_more(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = await cluster.start(), await cluster.start()
        wanted = spec(cluster, preload=False)
        await first.registry.register(wanted)
        write_adapter(Path(wanted.src), BROKEN)
        for member in (first, second):
            with pytest.raises(AdapterError, match=BROKEN):
                await member.ask("cats")
        await asyncio.sleep(3)
        assert not second.registry.get("cats").answers
        assert second.engine.calls.count("load cats") == 0


# --- leases ---------------------------------------------------------------------------


@in_virtual_time
async def test_leased_adapter_is_not_unloaded(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = await cluster.start(), await cluster.start()
        await first.registry.register(spec(cluster))
        lease = second.registry.lease("cats")
        removal = asyncio.create_task(first.registry.unregister("cats"))
        await asyncio.sleep(20)
        assert not removal.done()
        assert [await answer(first), await answer(second)] == [None, None]
        assert second.engine.texts == ["meow"]
        assert await second.engine.answer(lease) == "meow"
        second.registry.release(lease)
        assert await passed(removal) < 0.1
        assert texts(cluster) == [[], []]


@in_virtual_time
async def test_lease_is_waited_for_30_s(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = await cluster.start(), await cluster.start()
        await first.registry.register(spec(cluster))
        lease = second.registry.lease("cats")
        replace = first.registry.register(spec(cluster, "purr", replace=True))
        assert await passed(replace) == 30
        assert await answer(second) == "purr"
        assert second.engine.texts == ["meow", "purr"]
        second.registry.release(lease)
        await settled(cluster)
        assert texts(cluster) == [["purr"]] * 2


@in_virtual_time
async def test_lease_of_a_killed_member_ends(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = await cluster.start(), await cluster.start()
        await first.registry.register(spec(cluster))
        second.registry.lease("cats")
        cluster.kill(second)
        assert 4 < await passed(first.registry.unregister("cats")) <= 7
        assert rows(cluster) == []


@in_virtual_time
async def test_new_coordinator_knows_the_leases_of_the_members(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        first, second = await cluster.start(), await cluster.start()
        await first.registry.register(spec(cluster))
        old = second.registry.lease("cats")
        replace = first.registry.register(spec(cluster, "purr", replace=True))
        replacing = asyncio.create_task(replace)
        await asyncio.sleep(3)
        await cluster.restart_coordinator()
        with pytest.raises(AdapterEngineError):
            await replacing
        new = second.registry.lease("cats")
        await asyncio.sleep(20)
        removal = asyncio.create_task(first.registry.unregister("cats"))
        await asyncio.sleep(20)
        assert second.engine.texts == ["meow", "purr"]
        second.registry.release(new)
        await asyncio.sleep(1)
        assert removal.done()
        assert second.engine.texts == ["meow"]
        await cluster.restart_coordinator()
        await asyncio.sleep(20)
        assert await second.engine.answer(old) == "meow"
        second.registry.release(old)
        await settled(cluster)
        assert texts(cluster) == [[], []]


# --- failures -------------------------------------------------------------------------

Operation = Callable[[Cluster, Member], Awaitable[None]]

OPERATIONS: Final[dict[str, tuple[str | None, str | None, Operation]]] = {
    # name: (answer before, answer after, operation)
    "register": (
        None,
        "meow",
        lambda cluster, member: member.registry.register(spec(cluster)),
    ),
    "replace": (
        "purr",
        "meow",
        lambda cluster, member: member.registry.register(spec(cluster, replace=True)),
    ),
    "unregister": (
        "purr",
        None,
        lambda cluster, member: member.registry.unregister("cats"),
    ),
    "pin": (
        "purr",
        "purr",
        lambda cluster, member: member.registry.update("cats", pin=True),
    ),
    "load": (
        "purr",
        "purr",
        lambda cluster, member: member.registry.update("cats", preload=True),
    ),
}


async def prepare(cluster: Cluster, before: str | None, *, preload: bool) -> None:
    for _ in range(2):
        await cluster.start()
    registry = cluster.members[0].registry
    await registry.register(AdapterSpec("dogs", cluster.write("wuff")))
    if before is not None:
        await registry.register(spec(cluster, before, preload=preload))


async def check(cluster: Cluster, *possible: str | None) -> str | None:
    """Check that all members answer alike, and that nothing else is loaded."""
    found = {await answer(member) for member in cluster.members}
    (text,) = found
    assert text in possible
    assert {await answer(member, "dogs") for member in cluster.members} == {"wuff"}
    for member in cluster.members:
        assert {*member.engine.texts} <= {"wuff", text}
        assert member.engine.violations == []
    return text


@pytest.mark.parametrize("name", OPERATIONS)
@in_virtual_time
async def test_operation_whose_write_fails_is_undone(tmp_path: Path, name: str) -> None:
    before, after, operate = OPERATIONS[name]
    for write in range(10):
        async with Cluster(tmp_path / str(write)) as cluster:
            await prepare(cluster, before, preload=name != "load")
            member = cluster.members[0]
            cluster.journal.fail(write)
            try:
                await operate(cluster, member)
            except StorageError:
                await check(cluster, before)
                await operate(cluster, member)
            await check(cluster, after)
            if not cluster.journal.has_failed:
                return  # All writes of the operation were tried.
            await cluster.restart_coordinator()
            await settled(cluster)
            await check(cluster, after)
            assert len(rows(cluster)) == (1 if after is None else 2)
    raise AssertionError("An operation writes more often than expected.")


@pytest.mark.parametrize("name", OPERATIONS)
@in_virtual_time
async def test_coordinator_is_killed_during_an_operation(
    tmp_path: Path, name: str
) -> None:
    before, after, operate = OPERATIONS[name]
    for effect in range(30):
        async with Cluster(tmp_path / str(effect)) as cluster:
            await prepare(cluster, before, preload=name != "load")
            member = cluster.members[0]
            life = cluster.life
            life.end_at(effect)
            has_failed = False
            try:
                await operate(cluster, member)
            except AdapterEngineError:
                has_failed = True
            if not life.is_over:
                return  # It was killed before and after all effects.
            await cluster.restart_coordinator()
            await settled(cluster)
            await asyncio.sleep(3)
            text = await check(cluster, before, after)
            if not has_failed:
                assert text == after
            if text != after or name in ("pin", "load"):
                await operate(cluster, member)
            await check(cluster, after)
            if name == "pin":
                assert member.engine.pinned == ["purr"]
    raise AssertionError("An operation has more effects than expected.")


@in_virtual_time
async def test_adapter_whose_unloading_is_not_stored_is_unloaded_later(
    tmp_path: Path,
) -> None:
    async with Cluster(tmp_path) as cluster:
        member = await cluster.start()
        await member.registry.register(spec(cluster))
        cluster.journal.fail(1)  # The deletion.
        await member.registry.unregister("cats")
        assert texts(cluster) == [[]]
        assert len(rows(cluster)) == 1
        await cluster.restart_coordinator()
        await settled(cluster)
        assert rows(cluster) == []


@in_virtual_time
async def test_sessions_outlive_the_coordinator(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        cluster.coordinator.sessions.create("a", 1 << 40, None)
        cluster.coordinator.sessions.put("a", "x", "1")
        await cluster.restart_coordinator()
        assert cluster.coordinator.sessions.get("a", "x") == "1"


# --- updates --------------------------------------------------------------------------


@in_virtual_time
async def test_update_has_what_a_member_has_not_seen(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        coordinator = cluster.coordinator
        first = await coordinator.sync("m", "", -1, [])
        assert (first.is_complete, dict(first.changes)) == (True, {})
        call = asyncio.create_task(
            coordinator.sync("m", first.epoch, first.version, [])
        )
        await asyncio.sleep(1)
        registration = asyncio.create_task(coordinator.register(spec(cluster), False))
        second = await call
        assert (second.is_complete, [*second.changes]) == (False, ["cats"])
        assert not registration.done()
        third = await coordinator.sync("m", second.epoch, second.version, [])
        await registration
        assert (third.version, dict(third.changes)) == (second.version, {})
        other = await coordinator.sync("m", "of another", second.version, [])
        assert (other.is_complete, [*other.changes]) == (True, ["cats"])
        assert other.registrations == 1
        await coordinator.leave("m")


@in_virtual_time
async def test_sync_waits_up_to_2_s(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        sync = cluster.coordinator.sync
        update = await sync("m", "", -1, [])
        assert await passed(sync("m", update.epoch, update.version, [])) == 2
        await cluster.coordinator.leave("m")
