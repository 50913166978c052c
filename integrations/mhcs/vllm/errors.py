"""Errors of vLLM's engine as ours, and ours as those that vLLM's routes answer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Final

from model_hosting_container_standards.exceptions import (
    AdapterEngineError,
    AdapterError,
)

#: What the engine's processes say around the reason.
_AROUND_THE_REASON: Final = re.compile(
    r"^Call to \w+ method failed: |^Worker failed with error '"
    r"|', please check the stack trace above for the root cause$"
)


def client_error(error: AdapterError) -> Exception:
    """Return what vLLM answers by a status below 500."""
    import vllm

    kind = getattr(getattr(vllm, "exceptions", None), "VLLMNotFoundError", ValueError)
    told: Exception = kind(str(error))
    return told


@contextlib.contextmanager
def errors_of_the_engine(kind: type[AdapterError]) -> Iterator[None]:
    """Raise what the engine's process reports as one of our errors.

    Its type is lost on the way: vLLM's client raises a bare ``Exception``.
    """
    try:
        yield
    except Exception as error:
        if type(error).__name__ == "EngineDeadError":
            raise AdapterEngineError(f"vLLM's engine is dead: {error}") from error
        raise kind(_reason(error)) from error


def _reason(error: Exception) -> str:
    reason = _AROUND_THE_REASON.sub("", _AROUND_THE_REASON.sub("", str(error)))
    return reason or repr(error)
