"""Whether TensorRT-LLM's engine is well: ``/health`` says so in the newest alone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

from model_hosting_container_standards.exceptions import EngineUnhealthyError

#: Any model has this token, so that none has to be made of a text.
_ANY_TOKEN: Final = 0


def generator_of(server: Any) -> Any:
    """Return a server's engine: ``llm`` up to 1.2, ``generator`` since."""
    return getattr(server, "generator", None) or getattr(server, "llm", None)


def generate_token(generator: Any, lora_request: Any = None) -> Any:
    """Have a token generated; return the promise of it."""
    from tensorrt_llm import SamplingParams

    return generator.generate_async(
        inputs=[_ANY_TOKEN],
        sampling_params=SamplingParams(max_tokens=1),
        lora_request=lora_request,
    )


def check(server: Any) -> None:
    """Look at what the front end knows of its worker: there is nothing it could ask.

    Raises:
        EngineUnhealthyError: the engine has ended.
    """
    generator = generator_of(server)
    executor = getattr(generator, "_executor", None)
    errors = getattr(executor, "_error_queue", None)
    if errors is not None and not errors.empty():
        # The next request gets it. It stays where it is.
        raise _dead(errors.queue[0])
    if getattr(executor, "doing_shutdown", False):
        raise _dead("it has shut down")
    is_healthy = getattr(generator, "_check_health", None)
    if is_healthy is not None and not is_healthy():
        raise _dead("it is not healthy")


async def try_out(server: Any) -> None:
    """Have one token generated, which a request that waits cannot tell from its own.

    An engine that makes images has no tokens: that it says so is an answer.

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


def _dead(reason: object) -> EngineUnhealthyError:
    return EngineUnhealthyError(f"TensorRT-LLM's engine is dead: {reason}")
