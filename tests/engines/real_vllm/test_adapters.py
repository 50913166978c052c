"""LoRA adapters on a real vLLM, with one API server process and with two."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from real import (
    ADAPTER,
    ADAPTERS,
    COMPLETION,
    PINS,
    adapter_path,
    reason,
    requires_vllm,
)
from servers import Server, polling

from .conftest import DAMAGES, SLOTS, VARIANTS, Deployment, copy_adapter

pytestmark = requires_vllm

# Longer than a block of the prefix cache, which has 128 tokens on a CPU.
LONG_PROMPT = "hello hello hello " * 13
#: Enough requests for each of two processes to answer some of them.
REPEATS = 6


@pytest.fixture
def server(deployment: Deployment) -> Server:
    return deployment.server


@pytest.fixture
def adapters(deployment: Deployment) -> Iterator[httpx.Client]:
    """A client whose requests may reach any process. No adapter is registered."""
    with deployment.new_client() as client:
        yield client


def register(client: httpx.Client, name: str, src: str, **fields: Any) -> str:
    answer = client.post("/adapters", json={"name": name, "src": src, **fields})
    assert answer.status_code == 200, answer.text
    return answer.text


def text(client: httpx.Client, path: str, adapter: str = "", **fields: Any) -> str:
    body = {**COMPLETION, **fields}
    answer = client.post(path, json=body, headers={ADAPTER: adapter})
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["choices"][0]["text"]
    return found


def test_each_adapter_has_its_own_text_in_every_process(
    adapters: httpx.Client,
) -> None:
    base = text(adapters, "/invocations")
    assert register(adapters, "one", "adapter-a") == "Adapter one registered"
    assert register(adapters, "org/two", "adapter-b") == "Adapter org/two registered"
    texts = {
        name: {
            (
                text(adapters, "/invocations", name),
                text(adapters, "/invocations", model=name),
                text(adapters, "/v1/completions", model=name),
            )
            for _ in range(REPEATS)
        }
        for name in ("one", "org/two")
    }
    (one,), (two,) = texts.values()
    assert len({*one}) == len({*two}) == 1
    assert len({base, *one, *two}) == 3
    assert text(adapters, "/invocations") == base


def test_all_clients_see_same_adapters(server: Server, adapters: httpx.Client) -> None:
    # The platform sends no body, and repeats a call that got no response.
    query = {"name": "one", "src": "adapter-a", "preload": "true", "pin": "false"}
    for _ in range(2):
        answer = adapters.post("/adapters", params=query)
        assert (answer.status_code, answer.text) == (200, "Adapter one registered")
    url = f"{server.url}/adapters?name=two&src=adapter-b"
    curl = subprocess.run(
        ["curl", "-sS", "-X", "POST", url], capture_output=True, check=True, text=True
    )
    assert curl.stdout == "Adapter two registered"

    for _ in range(REPEATS):
        listed = adapters.get("/adapters").json()["adapters"]
        assert [adapter["name"] for adapter in listed] == ["one", "two"]
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            assert [m.id for m in client.models.list()] == ["tiny", "one", "two"]
            answer_ = client.completions.create(model="two", prompt="hello")
            assert answer_.model == "two"


def test_unregistered_adapter_is_a_404_in_every_process(
    adapters: httpx.Client,
) -> None:
    register(adapters, "one", "adapter-a")
    text(adapters, "/invocations", "one")
    removed = adapters.delete("/adapters/one")
    assert (removed.status_code, removed.text) == (200, "Adapter one unregistered")
    assert adapters.delete("/adapters/one").status_code == 404
    for _ in range(REPEATS):
        for fields in ({}, {"model": "one"}):
            headers = {} if fields else {ADAPTER: "one"}
            body = {**COMPLETION, **fields}
            answer = adapters.post("/invocations", json=body, headers=headers)
            assert answer.status_code == 404


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_adapter_is_refused_with_reason(
    adapters: httpx.Client, damage: str
) -> None:
    before = text(adapters, "/invocations")
    for preload in (True, False):
        body = {"name": "bad", "src": damage, "preload": preload}
        answer = adapters.post("/adapters", json=body)
        if answer.status_code == 200:  # Only the engine detects it, on loading.
            assert not preload
            headers = {ADAPTER: "bad"}
            answer = adapters.post("/invocations", json=COMPLETION, headers=headers)
            listed = adapters.get("/adapters/bad").json()
            assert listed["status"] == "failed"
            assert listed["reason"]
        assert answer.status_code == 400, answer.text
        assert reason(answer.json())
    assert text(adapters, "/invocations") == before


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_valid_variant_is_loaded(adapters: httpx.Client, variant: str) -> None:
    register(adapters, "one", variant)
    answers = {text(adapters, "/invocations", name) for name in ("one", "")}
    assert len(answers) == 2


@pytest.mark.parametrize(
    ("src", "status"),
    [
        ("missing", 404),
        ("link-out", 400),
        ("..", 400),
        (adapter_path("adapter-a"), 400),
    ],
)
def test_adapters_outside_root_are_refused(
    adapters: httpx.Client, src: str, status: int
) -> None:
    answer = adapters.post("/adapters", json={"name": "elsewhere", "src": src})
    assert answer.status_code == status, answer.text
    assert adapters.get("/adapters/elsewhere").status_code == 404
    assert text(adapters, "/invocations")


def test_more_adapters_than_cached_answer_in_turn(
    adapters: httpx.Client,
) -> None:
    names = [f"adapter-{number}" for number in range(SLOTS + 2)]
    for number, name in enumerate(names):
        register(adapters, name, ADAPTERS[number % 2])
    first, second = (text(adapters, "/invocations", name) for name in names[:2])
    assert first != second
    for _ in range(2):
        texts = [text(adapters, "/invocations", name) for name in names]
        assert texts == [first, second] * (SLOTS // 2 + 1)


def test_missing_files_affect_only_their_adapter(
    adapters: httpx.Client, adapters_root: Path
) -> None:
    for number in range(SLOTS + 1):
        folder = copy_adapter("adapter-a", adapters_root / f"copy-{number}")
        register(adapters, f"copy-{number}", folder.name)
    # One more than the engine caches: it must read the first one again.
    for file in (adapters_root / "copy-0").iterdir():
        file.unlink()
    headers = {ADAPTER: "copy-0"}
    answer = adapters.post("/invocations", json=COMPLETION, headers=headers)
    assert answer.status_code == 404, answer.text
    by_model = adapters.post("/v1/completions", json={**COMPLETION, "model": "copy-0"})
    assert 400 <= by_model.status_code < 500, by_model.text
    assert text(adapters, "/invocations", "copy-3")


def test_pins_leave_a_slot_for_other_adapters(adapters: httpx.Client) -> None:
    """vLLM's engine crashes if it runs out of slots within a step."""
    if not PINS:
        body = {"name": "pinned", "src": "adapter-a", "pin": True}
        assert adapters.post("/adapters", json=body).status_code == 507
        return
    register(adapters, "pinned", "adapter-a", pin=True)
    others = [f"other-{number}" for number in range(SLOTS - 1)]
    for name in others:
        register(adapters, name, "adapter-b")
    for pin in (True, False):
        body = {"name": "too-much", "src": "adapter-b", "pin": pin}
        assert adapters.post("/adapters", json=body).status_code == 507

    def ask(name: str) -> str:
        return text(adapters, "/invocations", name, max_tokens=64, ignore_eos=True)

    with ThreadPoolExecutor(8) as threads:
        assert len({*threads.map(ask, ["pinned", *others] * 2)}) == 2
        assert adapters.post("/adapters/pinned/update?pin=false").status_code == 200
        register(adapters, "more", "adapter-b")
        assert adapters.post("/adapters/more/update?pin=true").status_code == 507
        assert len({*threads.map(ask, ["pinned", "more", *others] * 2)}) == 2


def test_new_weights_do_not_use_old_prefix_cache(
    adapters: httpx.Client, adapters_root: Path
) -> None:
    """vLLM's prefix cache identifies an adapter by name and path only."""
    texts = []
    for source in ("adapter-a", "adapter-b"):
        copy_adapter(source, adapters_root / "changing")
        register(adapters, "changing", "changing")
        register(adapters, "expected", source)
        for name in ("changing", "expected"):
            answer = text(adapters, "/invocations", name, prompt=LONG_PROMPT)
            texts.append(answer)
            assert adapters.delete(f"/adapters/{name}").status_code == 200
    assert texts[0] == texts[1] != texts[2] == texts[3]


def test_adapter_is_replaced_immediately(adapters: httpx.Client) -> None:
    register(adapters, "expected", "adapter-b")
    register(adapters, "one", "adapter-a")
    refused = adapters.post("/adapters", json={"name": "one", "src": "adapter-b"})
    assert refused.status_code == 409
    register(adapters, "one", "adapter-b", load_inplace=True)
    for _ in range(REPEATS):
        ours, theirs = (
            text(adapters, "/invocations", name) for name in ("one", "expected")
        )
        assert ours == theirs


@pytest.mark.parametrize("end", ["DELETE", "replace"])
@pytest.mark.parametrize("path", ["/invocations", "/v1/completions"])
def test_running_request_keeps_its_adapter(
    adapters: httpx.Client, path: str, end: str
) -> None:
    register(adapters, "one", "adapter-a")
    request: dict[str, Any] = {"max_tokens": 200, "ignore_eos": True, "model": "one"}
    whole = text(adapters, path, **request)
    body = {**COMPLETION, **request, "stream": True}
    with (
        ThreadPoolExecutor() as threads,
        adapters.stream("POST", path, json=body) as answer,
    ):
        events = answer.iter_lines()
        first_event = next(events)
        if end == "DELETE":
            ended = threads.submit(adapters.delete, "/adapters/one")
            for _ in polling(30):
                if adapters.get("/adapters/one").status_code == 404:
                    break
        else:
            fields = {"name": "one", "src": "adapter-b", "load_inplace": True}
            ended = threads.submit(adapters.post, "/adapters", json=fields)
        lines = [line for line in (first_event, *events) if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole
    assert ended.result().status_code == 200


def test_adapter_cannot_be_named_like_base_model(adapters: httpx.Client) -> None:
    answer = adapters.post("/adapters", json={"name": "tiny", "src": "adapter-a"})
    assert answer.status_code == 409
    assert text(adapters, "/invocations", "tiny") == text(adapters, "/invocations")
