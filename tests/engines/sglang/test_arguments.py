"""Arguments of a server, in releases with groups of them and in older ones."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mhcs.sglang.arguments import lora_arguments, parallel_arguments


@pytest.fixture
def manager() -> Any:
    return SimpleNamespace(server_args=SimpleNamespace(dp_size=1, max_lora_rank=8))


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    context: Any = ModuleType("sglang.srt.runtime_context")
    package: Any = ModuleType("sglang.srt")
    package.runtime_context = context
    monkeypatch.setitem(sys.modules, "sglang", ModuleType("sglang"))
    monkeypatch.setitem(sys.modules, "sglang.srt", package)
    monkeypatch.setitem(sys.modules, context.__name__, context)
    return context


def test_group_has_precedence(manager: Any, context: Any) -> None:
    context.get_lora = lambda: SimpleNamespace(max_lora_rank=16)
    assert lora_arguments(manager).max_lora_rank == 16


def test_group_that_lacks_the_argument_is_passed_over(
    manager: Any, context: Any
) -> None:
    context.get_parallel = lambda: SimpleNamespace(other=1)
    assert parallel_arguments(manager).dp_size == 1
    assert lora_arguments(manager).max_lora_rank == 8


def test_release_without_groups_has_one_object(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sglang", None)
    assert lora_arguments(manager).max_lora_rank == 8
