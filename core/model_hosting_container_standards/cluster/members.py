"""The members of a cluster: what each has seen of the adapters, and which it uses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from ..adapters.leases import ExclusiveLocks
from .journal import Journal

_MEMBERS: Final = "member/"
#: Seconds for which a member may use its copy of the adapters without a new answer.
VALID_S: Final = 6.0
#: Seconds after its last call when a member that has not left counts as dead. Longer,
#: as a member counts from before its call.
LIFETIME_S: Final = VALID_S + 1.0


class _Member(msgspec.Struct):
    """A member: the version it has seen, and the removed adapters it still uses."""

    seen: int
    draining: frozenset[int]
    expires: float


class Members:
    """The living members, by id.

    Their ids are in the journal: members of an earlier coordinator may use what they
    have seen of it until they have called this one.

    Args:
        now: returns the time in seconds, of a clock that never goes back.
    """

    def __init__(self, journal: Journal, now: Callable[[], float]) -> None:
        self._journal = journal
        self._now = now
        self._members: dict[str, _Member] = {}
        self._heard = asyncio.Event()
        for member_id in journal.entries(_MEMBERS):
            self._members[member_id] = self._make(-1, ())

    def hear(self, member_id: str, seen: int, draining: Collection[int]) -> None:
        """Note a member's call, which proves that it lives.

        Raises:
            StorageError: the journal cannot be written.
        """
        if member_id not in self._members:
            self._journal.put(_MEMBERS + member_id, b"")
        self._members[member_id] = self._make(seen, draining)
        self._wake()

    def remove(self, member_id: str) -> None:
        """Note that a member has left.

        Raises:
            StorageError: the journal cannot be written.
        """
        if self._members.pop(member_id, None) is not None:
            self._journal.delete(_MEMBERS + member_id)
            self._wake()

    async def wait_seen(self, version: int) -> None:
        """Wait until every living member has seen a version."""
        await self._wait(lambda member: member.seen < version)

    async def wait_unused(self, version: int, adapter_id: int) -> None:
        """Wait until no member uses an adapter, which a version does not have."""
        await self._wait(
            lambda member: member.seen < version or adapter_id in member.draining
        )

    async def _wait(self, is_awaited: Callable[[_Member], bool]) -> None:
        while True:
            now = self._now()
            self._remove_dead(now)
            awaited = [
                member.expires
                for member in self._members.values()
                if is_awaited(member)
            ]
            if not awaited:
                return
            heard = self._heard
            try:
                await asyncio.wait_for(heard.wait(), max(0.0, min(awaited) - now))
            except asyncio.TimeoutError:
                continue

    def _remove_dead(self, now: float) -> None:
        for member_id, member in [*self._members.items()]:
            if member.expires <= now:
                self.remove(member_id)

    def _make(self, seen: int, draining: Collection[int]) -> _Member:
        return _Member(seen, frozenset(draining), self._now() + LIFETIME_S)

    def _wake(self) -> None:
        self._heard.set()
        self._heard = asyncio.Event()


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
