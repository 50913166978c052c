"""Whether TensorRT-LLM's engine is well: ``/health`` says so in the newest alone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Any, Final

from mhcs.guard import logger
from model_hosting_container_standards.exceptions import EngineUnhealthyError

#: Any model has this token, so that none has to be made of a text.
_ANY_TOKEN: Final = 0
#: What the engine calls an error of one request, after which it goes on.
_REQUEST_ERROR: Final = "RequestError"
#: Whether the server has been told to end.
_IS_ENDING: Final = "tensorrt_llm_is_ending"


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


def cause_of_death(server: Any) -> str | None:
    """Return why the engine has ended, as far as its front end knows; None: it lives.

    There is nothing that could be asked: the front end looks at what it was told.
    """
    generator = generator_of(server)
    executor = getattr(generator, "_executor", None)
    # The next request gets what is in the queue. It stays where it is.
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
    """Whether the engine says of an error that one request is at fault."""
    return any(kind.__name__ == _REQUEST_ERROR for kind in type(error).__mro__)


def check(server: Any) -> None:
    """Look whether the engine lives; a server without one is told to end.

    Raises:
        EngineUnhealthyError: the engine has ended.
    """
    if (cause := cause_of_death(server)) is not None:
        _end(server)
        raise EngineUnhealthyError(f"TensorRT-LLM's engine is dead: {cause}")


async def probe_generation(server: Any) -> None:
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


def _end(server: Any) -> None:
    """End the server as SIGTERM does, once: its engine does not come back.

    The newest releases do so in their ``/health``, by SIGINT, if nothing has begun to
    shut the engine down by then; the others answer errors for ever.
    """
    state = server.app.state
    if not getattr(state, _IS_ENDING, False):
        setattr(state, _IS_ENDING, True)
        logger.error("TensorRT-LLM's engine is dead, so its server ends.")
        signal.raise_signal(signal.SIGTERM)
