"""A real SGLang: its engine's processes, its own routes, and many requests at once."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from model_hosting_container_standards.processes.tree import descendants
from promises.requests import ADAPTER, ask, completion, register, text_of
from real import serve as serve_vllm
from servers import Server, polling
from sglang_server import RealSGLang, requires_sglang, serve

pytestmark = requires_sglang

STALL_S: Final = 4
REQUESTS: Final = 1000
CLIENTS: Final = 8
STREAMS: Final = 20
#: What SageMaker gives a container to stop, in seconds.
SHUTDOWN_LIMIT_S: Final = 30
PROMPTS: Final = ("hello", "the quick brown fox", "1 2 3")


@pytest.fixture(scope="module")
def workers() -> Iterator[Server]:
    """A server of two tokenizer workers, which calls an engine hung after seconds."""
    env = {"MHCS_AUTO": "1", "MHCS_PING_STALL_SECONDS": str(STALL_S)}
    with serve(env=env, processes=2) as server:
        yield server


@pytest.fixture(scope="module")
def sources(
    engine: RealSGLang, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    root = tmp_path_factory.mktemp("adapters")
    return {name: engine.write_adapter(root / name, name) for name in ("cats", "dogs")}


def read_texts(
    client: httpx.Client, engine: RealSGLang, sources: dict[str, str]
) -> dict[str, str]:
    """Return the text of each adapter, and that of the base model."""
    texts = {"base": text_of(ask(client, engine))}
    for name, src in sources.items():
        register(client, "reference", src).raise_for_status()
        texts[name] = text_of(ask(client, engine, adapter="reference"))
        client.delete("/adapters/reference").raise_for_status()
    assert len({*texts.values()}) == 3
    return texts


def ask_often(
    server: Server, engine: RealSGLang, name: str, allowed: set[str]
) -> Counter[int]:
    """Ask the same question, check each text, and return how often each status came."""
    statuses = Counter[int]()
    with server.new_client() as client:
        for _ in range(REQUESTS // CLIENTS):
            answer = ask(client, engine, model=name)
            statuses[answer.status_code] += 1
            if answer.status_code != 404:
                assert text_of(answer) in allowed
    return statuses


def change_until(
    done: threading.Event,
    server: Server,
    engine: RealSGLang,
    sources: dict[str, str],
    texts: dict[str, str],
) -> int:
    """Register and delete an adapter in turns, and return how often."""
    for number in itertools.count():
        if done.is_set():
            return number
        name = ("cats", "dogs")[number % 2]
        with server.new_client() as client:
            register(client, "changing", sources[name]).raise_for_status()
            for _ in range(2):
                assert text_of(ask(client, engine, model="changing")) == texts[name]
            client.delete("/adapters/changing").raise_for_status()
            assert ask(client, engine, model="changing").status_code == 404
    raise AssertionError


def test_no_text_is_wrong_while_adapters_come_and_go(
    workers: Server, engine: RealSGLang, sources: dict[str, str]
) -> None:
    with workers.new_client() as client:
        texts = read_texts(client, engine, sources)
        register(client, "steady", sources["cats"]).raise_for_status()
    kinds = [
        ("changing", {texts["cats"], texts["dogs"]}),
        ("steady", {texts["cats"]}),
        (engine.model, {texts["base"]}),
        ("changing", {texts["cats"], texts["dogs"]}),
    ]
    done = threading.Event()
    with ThreadPoolExecutor(CLIENTS + 1) as threads:
        changing = threads.submit(change_until, done, workers, engine, sources, texts)
        asking = [
            threads.submit(ask_often, workers, engine, *kinds[number % len(kinds)])
            for number in range(CLIENTS)
        ]
        try:
            statuses = [one.result() for one in asking]
        finally:
            done.set()
        assert changing.result() > 1
    assert sum(each.total() for each in statuses) == REQUESTS
    for (name, _), each in zip(kinds * 2, statuses, strict=True):
        assert name == "changing" or each.keys() == {200}


def process(server: Server, title: str) -> int:
    """Return the process of the engine with this title."""
    for pid in descendants(server.pid):
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(title.encode()):
            return pid
    raise AssertionError(f"No {title} was found.")


@pytest.mark.parametrize("title", ["sglang::scheduler", "sglang::detokenizer"])
def test_stopped_process_of_the_engine_is_noticed(workers: Server, title: str) -> None:
    pid = process(workers, title)
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_for_ping(workers, 503)
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for_ping(workers, 200)


def wait_for_ping(server: Server, status: int) -> None:
    with server.new_client() as client:
        for _ in polling(60, interval=0.2):
            if client.get("/ping", timeout=2).status_code == status:
                return
    raise AssertionError(f"/ping does not answer {status}:\n{server.output()}")


def test_own_route_for_loading_refuses_registered_adapters(
    workers: Server, sources: dict[str, str]
) -> None:
    with workers.new_client() as client:
        register(client, "ours", sources["cats"]).raise_for_status()
        own = {"lora_name": "ours", "lora_path": sources["dogs"]}
        for path in ("/load_lora_adapter", "/unload_lora_adapter"):
            answer = client.post(path, json=own)
            assert (answer.status_code, "/adapters" in answer.text) == (409, True)
        client.delete("/adapters/ours").raise_for_status()


def test_adapter_names_of_every_form_are_checked(
    workers: Server, engine: RealSGLang, sources: dict[str, str]
) -> None:
    generate = {
        "text": "hello",
        "sampling_params": {"max_new_tokens": 8, "temperature": 0},
    }
    with workers.new_client() as client:
        register(client, "named", sources["cats"]).raise_for_status()
        expected = text_of(ask(client, engine, model="named"))
        assert text_of(ask(client, engine, model=f"{engine.model}:named")) == expected
        assert text_of(ask(client, engine, lora_path="named")) == expected
        for path in ("/generate", "/invocations"):
            by_path = client.post(path, json={**generate, "lora_path": "named"})
            by_header = client.post(path, json=generate, headers={ADAPTER: "named"})
            assert by_path.json()["text"] == by_header.json()["text"] == expected
        put = client.put("/generate", json=generate, headers={ADAPTER: "named"})
        assert put.json()["text"] == expected
        several = {**generate, "text": ["hello"] * 2, "lora_path": ["named", None]}
        texts = [each["text"] for each in client.post("/generate", json=several).json()]
        assert texts == [expected, text_of(ask(client, engine))]
        ids = {model["id"] for model in client.get("/v1/models").json()["data"]}
        assert {engine.model, "named"} <= ids
        client.delete("/adapters/named").raise_for_status()
        unknown: list[dict[str, Any]] = [
            {"model": "named"},
            {"model": f"{engine.model}:named"},
            {"lora_path": "named"},
        ]
        for fields in unknown:
            answer = ask(client, engine, **fields)
            assert (answer.status_code, "named" in answer.text) == (404, True)
        assert client.post("/generate", json=several).status_code == 404


def test_unknown_names_are_refused_on_put_and_in_forms(workers: Server) -> None:
    form: dict[str, Any] = {
        "data": {"model": "no-such"},
        "files": {"file": ("a.wav", b"RIFF")},
    }
    named: list[dict[str, Any]] = [{}, {"headers": {ADAPTER: "no-such"}}]
    with workers.new_client() as client:
        answers = [
            client.post("/v1/audio/transcriptions", **form, **each) for each in named
        ]
        answers.append(client.put("/generate", json={"text": "hello"}, **named[1]))
    for answer in answers:
        assert (answer.status_code, "no-such" in answer.text) == (404, True)


def test_errors_show_neither_bodies_nor_paths(
    workers: Server, engine: RealSGLang
) -> None:
    with workers.new_client() as client:
        for path in ("/invocations", "/v1/completions"):
            answer = ask(client, engine, path, n="my secret")
            assert answer.status_code == 400
            assert "body.n" in answer.text
            assert "secret" not in answer.text
            assert ".py" not in answer.text


def test_texts_are_those_of_vllm(engine: RealSGLang, sources: dict[str, str]) -> None:
    """With 32 bits: with fewer, two engines may round the best token differently."""

    def texts(server: Server) -> list[str]:
        with server, server.new_client() as client:
            register(client, "same", sources["cats"]).raise_for_status()
            return [
                text_of(client.post("/v1/completions", json=body))
                for prompt in PROMPTS
                for body in (
                    completion(engine, prompt=prompt),
                    completion(engine, prompt=prompt, model="same"),
                )
            ]

    by_sglang = texts(serve("--dtype=float32", env={"MHCS_AUTO": "1"}))
    by_vllm = texts(serve_vllm("--dtype=float32"))
    assert by_sglang == by_vllm
    assert len({*by_vllm}) == 2 * len(PROMPTS)


def test_streams_are_whole_or_end_with_an_event(
    workers: Server, engine: RealSGLang, sources: dict[str, str]
) -> None:
    """Must be the last test, because it stops the server."""
    with workers.new_client() as client:
        register(client, "steady", sources["cats"])
    started = threading.Barrier(STREAMS + 1, timeout=60)

    def read(number: int) -> str:
        model = "steady" if number % 2 else engine.model
        body = completion(engine, model=model, max_tokens=200, ignore_eos=True)
        with (
            workers.new_client() as client,
            client.stream(
                "POST", "/invocations", json={**body, "stream": True}
            ) as answer,
        ):
            chunks = answer.iter_text()
            text = next(chunks)
            started.wait()
            return text + "".join(chunks)

    with ThreadPoolExecutor(STREAMS) as threads:
        reading = [threads.submit(read, number) for number in range(STREAMS)]
        started.wait()
        os.kill(workers.pid, signal.SIGTERM)
        for one in reading:
            end = one.result().rstrip().splitlines()
            assert end[-1] == "data: [DONE]" or '"code":503' in "".join(end[-2:])
        workers.wait(SHUTDOWN_LIMIT_S)
