"""Health of SGLang's engine, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI

from mhcs.sglang import engine, health, hooks
from mhcs.sglang.health import EngineProbe, engine_processes
from mhcs.sglang.shutdown import start_engine_loop, start_loop_before_warmups
from servers import polling
from sglang_manager import Manager, Scheduler, ServerStatus, install


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    install(monkeypatch)
    monkeypatch.setattr(health, "_POLL_S", 0.01)
    monkeypatch.setattr(health, "_FRESH_S", 0.0)
    return Manager(Scheduler())


async def is_done(coroutine: Any) -> bool:
    task = asyncio.ensure_future(coroutine)
    await asyncio.wait({task}, timeout=0.2)
    done: bool = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return done


async def test_scheduler_that_does_not_answer_is_waited_for(manager: Manager) -> None:
    probe = EngineProbe(manager)
    assert await is_done(probe.check())
    manager.scheduler.answers.clear()
    assert not await is_done(probe.check())
    assert not await is_done(probe.check())
    assert manager.scheduler.questions == 2  # The second one is still unanswered.
    manager.scheduler.answers.set()
    assert await is_done(probe.check())


async def test_answer_counts_for_a_second(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_FRESH_S", 60.0)
    probe = EngineProbe(manager)
    for _ in range(3):
        await probe.check()
    assert manager.scheduler.questions == 1


async def test_starting_server_is_not_asked(manager: Manager) -> None:
    manager.server_status = ServerStatus.Starting
    await EngineProbe(manager).check()
    assert manager.scheduler.questions == 0


async def test_failed_request_for_health_is_forgotten(manager: Manager) -> None:
    manager.server_status = ServerStatus.UnHealthy
    await EngineProbe(manager).check()
    assert manager.server_status is ServerStatus.Up


@pytest.fixture
def stopped() -> Iterator[subprocess.Popen[bytes]]:
    """A stopped process with the title of SGLang's detokenizer."""
    title = "sglang::detokenizer"
    code = "import time; time.sleep(600)"
    with subprocess.Popen([title, "-c", code], executable=sys.executable) as process:
        os.kill(process.pid, signal.SIGSTOP)
        stat = Path(f"/proc/{process.pid}/stat")
        for _ in polling(10):
            if stat.read_text().rpartition(") ")[2].startswith("T"):
                break
        yield process
        process.kill()
        process.wait()


async def test_stopped_process_is_waited_for(
    manager: Manager, stopped: subprocess.Popen[bytes]
) -> None:
    assert stopped.pid in engine_processes()
    probe = EngineProbe(manager)
    assert not await is_done(probe.check())
    os.kill(stopped.pid, signal.SIGCONT)
    assert await is_done(probe.check())
    stopped.kill()
    stopped.wait()
    assert await is_done(probe.check())


async def test_probe_generates_a_token(manager: Manager) -> None:
    requests = []
    original = manager.generate_request

    def generate(request: Any, http_request: Any) -> Any:
        requests.append(request)
        manager.rid_to_state[request.rid] = object()
        return original(request, http_request)

    manager.generate_request = generate  # type: ignore[assignment,method-assign]
    await EngineProbe(manager).generate()
    assert requests[0].sampling_params["max_new_tokens"] == 1
    assert not manager.rid_to_state


class State:
    """A request that the engine computes."""

    def __init__(self) -> None:
        self.text = ""
        self.output_ids: list[int] = []
        self.text_chunks: list[str] = []


@pytest.mark.parametrize("progress", ["text", "ids", "chunks", "end", "none"])
async def test_progress_of_other_requests_is_enough(
    manager: Manager, progress: str
) -> None:
    """The scheduler drops the probe while it computes other requests."""
    state = State()

    async def drop(*_: Any) -> Any:
        await asyncio.Event().wait()
        yield

    manager.generate_request = drop  # type: ignore[assignment,method-assign]
    manager.rid_to_state["other"] = state
    probing = asyncio.ensure_future(EngineProbe(manager).generate())
    await asyncio.wait({probing}, timeout=0.1)
    assert not probing.done()
    match progress:
        case "text":
            state.text = "x"
        case "ids":
            state.output_ids.append(1)
        case "chunks":
            state.text_chunks.append("x")
        case "end":
            del manager.rid_to_state["other"]
    await asyncio.wait({probing}, timeout=0.2)
    assert probing.done() is (progress != "none")
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)


async def test_paused_engine_is_not_probed(manager: Manager) -> None:
    manager.is_pause = True  # type: ignore[attr-defined]
    manager.generate_request = None  # type: ignore[assignment]
    await EngineProbe(manager).generate()


class Watched(Manager):
    """Starts its loop as SGLang does: with a signal handler, and a task."""

    loops = 0

    def auto_create_handle_loop(self) -> None:
        if not self.loops:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, self._end)
            self.watchdog = loop.create_task(self.sigterm_watchdog())
        self.loops += 1

    def _end(self) -> None:
        self.gracefully_exit = True


async def test_server_stops_at_once_after_its_signal(manager: Manager) -> None:
    watched = Watched(manager.scheduler)
    start_engine_loop(watched, is_only_process=True)
    watched.rid_to_state["left"] = object()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(watched.watchdog, 5)
    assert (watched.aborted, watched.stopped) == (["left"], True)
    assert not watched.rid_to_state
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


async def test_server_stops_at_once_after_warmups_too(manager: Manager) -> None:
    watched = Watched(manager.scheduler)

    async def execute_warmups(mode: str, names: list[str], manager: Watched) -> None:
        manager.auto_create_handle_loop()
        manager.rid_to_state[f"{mode}, {names}"] = object()

    module: Any = ModuleType(hooks.SERVER_MODULE)
    app = FastAPI()
    start_loop_before_warmups(app, module)  # A release without them.
    module.execute_warmups = execute_warmups
    app.is_single_tokenizer_mode = True  # type: ignore[attr-defined]
    start_loop_before_warmups(app, module)
    await module.execute_warmups("null", ["voice_chat"], watched)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(watched.watchdog, 5)
    assert watched.aborted == ["null, ['voice_chat']"]
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


async def test_worker_keeps_the_servers_own_signal_handler(manager: Manager) -> None:
    watched = Watched(manager.scheduler)
    received = []
    before = signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    try:
        start_engine_loop(watched, is_only_process=False)
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [1]
    finally:
        signal.signal(signal.SIGTERM, before)
        watched.watchdog.cancel()
    assert not watched.gracefully_exit


async def test_runtime_finds_the_engine_in_the_module(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(manager.scheduler)
    module: Any = ModuleType(hooks.SERVER_MODULE)
    module.app = FastAPI()
    module.app.is_single_tokenizer_mode = True
    module.get_global_state = lambda: SimpleNamespace(tokenizer_manager=watched)
    monkeypatch.setitem(sys.modules, hooks.SERVER_MODULE, module)
    runtime = engine.start(module.app)
    await runtime.check()
    await runtime.probe_generation()
    assert runtime.adapter_backend().own_models() == ["base"]
    assert watched.loops == 1
    watched.watchdog.cancel()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
