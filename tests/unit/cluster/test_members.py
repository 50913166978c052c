"""When an operation goes on: its waiting for members, and what counts as dead."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from cluster import MemoryJournal
from model_hosting_container_standards.cluster.members import (
    GRACE_S,
    VALID_S,
    MemberLeases,
    Members,
)
from model_hosting_container_standards.exceptions import StorageError
from virtual_time import in_virtual_time

#: Seconds after its last call when a member counts as dead.
LIFETIME_S = VALID_S + GRACE_S


class Clock:
    """The loop's time, which can also jump, as if the process had been paused."""

    def __init__(self) -> None:
        self.stood_still_s = 0.0
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> float:
        return self._loop.time() + self.stood_still_s


class Scene:
    """Members, their journal and their clock."""

    def __init__(self, *earlier: str) -> None:
        self.journal = MemoryJournal()
        for member_id in earlier:
            self.journal.put(f"member/{member_id}", b"")
        self.clock = Clock()
        self.members = Members(self.journal, self.clock)

    def known(self) -> set[str]:
        return {*self.journal.entries("member/")}


async def begin(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin to wait, and return once the waiting has begun or is over."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0.001)
    return task


async def passed(work: Coroutine[Any, Any, None]) -> float:
    """Return the seconds that something takes."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    await work
    return round(loop.time() - before, 2)


@in_virtual_time
async def test_no_member_is_waited_for() -> None:
    scene = Scene()
    assert await passed(scene.members.wait_seen(5)) == 0
    assert await passed(scene.members.wait_unused(5, 1)) == 0


@in_virtual_time
async def test_every_member_is_waited_for_until_it_has_seen_the_version() -> None:
    scene = Scene()
    await scene.members.record_call("a", 4, [])
    await scene.members.record_call("b", 5, [])
    waiting = await begin(scene.members.wait_seen(5))
    await scene.members.record_call("b", 6, [])
    await asyncio.sleep(1)
    assert not waiting.done()
    await scene.members.record_call("a", 5, [])
    assert await passed(asyncio.wait_for(waiting, 1)) == 0


@in_virtual_time
async def test_adapter_is_unused_once_no_member_uses_it() -> None:
    scene = Scene()
    await scene.members.record_call("a", 4, [])
    leases = MemberLeases(scene.members, lambda: 5)
    entered = asyncio.Event()

    async def unload() -> None:
        async with leases.exclusive(1):
            entered.set()

    waiting = await begin(unload())
    for seen, draining in ((4, []), (5, [1, 2]), (5, [1])):
        await scene.members.record_call("a", seen, draining)
        await asyncio.sleep(1)
        assert not entered.is_set()
    await scene.members.record_call("a", 5, [2])
    await waiting
    assert entered.is_set()


@in_virtual_time
async def test_dead_member_delays_an_operation_by_7_s() -> None:
    scene = Scene()
    await scene.members.record_call("a", 0, [1])
    await asyncio.sleep(2)
    assert await passed(scene.members.wait_unused(1, 1)) == LIFETIME_S - 2
    assert scene.known() == set()
    assert await passed(scene.members.wait_seen(1)) == 0


@in_virtual_time
async def test_member_that_calls_lives_on() -> None:
    scene = Scene()
    await scene.members.record_call("a", 0, [])
    waiting = await begin(scene.members.wait_seen(1))
    for _ in range(5):
        await asyncio.sleep(LIFETIME_S - 0.01)
        assert not waiting.done()
        await scene.members.record_call("a", 0, [])
    assert scene.known() == {"a"}
    assert await passed(asyncio.wait_for(waiting, 60)) == LIFETIME_S


@in_virtual_time
async def test_only_the_dead_are_not_waited_for() -> None:
    scene = Scene()
    await scene.members.record_call("a", 0, [])
    await scene.members.record_call("b", 0, [])
    waiting = await begin(scene.members.wait_seen(1))
    for _ in range(5):
        await scene.members.record_call("b", 0, [])
        await asyncio.sleep(2)
    assert scene.known() == {"b"}
    assert not waiting.done()
    await scene.members.record_call("b", 1, [])
    assert await passed(asyncio.wait_for(waiting, 1)) == 0


@in_virtual_time
async def test_members_do_not_die_while_the_coordinator_stands_still() -> None:
    scene = Scene()
    await scene.members.record_call("a", 1, [7])
    scene.clock.stood_still_s = 60
    # An operation comes first, and the member's call, which has waited, after it.
    waiting = await begin(scene.members.wait_unused(1, 7))
    assert not waiting.done()
    await scene.members.record_call("a", 1, [7])
    await asyncio.sleep(VALID_S)
    assert not waiting.done()
    await scene.members.record_call("a", 1, [])
    assert await passed(asyncio.wait_for(waiting, 1)) == 0


@in_virtual_time
async def test_members_of_an_earlier_coordinator_are_waited_for() -> None:
    scene = Scene("a", "b")
    waiting = await begin(scene.members.wait_unused(0, 7))
    await scene.members.record_call("a", 0, [])
    await asyncio.sleep(1)
    assert not waiting.done()
    await scene.members.record_call("b", -1, [7])
    await asyncio.sleep(1)
    assert not waiting.done()
    await scene.members.record_call("b", 0, [])
    assert await passed(asyncio.wait_for(waiting, 1)) == 0


@in_virtual_time
async def test_dead_members_of_an_earlier_coordinator_are_forgotten() -> None:
    scene = Scene("a", "b")
    assert await passed(scene.members.wait_seen(0)) == LIFETIME_S
    assert scene.known() == set()


@in_virtual_time
async def test_member_that_leaves_is_not_waited_for() -> None:
    scene = Scene("a")
    waiting = await begin(scene.members.wait_seen(1))
    await scene.members.remove("a")
    assert await passed(asyncio.wait_for(waiting, 1)) == 0
    assert scene.known() == set()
    await scene.members.remove("a")


@in_virtual_time
async def test_the_dead_are_forgotten_when_others_join() -> None:
    scene = Scene()
    for number in range(20):
        await scene.members.record_call(f"m{number}", 0, [])
        await asyncio.sleep(2)
    assert len(scene.known()) < 8


@in_virtual_time
async def test_member_joins_only_if_it_is_stored() -> None:
    """Else a later coordinator would not wait for it."""
    scene = Scene()
    scene.journal.fail_always()
    with pytest.raises(StorageError):
        await scene.members.record_call("a", 0, [])
    assert await passed(scene.members.wait_seen(1)) == 0
    scene.journal.heal()
    await scene.members.record_call("a", 0, [])
    assert scene.known() == {"a"}


@in_virtual_time
async def test_member_leaves_although_the_journal_fails() -> None:
    scene = Scene("a", "b")
    scene.journal.fail_always()
    await scene.members.remove("a")
    assert await passed(scene.members.wait_seen(1)) == LIFETIME_S
    # A later coordinator waits for them once.
    assert scene.known() == {"a", "b"}


@in_virtual_time
async def test_member_that_calls_while_it_is_removed_stays_stored() -> None:
    scene = Scene("a")
    await asyncio.gather(
        scene.members.remove("a"), scene.members.record_call("a", 0, [])
    )
    assert scene.known() == {"a"}
    await scene.members.remove("a")
    first = asyncio.create_task(scene.members.record_call("a", 0, []))
    second = asyncio.create_task(scene.members.record_call("a", 0, []))
    await first
    await scene.members.remove("a")
    await second
    assert scene.known() == {"a"}


@in_virtual_time
async def test_member_that_calls_while_others_are_removed_lives() -> None:
    scene = Scene("a", "b")
    waiting = await begin(scene.members.wait_seen(1))
    # Both are late at the same moment. One is being removed when the other one calls.
    await asyncio.sleep(LIFETIME_S - 0.001)
    while scene.known() == {"a", "b"}:  # noqa: ASYNC110 - time must not pass
        await asyncio.sleep(0)
    (late,) = scene.known()
    await scene.members.record_call(late, 0, [])
    await asyncio.sleep(1)
    assert not waiting.done()
    assert scene.known() == {late}
