"""Routes of vLLM's own app that a client may select: those that run a model."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Final

import pytest

from real import ENV, RELEASE, requires_vllm, tiny_model
from servers import run_until_exit

pytestmark = [*requires_vllm, pytest.mark.usefixtures("temporary_folder")]

#: Paths of any release that change or stop the server.
MANAGING: Final = re.compile(
    r"/(?:adapters|invocations|ping)(?:/.*)?"
    r"|.*/(?:sleep|wake_up|pause|resume|reset_\w+|release_kv_cache_memory)"
    r"|.*/(?:collective_rpc|\w*scal\w+_elastic_ep|\w*weight\w*|\w+_lora_adapter)"
    r"|.*/(?:abort_requests|cancel|start_profile|stop_profile)"
)
ALWAYS: Final = {"/detokenize", "/tokenize"}
EXPECTED: Final = {
    "generate": ALWAYS | {"/v1/chat/completions", "/v1/completions"},
    "pooling": ALWAYS | {"/pooling", "/rerank", "/score", "/v1/embeddings"},
}
#: Paths that later releases add.
SINCE: Final = {
    (0, 10, 2): {"generate": {"/v1/responses"}, "pooling": {"/classify"}},
    (0, 21): {"generate": {"/generative_scoring"}, "pooling": {"/v2/embed"}},
    (0, 32): {"generate": {"/v1/systemone"}, "pooling": {"/v1/systemone"}},
}


@pytest.fixture(scope="module")
def reports() -> dict[str, dict[str, list[str]]]:
    """The paths of the app for each kind of model, as built_app.py reports them."""
    script = Path(__file__).with_name("built_app.py")
    command = [sys.executable, str(script), tiny_model(), *EXPECTED]
    end = run_until_exit(command, env=ENV, timeout=300)
    assert end.status == 0, end.stderr
    found: dict[str, dict[str, list[str]]] = json.loads(end.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("kind", EXPECTED)
def test_selectable_routes_are_those_that_run_the_model(
    reports: dict[str, dict[str, list[str]]], kind: str
) -> None:
    chosen, posts = (set(reports[kind][name]) for name in ("chosen", "posts"))
    managing = {path for path in posts if MANAGING.fullmatch(path)}
    assert chosen == posts - managing
    assert EXPECTED[kind] <= chosen
    assert {"/invocations", "/collective_rpc", "/v1/load_lora_adapter"} <= managing
    for release, more in SINCE.items():
        if release <= RELEASE:
            assert more.get(kind, set()) <= chosen
