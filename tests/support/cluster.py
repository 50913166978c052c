"""A cluster in one process: a coordinator, its journal, members with an engine each.

Any of them can be killed, and the journal and each member's connection can fail. Use it
in a :class:`~virtual_time.VirtualTimeLoop`::

    async with Cluster(tmp_path) as cluster:
        first, second = await cluster.start(), await cluster.start()
        await first.registry.register(AdapterSpec("cats", cluster.write("meow")))
        assert await second.ask("cats") == "meow"
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from adapter_engine import AdapterEngine, write_adapter
from model_hosting_container_standards.adapters.adapter import Adapter
from model_hosting_container_standards.cluster.connection import Connection
from model_hosting_container_standards.cluster.coordinator import Coordinator
from model_hosting_container_standards.cluster.journal import Journal
from model_hosting_container_standards.cluster.registry import ClusterRegistry
from model_hosting_container_standards.exceptions import (
    AdapterEngineError,
    StorageError,
)

SLOTS: Final = 10


class MemoryJournal(Journal):
    """Entries in a dict.

    ``failing`` has the numbers of the next writes that fail, where 0 is the first.
    """

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.failing: Collection[int] = ()
        self.has_failed = False
        self._writes = 0

    def put(self, key: str, value: bytes) -> None:
        self._write()
        self.stored[key] = value

    def delete(self, key: str) -> None:
        self._write()
        self.stored.pop(key, None)

    def entries(self, prefix: str) -> Mapping[str, bytes]:
        return {
            key.removeprefix(prefix): value
            # A copy, as another thread may write.
            for key, value in [*self.stored.items()]
            if key.startswith(prefix)
        }

    def fail(self, *writes: int) -> None:
        """Let these of the next writes fail."""
        self.failing = {self._writes + number for number in writes}

    def fail_always(self) -> None:
        self.failing = range(self._writes, 1 << 60)

    def heal(self) -> None:
        self.failing = ()

    def _write(self) -> None:
        number, self._writes = self._writes, self._writes + 1
        if number in self.failing:
            self.has_failed = True
            raise StorageError("The journal cannot be written.")


class Life:
    """The life of a coordinator's process, which may end before or after an effect.

    Its effects are what others see of it: a write to the journal, a call of an engine.
    """

    def __init__(self) -> None:
        self.is_over = False
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._effects = 0
        self._last = -1

    def end_at(self, effect: int) -> None:
        """End at one of the next effects: 0 is before the first, 1 after it."""
        self._last = 2 * self._effects + effect

    def end(self) -> None:
        self.is_over = True
        self._loop.call_soon_threadsafe(self.ended.set)

    @contextlib.contextmanager
    def effect(self) -> Iterator[None]:
        """Have an effect within the block, unless the process has ended."""
        number, self._effects = self._effects, self._effects + 1
        if self._last == 2 * number:
            self.end()
        if self.is_over:
            raise StorageError("This process was killed.")
        yield
        if self._last == 2 * number + 1:
            self.end()
            raise StorageError("This process was killed.")


class MortalJournal(Journal):
    """The journal, as one coordinator writes to it."""

    def __init__(self, journal: Journal, life: Life) -> None:
        self._journal = journal
        self._life = life

    def put(self, key: str, value: bytes) -> None:
        with self._life.effect():
            self._journal.put(key, value)

    def delete(self, key: str) -> None:
        with self._life.effect():
            self._journal.delete(key)

    def entries(self, prefix: str) -> Mapping[str, bytes]:
        return self._journal.entries(prefix)


class Fleet(AdapterEngine):
    """The engines of all members, as one coordinator calls them."""

    def __init__(self, cluster: Cluster, life: Life) -> None:
        super().__init__(cluster.folder / "fleet", slots=SLOTS)
        self._cluster = cluster
        self._life = life

    async def load(self, adapter: Adapter) -> str | None:
        for engine in self._engines():
            with self._life.effect():
                await engine.load(adapter)
        return None

    async def unload(self, adapter: Adapter) -> None:
        for engine in self._engines():
            with self._life.effect():
                await engine.unload(adapter)

    async def pin(self, adapter: Adapter) -> None:
        for engine in self._engines():
            with self._life.effect():
                await engine.load(adapter)
                await engine.pin(adapter)

    async def unpin(self, adapter: Adapter) -> None:
        for engine in self._engines():
            with self._life.effect():
                await engine.load(adapter)
                await engine.unpin(adapter)

    def _engines(self) -> list[AdapterEngine]:
        return [each.engine for each in self._cluster.members if each.link.is_up]


class Link(Connection):
    """A member's connection.

    Args:
        cluster: its present coordinator is called.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.is_up = True
        #: Seconds that an answer takes.
        self.delay_s = 0.0
        self.calls: list[str] = []

    async def call(self, method: str, *args: Any) -> Any:
        self.calls.append(method)
        coordinator, life = self._cluster.coordinator, self._cluster.life
        self._check(life)
        call = asyncio.ensure_future(getattr(coordinator, method)(*args))
        ended = asyncio.ensure_future(life.ended.wait())
        try:
            await asyncio.wait({call, ended}, return_when="FIRST_COMPLETED")
            await asyncio.sleep(self.delay_s)
            self._check(life)
            return call.result()
        finally:
            ended.cancel()
            call.cancel()
            await asyncio.gather(call, ended, return_exceptions=True)

    def _check(self, life: Life) -> None:
        if life.is_over or not self.is_up:
            raise AdapterEngineError("The coordinator cannot be reached.")


class Member:
    """A server process with its engine."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.engine = AdapterEngine(cluster.folder / f"member-{number}", slots=SLOTS)
        self.link = Link(cluster)
        loop = asyncio.get_running_loop()
        self.registry = ClusterRegistry(self.engine, self.link, None, loop.time)
        self.engine.attach(self.registry)

    async def ask(self, name: str) -> str:
        """Return the text with which an adapter answers a request."""
        return await self.engine.infer(name)

    def stop_calling(self) -> None:
        """Stop without a word, as a process that is killed."""
        self.link.is_up = False
        self.registry._tasks.cancel()


class Cluster:
    """A coordinator and its members."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = MemoryJournal()
        self.members: list[Member] = []
        self._started = 0

    async def __aenter__(self) -> Cluster:
        await self.start_coordinator()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.journal.heal()
        for member in self.members:
            await member.registry.close()
        await self.coordinator.close()

    async def start_coordinator(self) -> None:
        """Start a coordinator, which finishes what the one before had begun."""
        loop = asyncio.get_running_loop()
        self.life = Life()
        journal = MortalJournal(self.journal, self.life)
        fleet = Fleet(self, self.life)
        self.coordinator = Coordinator(fleet, journal, None, loop.time)
        await self.coordinator.restore()

    async def kill_coordinator(self) -> None:
        self.life.end()
        await self.coordinator.close()

    async def restart_coordinator(self) -> None:
        await self.kill_coordinator()
        await self.start_coordinator()

    async def start(self) -> Member:
        """Start a member."""
        member = Member(self, self._started)
        self._started += 1
        self.members.append(member)
        await member.registry.start()
        return member

    def kill(self, member: Member) -> None:
        self.members.remove(member)
        member.stop_calling()

    def write(self, text: str) -> str:
        """Write an adapter that answers with a text; return its path."""
        return write_adapter(self.folder / "adapters" / text, text)
