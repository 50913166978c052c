"""The examples of sessions and middleware on a real vLLM, with two API servers."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import httpx
import pytest

from real import (
    API_SERVERS,
    PROCESSES,
    RELEASE,
    ROOT,
    reason,
    requires_vllm,
    serve,
    two_processes,
)
from servers import HOST, Server, polling

from .streams import SHUTDOWN_LIMIT_S, check_streams_finish

pytestmark = requires_vllm

EXAMPLES: Final = ROOT / "examples"
SESSION: Final = "X-Amzn-SageMaker-Session-Id"
SESSIONS: Final = 100
TURNS: Final = 10
THREADS: Final = 8


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {
        "SAGEMAKER_MODEL_PATH": str(EXAMPLES / "sessions"),
        "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true",
        "SAGEMAKER_SESSIONS_PATH": str(tmp_path_factory.mktemp("sessions")),
        # The other two functions of that example are decorated.
        "CUSTOM_PRE_PROCESS": f"{EXAMPLES / 'middleware' / 'model.py'}:accept_text",
        "CUSTOM_FASTAPI_MIDDLEWARE_THROTTLE": "mhcs.throttle:Throttle",
        "MHCS_THROTTLE_MAX_IN_FLIGHT": str(THREADS),
    }


@pytest.fixture(scope="module")
def server(env: dict[str, str]) -> Iterator[Server]:
    with serve(*API_SERVERS, env=env) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.new_client() as client:
        yield client


def begin(client: httpx.Client) -> str:
    answer = client.post("/invocations", json={"requestType": "NEW_SESSION"})
    assert answer.status_code == 200, answer.text
    return answer.headers[SESSION].partition(";")[0]


def send_message(client: httpx.Client, session: str, content: str) -> httpx.Response:
    body = {
        "model": "tiny",
        "max_tokens": 1,
        "temperature": 0,
        "messages": [{"role": "user", "content": content}],
    }
    return client.post("/invocations", json=body, headers={SESSION: session})


def prompt_tokens(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    tokens: int = answer.json()["usage"]["prompt_tokens"]
    return tokens


def test_conversation_grows_in_every_process(client: httpx.Client) -> None:
    session = begin(client)
    tokens = [prompt_tokens(send_message(client, session, "hello")) for _ in range(4)]
    assert tokens == sorted(set(tokens))
    close = {"requestType": "CLOSE"}
    closed = client.post("/invocations", json=close, headers={SESSION: session})
    assert closed.text == f"Session {session} closed"
    assert send_message(client, session, "hello").status_code == 400


def test_concurrent_sessions_lose_no_requests(client: httpx.Client) -> None:
    def converse(_: int) -> list[int]:
        session = begin(client)
        return [prompt_tokens(send_message(client, session, "a")) for _ in range(TURNS)]

    with ThreadPoolExecutor(THREADS) as threads:
        conversations = [*threads.map(converse, range(SESSIONS))]
    # All send the same messages, so the token counts must be equal.
    assert {tuple(tokens) for tokens in conversations} == {tuple(conversations[0])}
    assert conversations[0] == sorted(set(conversations[0]))


def test_middleware_sees_every_response(client: httpx.Client) -> None:
    for answer in (client.get("/ping"), client.get("/v1/models"), client.get("/nope")):
        assert answer.headers["x-model-version"] == "7"
        assert float(answer.headers["x-seconds"]) >= 0


def test_formatter_converts_text_to_prompt(client: httpx.Client) -> None:
    # The handler of the script needs messages, so this uses the engine's own route.
    text = {"content-type": "text/plain"}
    answer = client.post("/v1/completions", content="hello", headers=text)
    assert answer.json()["usage"]["completion_tokens"] == 8


def test_stream_passes_through_all_middleware(client: httpx.Client) -> None:
    body = {"model": "tiny", "prompt": "hello", "max_tokens": 50, "stream": True}
    with client.stream("POST", "/v1/completions", json=body) as answer:
        assert answer.headers["x-model-version"] == "7"
        chunks = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert len(chunks) > 10
    assert chunks[-1] == "data: [DONE]"


def test_throttle_limits_requests_but_not_ping(
    server: Server, client: httpx.Client
) -> None:
    # In flight forever: its body never arrives.
    request = (
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    )
    too_many = 3 * THREADS
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(PROCESSES * THREADS + too_many):
            address = (HOST, server.port)
            held.append(stack.enter_context(socket.create_connection(address)))
            held[-1].sendall(request)
        for _ in polling(30):
            answered, _, _ = select.select(held, [], [], 0)
            if len(answered) >= too_many:
                break
        refused = [connection.recv(65536) for connection in answered]
        pings = [client.get("/ping").status_code for _ in range(20)]
    assert len(refused) >= too_many
    for answer in refused:
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"\r\nretry-after: 1\r\n" in answer
        _, _, body = answer.partition(b"\r\n\r\n")
        assert reason(json.loads(body)).startswith("This server is at its limit")
    assert pings == [200] * 20


def test_session_survives_crash(server: Server, client: httpx.Client) -> None:
    session = begin(client)
    before = prompt_tokens(send_message(client, session, "hello"))
    server.kill()
    server.start()
    server.wait_until_ready()
    assert prompt_tokens(send_message(client, session, "hello")) > before


@two_processes
@pytest.mark.skipif(RELEASE < (0, 11), reason="its engine may be a thread")
def test_api_servers_finish_streams_without_supervisor(server: Server) -> None:
    """Must be the last test, because it stops the server."""
    check_streams_finish(server, server.pid, "/v1/completions")
    server.wait(SHUTDOWN_LIMIT_S)
