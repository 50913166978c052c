"""Random operations by two processes of one server, compared with a dict.

Processes are killed at any time, also during an operation, and are replaced. A kill may
leave the state of a name uncertain until the next operation on that name.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from adapter_engine import BROKEN, write_adapter
from adapter_model import SLOTS, Entry, Operation, World
from adapter_process import AdapterProcess, AdapterServer, Died
from servers import polling

#: The folders of adapters; each adapter answers with the name of its folder.
SOURCES: Final = ("one", "two", BROKEN)

names = st.sampled_from(["a", "b/c"])
flags = st.booleans()
places = st.integers(0, 1)
tokens = st.sampled_from(["x", "y"])


@st.composite
def registrations(draw: st.DrawFn, pins: bool = True) -> Operation:
    src = draw(st.sampled_from(SOURCES if pins else SOURCES[:2]))
    fields = {
        "src": src,
        "pin": pins and draw(flags),
        # A broken adapter is always preloaded, so that it fails when it is registered.
        "preload": src == BROKEN or draw(flags),
        "replace": draw(flags),
    }
    return Operation("register", draw(names), fields)


unregistrations = names.map(lambda name: Operation("unregister", name))
updates = st.builds(
    Operation,
    st.just("update"),
    names,
    st.fixed_dictionaries({}, optional={"pin": flags, "preload": flags}).filter(bool),
)
operations = st.one_of(registrations(), updates, registrations(), unregistrations)
peaceful = st.one_of(registrations(pins=False), unregistrations)
moments = st.sampled_from(
    [
        f"{step} {when}"
        for step in ("load", "unload", "pin")
        for when in ("before", "after")
    ]
)


class Lease(NamedTuple):
    process: AdapterProcess
    name: str
    id: int
    text: str


class Processes(RuleBasedStateMachine):
    """Two processes of a server, and the model that they are compared with.

    A rule that cannot be followed does nothing instead of having a precondition: which
    state racing and killed processes leave behind differs between runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        for text in SOURCES:
            write_adapter(Path(self.folder.name, text), text)
        self.server = AdapterServer(Path(self.folder.name), slots=SLOTS)
        self.world = World({}, {})
        self.leases: dict[str, Lease] = {}
        #: Adapters to unload when their leases end, by id: (name, unloading processes).
        self.retiring: dict[int, tuple[str, list[AdapterProcess]]] = {}
        #: Names that killed processes left uncertain, until the next operation on them.
        self.unsure: set[str] = set()
        #: Names whose pin may differ from the table, until it is set again.
        self.unsure_pins: set[str] = set()
        self.engine_names: dict[int, str] = {}
        #: Operations since the last kill: some are needed before another one is useful.
        self.calm = 0

    @initialize()
    def begin(self) -> None:
        self.processes = [self.server.start(), self.server.start()]

    def teardown(self) -> None:
        with self.server:
            pass
        self.folder.cleanup()

    # --- rules ---------------------------------------------------------------------

    @rule(place=places, operation=operations)
    def operate(self, place: int, operation: Operation) -> None:
        process = self.processes[place]
        self.tell(process, operation)
        self.answered(process, operation, process.answered_status())

    @rule(first=peaceful, second=peaceful)
    def operate_both(self, first: Operation, second: Operation) -> None:
        tasks = list(zip(self.processes, (first, second), strict=True))
        for process, operation in tasks:
            self.tell(process, operation)
        statuses = {process: process.answered_status() for process in self.processes}
        seen = comparable(self.seen(self.processes[0]))
        found = [
            world
            for order in (tasks, tasks[::-1])
            for expected, world in [self.one_by_one(order)]
            if expected == statuses and comparable(world) == seen
        ]
        unloads = any(operation.command == "unregister" for _, operation in tasks)
        if not found and (unloads or self.unsure) and 507 in statuses.values():
            # An adapter that is being unloaded keeps its slot longer than its name, and
            # so may an adapter of a killed process.
            found = [self.one_by_one([t for t in tasks if statuses[t[0]] != 507])[1]]
        assert found, (first, second, statuses, seen)
        for process, operation in tasks:
            self.done(process, operation, found[0], statuses[process])
        self.world = found[0]

    @rule(place=places, name=names)
    def ask(self, place: int, name: str) -> None:
        process, entry = self.processes[place], self.world.table.get(name)
        if entry is None:
            assert process.status("text", name=name) == 404
        else:
            assert process.ask("text", name=name) == entry.src

    @rule(place=places, which=st.integers(0, 1))
    def lease(self, place: int, which: int) -> None:
        found = sorted(self.world.table.items())
        if not found or len(self.leases) == 3:
            return
        name, entry = found[which % len(found)]
        assert entry.id is not None
        token = next(token for token in "xyz" if token not in self.leases)
        process = self.processes[place]
        assert process.ask("lease", name=name, token=token) == entry.id
        self.leases[token] = Lease(process, name, entry.id, entry.src)

    @rule(token=tokens)
    def answer_by_a_lease(self, token: str) -> None:
        if lease := self.leases.get(token):
            assert lease.process.ask("leased_text", token=token) == lease.text

    @rule(token=tokens)
    def release(self, token: str) -> None:
        if lease := self.leases.pop(token, None):
            lease.process.ask("release", token=token)

    @rule(place=places)
    def kill(self, place: int) -> None:
        if self.calm > 1:
            self.processes[place].kill()
            self.replace(place)

    @rule(place=places, operation=operations, moment=moments)
    def die_in_the_middle(self, place: int, operation: Operation, moment: str) -> None:
        if self.calm <= 1:
            return
        process, before = self.processes[place], self.world
        self.server.engine.set_trap(moment)
        self.tell(process, operation)
        try:
            self.answered(process, operation, process.answered_status())
            # A late unload may reach the trap only now.
            self.wait_until_settled(process)
        except Died:
            after = operation.apply(before, self.leased)[1]
            self.unsure.add(operation.name)
            self.unsure_pins.add(operation.name)
            self.replace(place)
            self.world = self.found(operation.name, before, after)
        self.server.engine.remove_traps()

    @rule(stop=flags)
    def restart_all(self, stop: bool) -> None:
        if self.calm <= 1:
            return
        for process in self.processes:
            if stop:
                process.ask("stop")
            process.kill()
        self.server.engine.start_anew()
        self.calm = 0
        self.begin()
        for known in (self.leases, self.retiring, self.unsure, self.unsure_pins):
            known.clear()
        self.world = World(self.world.table, {})

    # --- invariants --------------------------------------------------------

    @invariant()
    def state_matches_the_model(self) -> None:
        for process in self.processes:
            assert comparable(self.seen(process)) == comparable(self.world)
        self.check_ids()
        self.forget_unleased()
        self.wait_until_settled(self.processes[0])
        self.check_engine()

    def check_ids(self) -> None:
        """Check that no id or engine's name is used for two registrations."""
        found = self.processes[0].ask("registered")
        for one in sorted(found, key=lambda adapter: int(adapter.id)):
            if one.id not in self.engine_names:
                assert one.id > max(self.engine_names, default=0)
                assert one.engine_name not in self.engine_names.values()
                self.engine_names[one.id] = one.engine_name
            assert self.engine_names[one.id] == one.engine_name
            entry = self.world.table[one.name]
            assert entry.id in (None, one.id)
            known = dataclasses.replace(entry, id=one.id)
            self.world = self.world.with_entry(one.name, known)

    def check_engine(self) -> None:
        engine = self.server.engine
        assert engine.violations == []
        loaded = engine.loaded()
        assert self.leased <= loaded.keys()
        ours = {entry.id for entry in self.world.table.values()}
        for key in loaded.keys() - ours - self.world.leaving.keys():
            assert loaded[key]["adapter"] in self.unsure, f"{loaded[key]} leaked"
        for name, entry in self.world.table.items():
            if name not in self.unsure_pins and entry.id is not None:
                pinned = entry.id in loaded and loaded[entry.id]["pinned"]
                assert (name, pinned) == (name, entry.pin)

    # --- helpers ---------------------------------------------------------------------

    @property
    def leased(self) -> set[int]:
        return {lease.id for lease in self.leases.values()}

    def tell(self, process: AdapterProcess, operation: Operation) -> None:
        fields = dict(operation.fields)
        if "src" in fields:
            fields["src"] = str(Path(self.folder.name, fields["src"]))
        process.tell(operation.command, name=operation.name, **fields)

    def one_by_one(
        self, tasks: list[tuple[AdapterProcess, Operation]]
    ) -> tuple[dict[AdapterProcess, int], World]:
        statuses, world = {}, self.world
        for process, operation in tasks:
            statuses[process], world = operation.apply(world, self.leased)
        return statuses, world

    def answered(
        self, process: AdapterProcess, operation: Operation, status: int
    ) -> None:
        expected, world = operation.apply(self.world, self.leased)
        if status == 507 and self.unsure and expected in (200, 400):
            # An adapter of a killed process may occupy a slot too.
            world = self.found(operation.name, self.world, world)
        else:
            assert status == expected, operation
        self.done(process, operation, world, status)
        self.world = world

    def done(
        self, process: AdapterProcess, operation: Operation, world: World, status: int
    ) -> None:
        self.calm += 1
        name, old = operation.name, self.world.table.get(operation.name)
        if old is not None and old.id is not None and old.id in world.leaving:
            self.retiring.setdefault(old.id, (name, []))[1].append(process)
        ids = {entry.id for entry in world.table.values()} | world.leaving.keys()
        if not any(
            lease.name == name and lease.id not in ids for lease in self.leases.values()
        ):
            self.unsure.discard(name)
        if status == 200 and (old is None or operation.sets_pin):
            self.unsure_pins.discard(name)

    def replace(self, place: int) -> None:
        """Start a process in place of one that was killed."""
        self.calm = 0
        dead = self.processes[place]
        self.processes[place] = self.server.start()
        for token, lease in [*self.leases.items()]:
            if lease.process is dead:
                del self.leases[token]
        leaving = dict(self.world.leaving)
        for key, (name, owners) in self.retiring.items():
            if dead in owners and leaving.pop(key, None) is not None:
                self.unsure.add(name)
        self.world = World(self.world.table, leaving)

    def found(self, name: str, before: World, after: World) -> World:
        """Return the model with the actual entry of a name that is uncertain."""
        seen = self.seen(self.processes[0]).table.get(name)
        possible = [world.table.get(name) for world in (before, after)]
        if seen is None or None in possible:
            assert comparable_entry(seen) in map(comparable_entry, possible)
        else:
            for field in ("src", "pin", "preload"):
                values = [getattr(entry, field) for entry in possible]
                assert getattr(seen, field) in values
        return World(self.world.with_entry(name, seen).table, self.world.leaving)

    def forget_unleased(self) -> None:
        leaving = self.world.leaving
        kept = {key: leaving[key] for key in leaving.keys() & self.leased}
        self.world = World(self.world.table, kept)

    def wait_until_settled(self, process: AdapterProcess) -> None:
        """Return once all that can be unloaded is unloaded."""
        for _ in polling(10, interval=0.005):
            rows = process.ask("rows")
            left = {
                row.id: row.name
                for row in rows
                if row.state in ("loading", "draining") and row.name not in self.unsure
            }
            if left.keys() <= self.world.leaving.keys() & self.leased:
                return
        raise AssertionError(
            f"{left} are not unloaded; only {self.world.leaving} may stay."
        )

    @staticmethod
    def seen(process: AdapterProcess) -> World:
        registered = process.ask("registered")
        assert all(one.state == "ready" for one in registered)
        return World(
            {
                one.name: Entry(Path(one.src).name, one.pin, one.preload, one.id)
                for one in registered
            },
            {},
        )


def comparable(world: World) -> Any:
    return {name: comparable_entry(entry) for name, entry in world.table.items()}


def comparable_entry(entry: Entry | None) -> Any:
    return entry and (entry.src, entry.pin, entry.preload)


TestProcesses = Processes.TestCase
TestProcesses.settings = settings(
    # The same examples on every run, so that a failure can be reproduced.
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=12,
    stateful_step_count=50,
    suppress_health_check=list(HealthCheck),
)
