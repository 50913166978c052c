"""Random operations in a cluster whose processes are killed, compared with a dict.

A member and the coordinator can be killed at any time, the coordinator also before and
after each of its effects; the journal can fail, and a member can lose its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
from collections.abc import Awaitable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cluster import Cluster, Member
from model_hosting_container_standards.adapters.adapter import Adapter, AdapterSpec
from model_hosting_container_standards.cluster.adapter_table import JournaledAdapters
from model_hosting_container_standards.cluster.members import VALID_S
from model_hosting_container_standards.exceptions import (
    AdapterConflictError,
    AdapterEngineError,
    AdapterNotFoundError,
    StorageError,
)
from virtual_time import VirtualTimeLoop

T = TypeVar("T")

MEMBERS: Final = 3
#: The possible weights of an adapter: the text of its answers.
TEXTS: Final = ("one", "two")

places = st.integers(0, MEMBERS - 1)
names = st.sampled_from(["a", "b/c"])


@dataclasses.dataclass(frozen=True)
class Entry:
    """A registered adapter."""

    text: str
    pin: bool = False


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation, and its expected effect on the entry of its name."""

    command: str
    name: str
    text: str = ""
    pin: bool = False
    replace: bool = False
    preload: bool = True

    def apply(self, old: Entry | None) -> Entry | None:
        """Return the entry afterwards.

        Raises:
            AdapterError: that of the operation.
        """
        if self.command == "register":
            if old is None or self.replace:
                return Entry(self.text, self.pin)
            if old.text != self.text:
                raise AdapterConflictError
            return dataclasses.replace(old, pin=old.pin or self.pin)
        if old is None:
            raise AdapterNotFoundError
        pinned = dataclasses.replace(old, pin=self.pin)
        return None if self.command == "unregister" else pinned


operations = st.one_of(
    st.builds(
        Operation,
        st.just("register"),
        names,
        st.sampled_from(TEXTS),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(Operation, st.just("unregister"), names),
    st.builds(Operation, st.just("update"), names, pin=st.booleans()),
)


@dataclasses.dataclass
class Lease:
    """An adapter that a request of a member uses."""

    member: Member
    adapter: Adapter
    text: str
    use: contextlib.ExitStack


class Processes(RuleBasedStateMachine):
    """A cluster, and the dict that it is compared with."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = VirtualTimeLoop()
        #: The registered adapters by name.
        self.expected: dict[str, Entry] = {}
        self.leases: list[Lease] = []
        self.ids: dict[int, str] = {}

    @initialize()
    def begin(self) -> None:
        self.run(self._begin())

    async def _begin(self) -> None:
        self.cluster = Cluster(Path(self.folder.name))
        for text in TEXTS:
            self.cluster.write(text)
        await self.cluster.start_coordinator()
        for _ in range(MEMBERS):
            await self.cluster.start()

    def teardown(self) -> None:
        try:
            if hasattr(self, "cluster"):
                self.run(self._end())
        finally:
            self.loop.close()
            self.folder.cleanup()

    async def _end(self) -> None:
        """Check that everything that was unregistered is unloaded in the end."""
        for member in self.members:
            member.link.is_up = True
        while self.leases:
            self.end_lease(self.leases[0])
        # Its table may have adapters whose deletion could not be stored.
        await self.cluster.restart_coordinator()
        await asyncio.sleep(60)
        rows = self.cluster.coordinator.adapters.rows()
        assert [row.state for row in rows] == ["ready"] * len(self.expected)
        ids = {row.id for row in rows}
        for member in self.members:
            assert member.engine.loaded().keys() <= ids
        await self.cluster.__aexit__(None, None, None)

    # --- rules ----------------------------------------------------------------------

    @rule(place=places, operation=operations)
    def operate(self, place: int, operation: Operation) -> None:
        self.run(self.check_operation(self.members[place], operation))

    @rule(place=places, first=operations, second=operations)
    def operate_both(self, place: int, first: Operation, second: Operation) -> None:
        if first.name == second.name:
            return
        other = self.members[(place + 1) % MEMBERS]
        self.run(
            self.check_operation(self.members[place], first),
            self.check_operation(other, second),
        )

    @rule(place=places, operation=operations, effect=st.integers(0, 15))
    def kill_coordinator_during(
        self, place: int, operation: Operation, effect: int
    ) -> None:
        self.cluster.life.end_at(effect)
        self.run(self.try_operation(self.members[place], operation))
        self.run(self.cluster.restart_coordinator())
        self.run(asyncio.sleep(VALID_S))

    @rule(place=places, operation=operations, write=st.integers(0, 4))
    def fail_write_during(self, place: int, operation: Operation, write: int) -> None:
        self.cluster.journal.fail(write)
        self.run(self.try_operation(self.members[place], operation))
        self.cluster.journal.heal()
        self.run(asyncio.sleep(VALID_S))

    @rule()
    def restart_coordinator(self) -> None:
        self.run(self.cluster.restart_coordinator())

    @rule(place=places)
    def kill_member(self, place: int) -> None:
        member = self.members[place]
        self.leases = [one for one in self.leases if one.member is not member]
        self.cluster.kill(member)
        self.run(self.cluster.start())

    @rule(place=places)
    def disconnect(self, place: int) -> None:
        # A request that takes longer than the member counts as living is not safe.
        if not any(one.member is self.members[place] for one in self.leases):
            self.members[place].link.is_up = False

    @rule(place=places)
    def connect(self, place: int) -> None:
        self.members[place].link.is_up = True

    @rule(place=places, delay_s=st.sampled_from([0, 0.5, 2]))
    def delay(self, place: int, delay_s: float) -> None:
        self.members[place].link.delay_s = delay_s

    @rule(seconds=st.sampled_from([0.1, 2, 6, 10]))
    def pass_time(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(place=places, name=names)
    def lease(self, place: int, name: str) -> None:
        member, entry = self.members[place], self.expected.get(name)
        if entry is None or not member.link.is_up or len(self.leases) == 3:
            return
        adapter = self.run(member.registry.lease_loaded(name))
        use = contextlib.ExitStack()
        use.enter_context(member.engine.using(adapter))
        self.leases.append(Lease(member, adapter, entry.text, use))
        assert self.run(member.engine.answer(adapter)) == entry.text

    @rule(which=st.integers(0, 2))
    def release(self, which: int) -> None:
        if which < len(self.leases):
            self.end_lease(self.leases[which])

    # --- invariants -----------------------------------------------------------------

    @invariant()
    def requests_are_answered_as_expected(self) -> None:
        if hasattr(self, "cluster"):
            self.check_copies()
            self.run(*map(self.check_answers, self.members))

    @invariant()
    def nothing_that_is_leased_is_unloaded(self) -> None:
        for lease in self.leases:
            assert lease.adapter.id in lease.member.engine.loaded()
            assert self.run(lease.member.engine.answer(lease.adapter)) == lease.text
        if hasattr(self, "cluster"):
            for member in self.members:
                assert member.engine.violations == []

    @invariant()
    def no_id_is_used_twice(self) -> None:
        if hasattr(self, "cluster"):
            for row in self.cluster.coordinator.adapters.rows():
                assert self.ids.setdefault(row.id, row.name) == row.name

    def check_copies(self) -> None:
        """Check what each member answers now, without waiting for the coordinator."""
        for member in self.members:
            for name in ("a", "b/c"):
                with contextlib.suppress(AdapterNotFoundError, AdapterEngineError):
                    adapter = member.registry.lease(name)
                    member.registry.release(adapter)
                    assert Path(adapter.src).name == self.expected[name].text

    async def check_answers(self, member: Member) -> None:
        for name in ("a", "b/c"):
            entry = self.expected.get(name)
            try:
                text = await member.ask(name)
                assert entry is not None
                assert (text, member.registry.get(name).pin) == (entry.text, entry.pin)
            except AdapterNotFoundError:
                assert entry is None
            except AdapterEngineError:
                assert not member.link.is_up

    # --- helpers --------------------------------------------------------------------

    @property
    def members(self) -> list[Member]:
        return self.cluster.members

    def run(self, *work: Awaitable[T]) -> T:
        """Do work at once; return the first result."""

        async def gather() -> T:
            results: list[T] = await asyncio.gather(*work)
            return results[0]

        return self.loop.run_until_complete(gather())

    def end_lease(self, lease: Lease) -> None:
        self.leases.remove(lease)
        lease.use.close()
        lease.member.registry.release(lease.adapter)

    async def check_operation(self, member: Member, operation: Operation) -> None:
        if not member.link.is_up:
            return
        try:
            after = operation.apply(self.expected.get(operation.name))
        except (AdapterConflictError, AdapterNotFoundError) as error:
            with contextlib.suppress(type(error)):
                await self.carry_out(member, operation)
                raise AssertionError(f"{operation} is not refused.") from None
        else:
            await self.carry_out(member, operation)
            self.expect(operation.name, after)

    async def try_operation(self, member: Member, operation: Operation) -> None:
        """Carry out an operation that may fail; see whether it has been done."""
        name = operation.name
        before = after = self.expected.get(name)
        with contextlib.suppress(AdapterConflictError, AdapterNotFoundError):
            after = operation.apply(before)
        try:
            await self.carry_out(member, operation)
            self.expect(name, after)
        except (AdapterConflictError, AdapterNotFoundError):
            assert after == before
        except (AdapterEngineError, StorageError):
            entry = self.stored(name)
            assert entry in (before, after)
            self.expect(name, entry)

    async def carry_out(self, member: Member, operation: Operation) -> None:
        registry, name = member.registry, operation.name
        work: Coroutine[Any, Any, None]
        if operation.command == "register":
            src = str(self.cluster.folder / "adapters" / operation.text)
            work = registry.register(
                AdapterSpec(
                    name, src, operation.preload, operation.pin, operation.replace
                )
            )
        elif operation.command == "unregister":
            work = registry.unregister(name)
        else:
            work = registry.update(name, pin=operation.pin)
        await work

    def expect(self, name: str, entry: Entry | None) -> None:
        self.expected.pop(name, None)
        if entry is not None:
            self.expected[name] = entry

    def stored(self, name: str) -> Entry | None:
        """Return what a coordinator that starts now would find."""
        table = JournaledAdapters(self.cluster.journal, lambda: None)
        found = table.view().get(name)
        return None if found is None else Entry(Path(found.src).name, found.pin)


TestProcesses = Processes.TestCase
TestProcesses.settings = settings(
    # The same examples on every run, so that a failure can be reproduced.
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=10,
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
