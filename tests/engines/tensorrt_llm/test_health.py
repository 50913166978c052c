"""/ping on TensorRT-LLM, whose own /health is 200 even if its worker hangs."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI

from mhcs.tensorrt_llm.health import cause_of_death, check, probe_generation
from mhcs.tensorrt_llm.runtime import TensorRTRuntime
from model_hosting_container_standards.exceptions import EngineUnhealthyError
from servers import polling
from trtllm import MODEL, RELEASES, TrtllmServer, trtllm

ENDLESS = {"model": MODEL, "prompt": "<wait>", "max_tokens": 5}


def wait_for_ping(server: TrtllmServer, status: int) -> str:
    for _ in polling(30):
        answer = server.client.get("/ping")
        if answer.status_code == status:
            return answer.text
    raise AssertionError(f"/ping is never {status}.")


@pytest.mark.parametrize("release", RELEASES)
def test_hung_worker_is_a_503_while_requests_wait(release: str) -> None:
    with (
        trtllm(
            release, env={"MHCS_AUTO": "1", "MHCS_PING_STALL_SECONDS": "2"}
        ) as server,
        ThreadPoolExecutor() as threads,
    ):
        worker = server.facts()["worker"]["pid"]
        os.kill(worker, signal.SIGSTOP)
        body = {"model": MODEL, "prompt": "hello", "max_tokens": 5}
        answer = threads.submit(server.client.post, "/invocations", json=body)
        assert "hung" in wait_for_ping(server, 503)
        os.kill(worker, signal.SIGCONT)
        assert answer.result().status_code == 200
        wait_for_ping(server, 200)


class RequestError(RuntimeError):
    """Has the name of the engine's own class."""


def server_of(*queued: object, **known: Any) -> Any:
    """Return a server whose front end has received these errors."""
    errors: Queue[object] = Queue()
    for error in queued:
        errors.put(error)
    executor = SimpleNamespace(_error_queue=errors, **known)
    generator = SimpleNamespace(_executor=executor)
    return SimpleNamespace(llm=generator, app=FastAPI())


@pytest.mark.parametrize(
    ("server", "cause"),
    [
        (server_of(), None),
        (server_of("a client's own"), None),
        (server_of(RequestError("a client's own")), None),
        (server_of(RequestError("a client's own"), ValueError("it ended")), "it ended"),
        (server_of(KeyError()), "KeyError()"),
        (server_of(_fatal_error=RuntimeError("it ended\nat a line")), "it ended"),
        (server_of(_fatal_error=None, doing_shutdown=True), "it has shut down"),
        (SimpleNamespace(generator=None, llm=None), None),
        (SimpleNamespace(_check_health=lambda: False), "it is not healthy"),
        (SimpleNamespace(_check_health=lambda: True), None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_engine_that_reports_death_is_dead(server: Any, cause: str | None) -> None:
    for _ in range(2):  # The check does not consume the errors.
        assert cause_of_death(server) == cause


def test_server_is_told_to_end_once(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)
    server = server_of(RuntimeError("it ended"))
    for _ in range(3):
        with pytest.raises(EngineUnhealthyError, match="is dead: it ended"):
            check(server)
    assert raised == [signal.SIGTERM]


async def test_image_engine_is_healthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its ``generate_async`` does not accept tokens."""

    class VisualGen:
        def generate_async(self, inputs: Any, params: Any = None) -> None:
            raise AssertionError("The probe must not generate images.")

    module: Any = ModuleType("tensorrt_llm")
    module.SamplingParams = SimpleNamespace
    monkeypatch.setitem(sys.modules, "tensorrt_llm", module)
    await probe_generation(SimpleNamespace(generator=VisualGen()))


def test_slow_request_is_not_a_hung_engine() -> None:
    """The request does not progress, but the worker answers probes."""
    env = {
        "MHCS_AUTO": "1",
        "MHCS_PING_STALL_SECONDS": "1",
        "MHCS_DRAIN_SECONDS": "0",  # Do not wait for that request.
    }
    with ThreadPoolExecutor() as threads, trtllm("trtllm_1_2", env=env) as server:
        generations_before = server.facts()["worker"]["generations"]
        threads.submit(server.new_client().post, "/invocations", json=ENDLESS)
        for _ in polling(30):
            assert server.client.get("/ping").status_code == 200
            if server.facts()["worker"]["generations"] - generations_before > 3:
                break
        else:
            raise AssertionError("The engine is never probed.")


@pytest.mark.parametrize(
    ("known", "limit"),
    [
        ({}, None),
        ({"args": None}, None),
        ({"args": SimpleNamespace(max_batch_size=32)}, 32),
    ],
)
def test_concurrency_is_the_batch_size(known: Any, limit: int | None) -> None:
    app = FastAPI()
    app.state.openai_server = SimpleNamespace(llm=SimpleNamespace(**known))
    assert TensorRTRuntime(app).max_concurrency() == limit
