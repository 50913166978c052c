"""Adapter names over HTTP: every name that registers can be used, read and deleted.

The server is a real one, with each of uvicorn's parsers: clients and parsers decide
what becomes of a header's value.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapter_engine import write_adapter
from invocations_app import ADAPTER
from layouts import SUPPORT
from servers import Server

COMMAND = (sys.executable, "-m", "uvicorn", "served_adapters:app")

#: Characters that clients or parsers may drop, change or decode differently.
DIFFICULT = (
    " \t\u00a0\u2003\u3000/.%+;,:='\"\\\u00c3\u00a9\u00e9e\u0301\u00ff\u4e2d\U0001f600"
)
CHARACTERS = st.sampled_from([*f"aZ{DIFFICULT}"]) | st.characters(codec="utf-8")
NAMES = st.lists(CHARACTERS, min_size=1, max_size=8).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


@pytest.fixture(scope="module", params=["h11", "httptools"])
def client(request: pytest.FixtureRequest, folder: Path) -> Iterator[httpx.Client]:
    state = folder / request.param
    env = {
        "PYTHONPATH": str(SUPPORT),
        "ENGINE": str(state / "engine"),
        "SAGEMAKER_ADAPTERS_PATH": str(state / "adapters"),
    }
    command = [*COMMAND, "--http", request.param]
    with Server(command, env, ready_path="/adapters") as server:
        yield server.client


@pytest.fixture(scope="module")
def src(folder: Path) -> str:
    return write_adapter(folder / "one", "one")


def register(client: httpx.Client, name: str, src: str) -> httpx.Response:
    # json= escapes the name, which UTF-8 may be unable to encode.
    return client.post("/adapters", json={"name": name, "src": src})


def encodings(name: str) -> Iterator[bytes]:
    """Yield the header values that clients send for a name."""
    yield name.encode()
    with contextlib.suppress(UnicodeEncodeError):
        yield name.encode("latin-1")


@settings(max_examples=30, deadline=None)
@given(name=NAMES)
@example("a b")
@example("org/a")
@example("caf\u00e9")
@example("\u4e2d\u6587 \U0001f600")
@example("x" * 256)
@example("\U0001f600" * 256)
@example("%20a%2F")
def test_accepted_names_can_be_read_used_and_deleted(
    client: httpx.Client, src: str, name: str
) -> None:
    registered = register(client, name, src)
    path = f"/adapters/{quote(name, safe='')}"
    if registered.status_code != 200:
        assert registered.status_code == 400
        assert "name" in registered.json()["detail"]
        assert client.get("/adapters").json()["adapters"] == []
        return
    assert client.get(path).json()["name"] == name
    wanted = {"model": name, "text": "one"}
    for route in ("/invocations", "/v1/completions"):
        for value in encodings(name):
            headers = {ADAPTER.encode(): value}
            answer = client.post(route, json={"model": "base"}, headers=headers)
            assert answer.json() == wanted
        assert client.post(route, json={"model": name}).json() == wanted
    assert client.delete(path).status_code == 200
    assert client.get("/adapters").json()["adapters"] == []


@pytest.mark.parametrize("space", [" ", "\t", "\u00a0", "\u2003", "\u3000"])
@pytest.mark.parametrize("form", ["{}a", "a{}", "{}", "{0}a b{0}"])
def test_leading_or_trailing_whitespace_is_a_400(
    client: httpx.Client, src: str, space: str, form: str
) -> None:
    answer = register(client, form.format(space), src)
    assert answer.status_code == 400
    reason = answer.json()["detail"]
    assert "white space" in reason or (space == "\t" and "control" in reason)


@pytest.mark.parametrize("name", ["\u00c3\u00a9", "caf\u00c3\u00a9", "\u00c2\u00a3 5"])
def test_name_that_is_ambiguous_in_a_header_is_a_400(
    client: httpx.Client, src: str, name: str
) -> None:
    """The latin-1 bytes of the name are the UTF-8 bytes of a shorter one."""
    shorter = name.encode("latin-1").decode()
    answer = register(client, name, src)
    assert answer.status_code == 400
    assert repr(shorter) in answer.json()["detail"]
    assert register(client, shorter, src).status_code == 200
    client.delete(f"/adapters/{quote(shorter)}").raise_for_status()


def test_name_with_lone_surrogates_is_a_400(client: httpx.Client, src: str) -> None:
    content = b'{"name": "\\ud800", "src": "%b"}' % src.encode()
    answer = client.post("/adapters", content=content)
    assert answer.status_code == 400


def test_names_are_not_normalised(client: httpx.Client, src: str) -> None:
    """Similar names stay distinct, and all can be registered at the same time."""
    names: Any = ["e\u0301", "\u00e9", "a b", "a  b", "A", "a", "a/b", "a//b", "a%2Fb"]
    for name in names:
        register(client, name, src).raise_for_status()
    for name in names:
        headers = {ADAPTER.encode(): name.encode()}
        answer = client.post("/invocations", json={}, headers=headers)
        assert answer.json()["model"] == name
        client.delete(f"/adapters/{quote(name, safe='')}").raise_for_status()
