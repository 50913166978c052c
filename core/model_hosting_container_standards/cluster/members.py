"""The members of a cluster: what each has seen of the adapters, and which it uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from starlette.concurrency import run_in_threadpool

from ..adapters.leases import ExclusiveLocks
from ..exceptions import StorageError
from ..logging_config import get_logger
from .journal import Journal
from .notification import Notification

logger = get_logger(__name__)

_MEMBERS: Final = "member/"
#: Seconds for which a member may use its copy of the adapters without a new answer. It
#: counts from before its call.
VALID_S: Final = 6.0
#: Seconds in which a member that has not called for ``VALID_S`` may still call. If this
#: process was paused, that call is already waiting.
GRACE_S: Final = 1.0


class _Member(msgspec.Struct, eq=False):
    """A member: the version it has seen, and the removed adapters it still uses."""

    seen: int
    draining: frozenset[int]
    expires: float
    is_late: bool = False


class Members:
    """The live members, by id.

    Their ids are in the journal: members of an earlier coordinator may use what they
    have seen of it until they have called this one.

    Args:
        now: returns the time in seconds, of a clock that never goes back.
    """

    def __init__(self, journal: Journal, now: Callable[[], float]) -> None:
        self._journal = journal
        self._now = now
        self._members: dict[str, _Member] = {}
        #: Held while the journal is written, in the order of the changes.
        self._writing = asyncio.Lock()
        self._called = Notification()
        for member_id in journal.entries(_MEMBERS):
            self._members[member_id] = self._make(-1, ())

    async def record_call(
        self, member_id: str, seen: int, draining: Collection[int]
    ) -> None:
        """Record a member's call, which shows that it is alive.

        Raises:
            StorageError: it is a new member, and the journal cannot be written.
        """
        if member_id in self._members:
            self._members[member_id] = self._make(seen, draining)
        else:
            await self._remove_dead()
            async with self._writing:
                key = _MEMBERS + member_id
                await run_in_threadpool(self._journal.put, key, b"")
                self._members[member_id] = self._make(seen, draining)
        self._called.notify()

    async def remove(self, member_id: str) -> None:
        """Record that a member has left or died."""
        if self._members.pop(member_id, None) is None:
            return
        self._called.notify()
        async with self._writing:
            if member_id in self._members:
                return  # It has called in the meantime.
            try:
                await run_in_threadpool(self._journal.delete, _MEMBERS + member_id)
            except StorageError as error:
                # The next coordinator will wait for it once.
                logger.info("Member %s stays in the journal: %s", member_id, error)

    async def wait_seen(self, version: int) -> None:
        """Wait until every live member has seen a version."""
        await self._wait(lambda member: member.seen < version)

    async def wait_unused(self, version: int, adapter_id: int) -> None:
        """Wait until no member uses an adapter, which a version does not have."""
        await self._wait(
            lambda member: member.seen < version or adapter_id in member.draining
        )

    async def _wait(self, is_awaited: Callable[[_Member], bool]) -> None:
        while True:
            await self._remove_dead()
            now = self._now()
            awaited = [
                member.expires
                for member in self._members.values()
                if is_awaited(member)
            ]
            if not awaited:
                return
            await self._called.wait(max(0.0, min(awaited) - now))

    async def _remove_dead(self) -> None:
        now = self._now()
        for member_id, member in [*self._members.items()]:
            if member.expires > now or self._members.get(member_id) is not member:
                continue
            if member.is_late:
                await self.remove(member_id)
            else:
                member.is_late, member.expires = True, now + GRACE_S

    def _make(self, seen: int, draining: Collection[int]) -> _Member:
        return _Member(seen, frozenset(draining), self._now() + VALID_S)


class MemberLeases(ExclusiveLocks):
    """The leases of all members.

    Args:
        version: returns the current version of the adapters.
    """

    def __init__(self, members: Members, version: Callable[[], int]) -> None:
        self._members = members
        self._version = version

    @asynccontextmanager
    async def exclusive(self, adapter_id: int, /) -> AsyncIterator[None]:
        """Wait until no member uses an adapter that has been removed from the view."""
        await self._members.wait_unused(self._version(), adapter_id)
        yield
