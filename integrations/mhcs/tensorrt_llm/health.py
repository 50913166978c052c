"""Health of TensorRT-LLM's engine, which only the newest ``/health`` reports."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Any, Final

from mhcs.guard import logger
from model_hosting_container_standards.exceptions import EngineUnhealthyError

#: A token that every model has, so that no text must be tokenized.
_ANY_TOKEN: Final = 0
#: The engine's class for an error of a single request, which the engine survives.
_REQUEST_ERROR: Final = "RequestError"
#: Attribute of ``app.state``: SIGTERM was sent to the server.
_IS_TERMINATING: Final = "tensorrt_llm_is_ending"


def generator_of(server: Any) -> Any:
    """Return a server's engine: ``llm`` up to 1.2, ``generator`` since."""
    return getattr(server, "generator", None) or getattr(server, "llm", None)


def generate_token(generator: Any, lora_request: Any = None) -> Any:
    """Start the generation of one token; return its ``RequestOutput``."""
    from tensorrt_llm import SamplingParams

    return generator.generate_async(
        inputs=[_ANY_TOKEN],
        sampling_params=SamplingParams(max_tokens=1),
        lora_request=lora_request,
    )


def cause_of_death(server: Any) -> str | None:
    """Return why the engine has ended, or None while it is alive.

    The engine cannot be queried: this reads the errors that it has reported so far.
    """
    generator = generator_of(server)
    executor = getattr(generator, "_executor", None)
    # The next request raises the error in the queue: it is only read here.
    errors = getattr(executor, "_error_queue", None)
    reported = [getattr(executor, "_fatal_error", None), *getattr(errors, "queue", ())]
    for error in reported:
        if isinstance(error, BaseException) and not is_request_error(error):
            return str(error).partition("\n")[0] or repr(error)
    if getattr(executor, "doing_shutdown", False):
        return "it has shut down"
    is_healthy = getattr(server, "_check_health", None) or getattr(
        generator, "_check_health", None
    )
    return "it is not healthy" if is_healthy is not None and not is_healthy() else None


def is_request_error(error: BaseException) -> bool:
    """Whether the engine attributes an error to a single request."""
    return any(kind.__name__ == _REQUEST_ERROR for kind in type(error).__mro__)


def check(server: Any) -> None:
    """Check that the engine is alive; if it has ended, shut the server down.

    Raises:
        EngineUnhealthyError: the engine has ended.
    """
    if (cause := cause_of_death(server)) is not None:
        _terminate(server)
        raise EngineUnhealthyError(f"TensorRT-LLM's engine is dead: {cause}")


async def probe_generation(server: Any) -> None:
    """Generate one token, in the engine's queue like the requests of clients.

    An engine of images rejects the request, which is a response as well.

    Raises:
        EngineUnhealthyError: the engine has ended.
    """
    with contextlib.suppress(Exception):
        promise = generate_token(generator_of(server))
        try:
            await promise.aresult()
        except asyncio.CancelledError:
            promise.abort()
            raise
    check(server)


def _terminate(server: Any) -> None:
    """Send SIGTERM to the server, once: its engine cannot recover.

    In the newest releases, ``/health`` sends SIGINT, unless the engine is already
    shutting down; older releases keep responding with errors.
    """
    state = server.app.state
    if not getattr(state, _IS_TERMINATING, False):
        setattr(state, _IS_TERMINATING, True)
        logger.error("TensorRT-LLM's engine is dead: shutting its server down.")
        signal.raise_signal(signal.SIGTERM)
