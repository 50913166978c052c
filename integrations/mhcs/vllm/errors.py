"""Translates errors of vLLM's engine to ours, and ours to errors of vLLM's routes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Final

from model_hosting_container_standards.exceptions import (
    AdapterEngineError,
    AdapterError,
)

#: Text that vLLM's processes put around the reason of an error.
_ERROR_WRAPPING: Final = re.compile(
    r"^Call to \w+ method failed: |^Worker failed with error '"
    r"|', please check the stack trace above for the root cause$"
)


def client_error(error: AdapterError) -> Exception:
    """Return an exception to which vLLM's routes respond with a 4xx status."""
    import vllm

    kind = getattr(getattr(vllm, "exceptions", None), "VLLMNotFoundError", ValueError)
    translated: Exception = kind(str(error))
    return translated


@contextlib.contextmanager
def translate_engine_errors(kind: type[AdapterError]) -> Iterator[None]:
    """Raise errors of the engine's process as ``kind``.

    Their type is lost between the processes: vLLM's client raises a bare ``Exception``.
    """
    try:
        yield
    except Exception as error:
        if type(error).__name__ == "EngineDeadError":
            raise AdapterEngineError(f"vLLM's engine is dead: {error}") from error
        raise kind(_reason(error)) from error


def _reason(error: Exception) -> str:
    reason = _ERROR_WRAPPING.sub("", _ERROR_WRAPPING.sub("", str(error)))
    return reason or repr(error)
