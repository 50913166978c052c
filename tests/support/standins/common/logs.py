"""vLLM's logging configuration: a handler on its own logger, none on the root."""

from __future__ import annotations

import logging
import sys
from typing import Any

LOGGERS_AT_IMPORT: dict[str, Any] = {}


def configure_logging() -> None:
    """Set up the logger ``vllm``, as ``import vllm`` does."""
    logger = logging.getLogger("vllm")
    handler = logging.StreamHandler(sys.stdout)
    handler.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter("%(levelname)s [vllm] %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    LOGGERS_AT_IMPORT.update(describe_loggers())


def describe_loggers() -> dict[str, Any]:
    """Return levels, handlers and formats of the root logger and of vLLM's."""
    return {
        name: {
            "level": logging.getLogger(name).level,
            "disabled": logging.getLogger(name).disabled,
            "handlers": [
                [type(handler).__name__, handler.level, _format_of(handler)]
                for handler in logging.getLogger(name).handlers
            ],
        }
        for name in ("root", "vllm")
    }


def _format_of(handler: logging.Handler) -> str | None:
    formatter = handler.formatter
    return None if formatter is None else formatter._fmt
