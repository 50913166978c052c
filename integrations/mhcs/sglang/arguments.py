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
    try:
        from sglang.srt import runtime_context
    except ImportError:
        return manager.server_args
    get = getattr(runtime_context, name, None)
    return _Arguments(None if get is None else get(), manager.server_args)


class _Arguments:
    """A group of resolved arguments, or else the one object of older releases."""

    def __init__(self, group: Any, server_args: Any) -> None:
        self._group = group
        self._server_args = server_args

    def __getattr__(self, name: str) -> Any:
        # Up to 0.5.19, some groups do not exist, and others have other contents.
        if hasattr(self._group, name):
            return getattr(self._group, name)
        return getattr(self._server_args, name)
