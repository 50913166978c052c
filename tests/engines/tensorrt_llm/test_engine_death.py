"""A dead engine of TensorRT-LLM is detected, is reported, and ends the server."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest

from adapter_engine import BROKEN, write_adapter
from servers import free_port, polling
from trtllm import (
    MODEL,
    RELEASES,
    SEVERAL_FRONTENDS,
    WITH_LORA,
    TrtllmServer,
    trtllm,
)

BY_AUTO: Final = {"MHCS_AUTO": "1"}
#: The worker exits if it cannot load an adapter. In 1.3 and later that is usually an
#: error, but the engine may still crash.
ENDS_ON_BAD_ADAPTER: Final = {**BY_AUTO, "TRTLLM_STANDIN_BAD_ADAPTER": "kills"}
SUPERVISED: Final = (
    str(Path(sys.executable).with_name("standard-supervisor")),
    "trtllm-serve",
    MODEL,
)
TIMEOUT_S: Final = 30
COMPLETION: Final = {"model": MODEL, "prompt": "hello"}
#: Releases whose server outlives a request that its dead engine fails.
LASTING: Final = RELEASES[RELEASES.index("trtllm_1_3") :]
#: The routes that the engine answers, each with a request.
REQUESTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "/v1/completions": COMPLETION,
    "/invocations": COMPLETION,
    "/v1/chat/completions": {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hello"}],
    },
    "/v1/responses": {"model": MODEL, "input": "hello"},
}


def kill_engine(server: TrtllmServer) -> None:
    os.kill(server.facts()["worker"]["pid"], signal.SIGKILL)
    for _ in polling(TIMEOUT_S):
        if server.facts()["worker"] is None:
            return
    raise AssertionError("The worker is still running.")


class Crashed(NamedTuple):
    """A server whose engine was killed, and what it answered before.

    Args:
        ping: the status of /ping.
        paths: those of the requests that the release can answer.
    """

    server: TrtllmServer
    ping: int
    paths: Collection[str]


@contextlib.contextmanager
def crash(release: str) -> Iterator[Crashed]:
    with trtllm(release, env=BY_AUTO) as server:
        ping = server.client.get("/ping").status_code
        paths = [path for path in REQUESTS if can_answer(server, path)]
        kill_engine(server)
        yield Crashed(server, ping, paths)


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def lasting(release: str) -> Iterator[Crashed | None]:
    """A server for all tests of a release, if it can answer more than one request."""
    if release not in LASTING:
        yield None
        return
    with crash(release) as crashed:
        yield crashed


@pytest.fixture
def crashed(release: str, lasting: Crashed | None) -> Iterator[Crashed]:
    if lasting is not None:
        yield lasting
        return
    with crash(release) as crashed:
        yield crashed


def can_answer(server: TrtllmServer, path: str) -> bool:
    if path not in server.facts()["routes"]:
        return False
    # Some releases need gpt-oss for it.
    return "harmony" not in server.client.post(path, json=dict(REQUESTS[path])).text


@pytest.mark.parametrize("path", REQUESTS)
def test_request_without_engine_is_a_503(crashed: Crashed, path: str) -> None:
    if path not in crashed.paths:
        pytest.skip(f"the release cannot answer {path}")
    answer = crashed.server.client.post(path, json=dict(REQUESTS[path]))
    assert answer.status_code == 503
    assert "TensorRT-LLM's engine is dead" in answer.json()["message"]


def test_server_ends_with_its_engine(crashed: Crashed) -> None:
    """Must be the last test of that server, because /ping ends it."""
    assert crashed.ping == 200
    answer = crashed.server.client.get("/ping")
    assert answer.status_code == 503
    assert "TensorRT-LLM's engine is dead" in answer.text
    assert crashed.server.wait(TIMEOUT_S) != 0


def test_all_front_ends_end_with_shared_engine() -> None:
    with trtllm(SEVERAL_FRONTENDS, env=BY_AUTO, frontends=2) as server:
        kill_engine(server)
        for _ in polling(TIMEOUT_S):
            if server.status() is not None:
                break
            with contextlib.suppress(httpx.TransportError), server.new_client() as one:
                assert one.get("/ping").status_code == 503
        assert server.wait(TIMEOUT_S) != 0


def wait_until_replaced(server: TrtllmServer, pid: int) -> None:
    """Return once another process than ``pid`` answers and is healthy."""
    for _ in polling(TIMEOUT_S):
        # The old one answers until its death is noticed, and then none does.
        with contextlib.suppress(httpx.TransportError):
            healthy = server.client.get("/ping").status_code == 200
            if healthy and server.facts()["pid"] != pid:
                return
    raise AssertionError(f"It is not restarted:\n{server.output()}")


@pytest.mark.parametrize("release", [RELEASES[0], RELEASES[-1]])
def test_supervised_server_gets_new_engine(release: str) -> None:
    with trtllm(release, env=BY_AUTO, command=SUPERVISED) as server:
        first = server.facts()["pid"]
        kill_engine(server)
        wait_until_replaced(server, first)
        answer = server.client.post("/invocations", json=COMPLETION)
        assert answer.json()["choices"][0]["text"] == "base: hello"


# --- adapters that kill the engine -------------------------------------------------


def register(server: TrtllmServer, src: str, **fields: Any) -> httpx.Response:
    body = {"name": "bad", "src": src, **fields}
    return server.client.post("/adapters", json=body)


@pytest.mark.parametrize("release", WITH_LORA)
def test_adapter_that_kills_engine_is_reported_at_once(
    release: str, tmp_path: Path
) -> None:
    src = write_adapter(tmp_path / "bad", BROKEN)
    with trtllm(release, lora=True, env=ENDS_ON_BAD_ADAPTER) as server:
        answer = register(server, src)
        assert answer.status_code == 503
        assert "ended while it loaded adapter 'bad'" in answer.text
        assert server.client.get("/adapters").json()["adapters"] == []
        again = register(server, write_adapter(tmp_path / "good", "good"))
        assert again.status_code == 503
        assert "TensorRT-LLM's engine is dead" in again.text


@pytest.mark.parametrize("release", WITH_LORA)
def test_adapter_that_kills_engine_at_startup_is_skipped_next_time(
    release: str, tmp_path: Path
) -> None:
    port, env = (
        free_port(),
        {**ENDS_ON_BAD_ADAPTER, "SAGEMAKER_ADAPTERS_PATH": str(tmp_path / "s")},
    )
    src = write_adapter(tmp_path / "bad", "good")
    with trtllm(release, lora=True, env=env, port=port) as server:
        assert register(server, src).status_code == 200
    write_adapter(tmp_path / "bad", BROKEN)
    with trtllm(release, lora=True, env=env, port=port, ready_path=None) as server:
        server.wait(TIMEOUT_S)
        assert "ended while it loaded adapter 'bad'" in server.output()
    write_adapter(tmp_path / "bad", "mended")
    with trtllm(release, lora=True, env=env, port=port) as server:
        shown = server.client.get("/adapters/bad").json()
        assert shown["status"] == "failed"
        assert "engine ended while it loaded this adapter" in shown["reason"]
        server.client.post("/adapters/bad/update?preload=true").raise_for_status()
        completion = {**COMPLETION, "model": "bad"}
        answer = server.client.post("/v1/completions", json=completion)
        assert answer.json()["choices"][0]["text"] == "mended: hello"


@pytest.mark.parametrize("release", WITH_LORA)
def test_adapter_that_kills_engine_at_first_use_is_not_used_again(
    release: str, tmp_path: Path
) -> None:
    port, env = (
        free_port(),
        {**ENDS_ON_BAD_ADAPTER, "SAGEMAKER_ADAPTERS_PATH": str(tmp_path / "s")},
    )
    src = write_adapter(tmp_path / "bad", BROKEN)
    completion = {**COMPLETION, "model": "bad"}
    with trtllm(release, lora=True, env=env, port=port) as server:
        assert register(server, src, preload=False).status_code == 200
        answer = server.client.post("/v1/completions", json=completion)
        assert answer.status_code == 503
    for _ in range(2):
        with trtllm(release, lora=True, env=env, port=port) as server:
            answer = server.client.post("/v1/completions", json=completion)
            assert answer.status_code == 404
            assert "engine ended while it loaded this adapter" in answer.text
            answer = server.client.post("/v1/completions", json=COMPLETION)
            assert answer.status_code == 200
