"""Processes of one server, each with its own view of the adapters; tests send commands.

with AdapterServer(tmp_path, slots=2) as server:
    first, second = server.start(), server.start()
    first.ask("register", name="a", src=src)
    assert second.ask("text", name="a") == "meow"
    first.kill()
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from adapter_engine import AdapterEngine
from model_hosting_container_standards.adapters import service
from model_hosting_container_standards.adapters.adapter import Adapter, AdapterSpec
from model_hosting_container_standards.adapters.local_registry import LocalRegistry
from model_hosting_container_standards.adapters.runtime import AdapterRuntime
from model_hosting_container_standards.exceptions import AdapterError
from model_hosting_container_standards.sagemaker import bootstrap
from model_hosting_container_standards.settings import read_settings

# The forkserver imports the slow modules once.
_processes: Final = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["pytest", bootstrap.__module__])
_ANSWER_S: Final = 20.0


class Died(Exception):
    """The process died before it answered."""


class Refused(Exception):
    """The process answered with an error of this status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status


class AdapterProcess:
    """A process of a server."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.is_dead = False
        self._pipe, others = _processes.Pipe()
        self._process = _processes.Process(
            target=_main, args=(others, folder, dict(settings)), daemon=True
        )
        self._process.start()
        others.close()

    def tell(self, command: str, **arguments: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send((command, arguments))

    def answer(self) -> Any:
        """Return the answer to the last command.

        Raises:
            Died: the process died instead.
            Refused: the process answered with an error.
        """
        try:
            assert self._pipe.poll(_ANSWER_S), "The process does not answer."
            kind, *value = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self.kill()
            raise Died from None
        if kind == "refused":
            raise Refused(*value)
        return value[0]

    def ask(self, command: str, **arguments: Any) -> Any:
        self.tell(command, **arguments)
        return self.answer()

    def status(self, command: str, **arguments: Any) -> int:
        """Return 200, or the status of the error."""
        self.tell(command, **arguments)
        return self.answered_status()

    def answered_status(self) -> int:
        try:
            self.answer()
        except Refused as refused:
            return refused.status
        return 200

    def wait_until_dead(self) -> None:
        """Wait until the process has died in the middle of an operation."""
        if not self.is_dead:
            self._process.join(_ANSWER_S)
            assert self._process.exitcode is not None, "The process is alive."
            self.kill()

    def kill(self) -> None:
        if self.is_dead:
            return
        self.is_dead = True
        self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()


class AdapterServer:
    """Processes that share an engine and a state folder."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.engine = AdapterEngine(folder / "engine", **settings)
        self._folder = folder
        self._settings = settings
        self.processes: list[AdapterProcess] = []

    def __enter__(self) -> AdapterServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self.processes:
            process.kill()

    def start(self) -> AdapterProcess:
        """Start a new process, without waiting until it is ready."""
        process = AdapterProcess(self._folder, self._settings)
        self.processes.append(process)
        return process


class _Worker:
    """Runs in the process; its public methods are the commands."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._engine = AdapterEngine(folder / "engine", **settings)
        path = {"SAGEMAKER_ADAPTERS_PATH": str(folder / "state")}
        self._runtime = AdapterRuntime(lambda: self._engine, read_settings(path))
        self._leases: dict[str, tuple[Adapter, contextlib.ExitStack]] = {}

    async def register(self, **wanted: Any) -> None:
        await (await self._runtime.started()).register(AdapterSpec(**wanted))

    async def unregister(self, name: str) -> None:
        await (await self._runtime.started()).unregister(name)

    async def update(self, name: str, **fields: Any) -> None:
        await (await self._runtime.started()).update(name, **fields)

    async def text(self, name: str) -> str:
        await self._runtime.started()
        return await self._engine.infer(name)

    async def lease(self, name: str, token: str) -> int:
        adapters = await self._runtime.started()
        adapter = await adapters.lease_loaded(name)
        use = contextlib.ExitStack()
        use.enter_context(self._engine.using(adapter))
        self._leases[token] = adapter, use
        return adapter.id

    async def leased_text(self, token: str) -> str:
        return await self._engine.answer(self._leases[token][0])

    async def release(self, token: str) -> None:
        adapter, use = self._leases.pop(token)
        use.close()
        (await self._runtime.started()).release(adapter)

    async def registered(self) -> list[Adapter]:
        return [*(await self._runtime.started()).view().values()]

    async def rows(self) -> list[Adapter]:
        """Return the whole table, including adapters that are loading or draining."""
        registry = await self._runtime.started()
        assert isinstance(registry, LocalRegistry)
        return registry.store.rows()

    async def stop(self) -> None:
        # As in a server, whose requests end before its shutdown.
        for token in [*self._leases]:
            await self.release(token)
        await self._runtime.stop()


def _main(pipe: Connection, folder: Path, settings: Mapping[str, Any]) -> None:
    # Do not wait for requests: tests hold leases while they call other commands.
    vars(service)["UNLOAD_ANSWER_S"] = 0.0
    asyncio.run(_execute_commands(pipe, _Worker(folder, settings)))


async def _execute_commands(pipe: Connection, worker: _Worker) -> None:
    with contextlib.suppress(EOFError):
        while True:
            command, arguments = await asyncio.to_thread(pipe.recv)
            answer: tuple[Any, ...]
            try:
                answer = "done", await getattr(worker, command)(**arguments)
            except AdapterError as error:
                answer = "refused", error.status_code, str(error)
            pipe.send(answer)
