"""The arguments of a running SGLang server, resolved."""

from __future__ import annotations

from typing import Any


def lora_arguments(manager: Any) -> Any:
    """Return an object with the arguments about LoRA, such as ``max_lora_rank``."""
    return _group(manager, "get_lora")


def serving_arguments(manager: Any) -> Any:
    """Return an object with the arguments about HTTP, such as ``port``."""
    return _group(manager, "get_serving")


def parallel_arguments(manager: Any) -> Any:
    """Return an object with the arguments about parallelism, such as ``dp_size``."""
    return _group(manager, "get_parallel")


def _group(manager: Any, name: str) -> Any:
    """Return a group of resolved arguments; older releases have one object for all."""
    try:
        from sglang.srt import runtime_context
    except ImportError:
        return manager.server_args
    get = getattr(runtime_context, name, None)
    return manager.server_args if get is None else get()
