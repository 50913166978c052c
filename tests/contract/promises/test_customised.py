"""Handlers, sessions, middleware and formatters of a customer's script."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from servers import Server, serve_until_exit
from session_client import begin, close, not_found

from .engines import EngineUnderTest
from .requests import SESSION, completion, streamed_text, text_of


def test_script_handlers_answer(customised_server: Server) -> None:
    for method in ("GET", "HEAD", "POST"):
        assert customised_server.client.request(method, "/ping").status_code == 201
    answer = customised_server.client.post("/invocations", content=b"\xff\x00")
    assert answer.json() == {"bytes": 2, "count": 0}


def test_engines_own_routes_are_unchanged(
    customised_server: Server, engine: EngineUnderTest
) -> None:
    answer = customised_server.client.post("/v1/completions", json=completion(engine))
    assert text_of(answer)


def test_session_keeps_state_until_closed(customised_server: Server) -> None:
    with customised_server.new_client() as client:
        session = begin(client)
        counts = [ask_session(client, session).json()["count"] for _ in range(4)]
        assert counts == [1, 2, 3, 4]
        assert close(client, session).text == f"Session {session} closed"
        after_close = ask_session(client, session)
        status, message = not_found(session)
        assert (after_close.status_code, message in after_close.text) == (status, True)


def test_concurrent_sessions_are_isolated(
    customised_server: Server,
) -> None:
    def converse(_: int) -> list[int]:
        with customised_server.new_client() as client:
            session = begin(client)
            return [ask_session(client, session).json()["count"] for _ in range(5)]

    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(converse, range(12))] == [[1, 2, 3, 4, 5]] * 12


def ask_session(client: httpx.Client, session: str) -> httpx.Response:
    return client.post("/invocations", json={}, headers={SESSION: session})


def test_middleware_sees_every_response(customised_server: Server) -> None:
    for path in ("/ping", "/v1/models", "/nope"):
        answer = customised_server.client.get(path)
        assert (answer.headers["x-noted"], answer.headers["x-signed"]) == ("yes", "yes")


def test_throttle_runs_before_other_middleware(customised_server: Server) -> None:
    answer = customised_server.client.get("/v1/models", headers={"x-too-much": "1"})
    assert answer.status_code == 429
    assert "x-noted" not in answer.headers


def test_input_formatter_converts_text_to_request(
    customised_server: Server, engine: EngineUnderTest
) -> None:
    headers = {"content-type": "text/plain", "x-model": engine.model}
    answer = customised_server.client.post(
        "/v1/completions", content="hello", headers=headers
    )
    body = completion(engine, max_tokens=4)
    same = customised_server.client.post("/v1/completions", json=body)
    assert text_of(answer) == text_of(same)


def test_stream_passes_through_all_middleware(
    customised_server: Server, engine: EngineUnderTest
) -> None:
    body = completion(engine)
    whole = text_of(customised_server.client.post("/v1/completions", json=body))
    streamed = {**body, "stream": True}
    with customised_server.client.stream(
        "POST", "/v1/completions", json=streamed
    ) as answer:
        assert answer.headers["x-signed"] == "yes"
        assert streamed_text(answer.iter_lines()) == whole


def test_handlers_from_environment_override_script(
    engine: EngineUnderTest, script: Path
) -> None:
    (script / "others.py").write_text("def invoke(): return 'other'")
    env = {
        "SAGEMAKER_MODEL_PATH": str(script),
        "CUSTOM_FASTAPI_INVOCATION_HANDLER": "others.py:invoke",
        "CUSTOM_FASTAPI_PING_HANDLER": "/v1/models",
    }
    with engine.serve(env=env, lora=False) as server:
        assert server.client.post("/invocations").json() == "other"
        assert server.client.get("/ping").json()["object"] == "list"


def test_missing_handler_prevents_startup(engine: EngineUnderTest) -> None:
    server = engine.serve(env={"CUSTOM_FASTAPI_PING_HANDLER": "nowhere.py:ping"})
    server.client.close()
    end = serve_until_exit(server.command[:-4], server.env, timeout=server.timeout)
    server.close()
    assert end.status != 0
    assert "CUSTOM_FASTAPI_PING_HANDLER=nowhere.py:ping" in end.stdout + end.stderr
