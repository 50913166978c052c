"""A small engine that loads adapters, and can be shared by several processes.

Loaded adapters are files in a folder: every process with an :class:`AdapterEngine` on
that folder is a front end of one engine, as the workers of one server are. An adapter's
weights are a text, which is its answer::

    engine = AdapterEngine(tmp_path / "engine", slots=2)
    src = write_adapter(tmp_path / "cats", "meow")
    with TestClient(app_of(engine, monkeypatch)) as client:
        client.post("/adapters", json={"name": "cats", "src": src})
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import FastAPI, HTTPException, Request

import model_hosting_container_standards.engines.registry as engine_registry
from model_hosting_container_standards import sagemaker
from model_hosting_container_standards.adapters.adapter import Adapter
from model_hosting_container_standards.adapters.backend import (
    AdapterBackend,
    RegisteredAdapters,
)
from model_hosting_container_standards.adapters.base_model import BaseModel
from model_hosting_container_standards.asgi.routing import iter_routes
from model_hosting_container_standards.engines.api import Engine
from model_hosting_container_standards.engines.description import EngineDescription
from model_hosting_container_standards.engines.runtime import EngineRuntime
from model_hosting_container_standards.exceptions import (
    AdapterCrashError,
    AdapterEngineError,
    AdapterError,
)

#: Weights that begin with it cannot be loaded.
BROKEN: Final = "broken"
#: Weights whose loading kills the engine; with ``CRASHING`` it reports the cause.
DEADLY: Final = "deadly"
CRASHING: Final = "crashing"
WEIGHTS: Final = "adapter_model.bin"
CONFIG: Final = "adapter_config.json"


def write_adapter(folder: Path, text: str = "text", **config: Any) -> str:
    """Write or overwrite an adapter's folder; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps({"r": 8, **config}))
    (folder / WEIGHTS).write_text(text)
    return str(folder)


class Gate:
    """A point at which the engine waits until the test opens it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()


class AdapterEngine:
    """An ``AdapterBackend`` whose loaded adapters are files.

    ``gates`` maps steps to gates at which this process waits: ``load``, ``unload``,
    ``pin`` and ``answer``. ``calls`` are the steps of all processes since the start,
    ``violations`` the calls that an engine must not get.
    """

    slots_option: str | None = "--slots"
    max_pinned: int | None = None
    locate = AdapterBackend.locate
    check_folder = AdapterBackend.check_folder
    default_model = AdapterBackend.default_model

    def __init__(
        self,
        folder: Path,
        *,
        slots: int = 4,
        kept: int | None = None,
        max_rank: int | None = 64,
        own_models: Collection[str] = ("base",),
        own_adapters: Collection[str] = (),
        flags: Collection[str] = (),
        reason: str | None = None,
    ) -> None:
        self.folder = folder
        self.server_name = "engine"
        self.slots = slots
        self.cache_size = kept
        self.max_rank = max_rank
        self.flags = flags
        self.reason = reason
        self.adapters: RegisteredAdapters | None = None
        #: The model that adapters have to fit; None if it is unknown.
        self.model: BaseModel | None = None
        self.gates: dict[str, Gate] = {}
        self._own_models = own_models
        self._own_adapters = own_adapters
        self._uses = itertools.count()
        for name in ("loaded", "users", "traps"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    # --- AdapterBackend ------------------------------------------------------------

    def unavailable(self) -> str | None:
        return self.reason

    def prepare(self) -> None:
        """Do nothing."""

    def base_model(self) -> BaseModel | None:
        return self.model

    def attach(self, adapters: RegisteredAdapters) -> None:
        self.adapters = adapters

    def own_models(self) -> Collection[str]:
        return self._own_models

    def own_adapters(self) -> Collection[str]:
        return self._own_adapters

    def adapter_of(self, model: str) -> str | None:
        return None if model in self._own_models else model.removeprefix("base:")

    def resolves_natively(self, name: str) -> bool:
        return name in (*self._own_models, *self._own_adapters)

    async def load(self, adapter: Adapter) -> str | None:
        async with self._step("load", adapter):
            self._load(adapter)
        return None

    async def unload(self, adapter: Adapter) -> None:
        async with self._step("unload", adapter):
            if self._is_used(adapter.id):
                self._note("violations", f"{adapter.name} is unloaded while it is used")
            self._file(adapter.id).unlink(missing_ok=True)

    async def pin(self, adapter: Adapter) -> None:
        async with self._step("pin", adapter):
            if adapter.id not in self.loaded():
                self._note("violations", f"{adapter.name} is pinned, but not loaded")
            self._save(adapter.id, {**self.loaded()[adapter.id], "pinned": True})

    async def unpin(self, adapter: Adapter) -> None:
        async with self._step("unpin", adapter):
            self._save(adapter.id, {**self.loaded()[adapter.id], "pinned": False})

    # --- requests ------------------------------------------------------------------

    async def infer(self, model: str) -> str:
        """Return the text of the named adapter, or ``model`` if it is the engine's own.

        The adapter is leased while it answers, as in an engine's route.
        """
        if self.adapters is None or self.resolves_natively(model):
            return model
        adapter = await self.adapters.lease_loaded(model)
        try:
            return await self.answer(adapter)
        finally:
            self.adapters.release(adapter)

    async def answer(self, adapter: Adapter) -> str:
        """Return the text of a leased adapter; reload it if it was evicted."""
        with self.using(adapter):
            if gate := self.gates.get("answer"):
                await gate.pass_through()
            if adapter.id not in self.loaded():
                self._load(adapter)
            text: str = self.loaded()[adapter.id]["text"]
            return text

    @contextlib.contextmanager
    def using(self, adapter: Adapter) -> Iterator[None]:
        """Record that a request uses the adapter."""
        name = f"{adapter.id}-{os.getpid()}-{next(self._uses)}"
        user = self.folder / "users" / name
        user.touch()
        try:
            yield
        finally:
            user.unlink(missing_ok=True)

    # --- for tests -----------------------------------------------------------------

    def loaded(self) -> dict[int, dict[str, Any]]:
        """Return the loaded adapters by id, the oldest first."""
        found = []
        for path in (self.folder / "loaded").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):  # Unloaded by now.
                found.append(json.loads(path.read_text()))
        return {entry["id"]: entry for entry in sorted(found, key=lambda e: e["age"])}

    @property
    def texts(self) -> list[str]:
        return sorted(entry["text"] for entry in self.loaded().values())

    @property
    def pinned(self) -> list[str]:
        entries = self.loaded().values()
        return sorted(entry["text"] for entry in entries if entry["pinned"])

    @property
    def calls(self) -> list[str]:
        return self._notes("calls")

    @property
    def violations(self) -> list[str]:
        return self._notes("violations")

    def start_anew(self) -> None:
        """Forget all loaded adapters, as a restart does."""
        for name in ("loaded", "users", "traps"):
            shutil.rmtree(self.folder / name)
            (self.folder / name).mkdir()
        (self.folder / "calls").unlink(missing_ok=True)

    def set_trap(self, moment: str) -> None:
        """Kill the next process that reaches a step, such as ``"load before"``."""
        (self.folder / "traps" / moment).touch()

    def remove_traps(self) -> None:
        for trap in (self.folder / "traps").iterdir():
            trap.unlink()

    # --- helpers --------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _step(self, step: str, adapter: Adapter) -> AsyncIterator[None]:
        self._note("calls", f"{step} {adapter.name}")
        self._die_in(f"{step} before")
        if gate := self.gates.get(step):
            await gate.pass_through()
        yield
        self._die_in(f"{step} after")

    def _die_in(self, moment: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.folder / "traps" / moment).unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    def _load(self, adapter: Adapter) -> None:
        if adapter.id in self.loaded():
            return
        try:
            text = Path(adapter.path, WEIGHTS).read_text()
        except OSError as error:
            raise AdapterError(f"The weights cannot be read: {error}") from None
        if text.startswith(BROKEN):
            raise AdapterError(f"The weights of {adapter.name!r} are {text}.")
        if text.startswith(DEADLY):
            raise AdapterEngineError("The engine is dead.")
        if text.startswith(CRASHING):
            raise AdapterCrashError("The engine crashed while it loaded the adapter.")
        entry = {"id": adapter.id, "name": adapter.engine_name, "adapter": adapter.name}
        self._save(
            adapter.id,
            {**entry, "text": text, "options": dict(adapter.options), "pinned": False},
        )
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        if self.cache_size is None:
            return
        loaded = self.loaded()
        swapped = [key for key, entry in loaded.items() if not entry["pinned"]]
        for key in swapped[: max(0, len(loaded) - self.cache_size)]:
            self._file(key).unlink(missing_ok=True)

    def _save(self, key: int, entry: dict[str, Any]) -> None:
        ages = [known["age"] for known in self.loaded().values()]
        written = self.folder / f"{os.getpid()}.new"
        written.write_text(json.dumps({"age": max(ages, default=0) + 1, **entry}))
        written.replace(self._file(key))

    def _file(self, key: int) -> Path:
        return self.folder / "loaded" / f"{key}.json"

    def _is_used(self, key: int) -> bool:
        users = (self.folder / "users").glob(f"{key}-*")
        return any(Path("/proc", user.name.split("-")[1]).exists() for user in users)

    def _note(self, name: str, line: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(f"{line}\n")

    def _notes(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


class Published(Engine):
    """The ``Engine`` that owns the apps of an :class:`AdapterEngine`."""

    description = EngineDescription(name="test", loads_adapters=True)

    def __init__(self, app: FastAPI, backend: AdapterEngine) -> None:
        self._app = app
        self._backend = backend

    def owns(self, app: FastAPI) -> bool:
        return app is self._app

    def inference_paths(self, app: FastAPI) -> Collection[str]:
        paths = (getattr(route, "path", "") for route in iter_routes(app))
        return {path for path in paths if path.startswith("/v1/")}

    def start(self, app: FastAPI) -> EngineRuntime:
        return Running(app, self._backend)


class Running(EngineRuntime):
    """The ``EngineRuntime`` of an :class:`AdapterEngine`."""

    def __init__(self, app: FastAPI, backend: AdapterEngine) -> None:
        super().__init__(app)
        self._backend = backend

    def adapter_backend(self) -> AdapterEngine:
        return self._backend


def app_of(
    engine: AdapterEngine,
    monkeypatch: pytest.MonkeyPatch,
    app: FastAPI | None = None,
) -> FastAPI:
    """Return a bootstrapped app of the engine; /invocations names the model it used.

    ``app`` may have further routes.
    """
    app = FastAPI() if app is None else app

    @app.post("/invocations")
    async def invocations(request: Request) -> dict[str, Any]:
        model = (await request.json()).get("model", "base")
        try:
            return {"model": model, "text": await engine.infer(model)}
        except AdapterError as error:
            raise HTTPException(error.status_code, str(error)) from None

    published: Engine = Published(app, engine)
    monkeypatch.setattr(engine_registry, "installed_engines", lambda: iter([published]))
    return sagemaker.bootstrap(app)
