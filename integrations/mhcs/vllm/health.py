"""Whether vLLM's engine answers, and whether its requests move on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from model_hosting_container_standards.exceptions import EngineUnhealthyError

#: Seconds from one look at the requests to the next.
_LOOK_S: Final = 0.1
#: How full the cache of keys and values is; since 0.9.2.
_CACHE_USE: Final = "vllm:kv_cache_usage_perc"


async def check(client: Any) -> None:
    """Return once the engine's own loop has answered; a render server has none.

    ``check_health`` sees engines that are dead. One that is stopped, or waits for a
    worker that is, answers no call at all; the cheapest is whether it sleeps.

    Raises:
        EngineUnhealthyError: the engine is dead.
    """
    if client is None:
        return
    try:
        await client.check_health()
    except Exception as error:
        raise _dead(error) from error
    if ask := getattr(client, "is_sleeping", None):
        try:
            await ask()
        except Exception as error:
            # Any other error is an answer.
            if type(error).__name__ == "EngineDeadError":
                raise _dead(error) from error


async def see_progress(client: Any) -> None:
    """Return once a request has moved on, or where that cannot be told.

    A request that gets a token moves on, and so does one that gets room in the cache,
    as a long prompt does for a while before its first token. Who gives up does not.

    It cannot be told if vLLM's statistics are off, if several API servers have one
    engine, which may be busy for the others, and on engines of the first generation.
    A sleeping engine does what it was told.
    """
    # Imported late: only an engine in doubt is looked at.
    from model_hosting_container_standards.sagemaker.operations.request_metrics import (
        SHARED,
    )

    processor = getattr(client, "output_processor", None)
    requests: Mapping[str, Any] = getattr(processor, "request_states", {})
    while requests and not SHARED and (cache_before := _cache_use()):
        # A request that ends is no longer among them then, but has its last token.
        before = [(request, _steps(request)) for request in requests.values()]
        await asyncio.sleep(_LOOK_S)
        if any(_steps(request) > steps for request, steps in before):
            return
        cache = _cache_use()
        if any(cache.get(engine, 0.0) > use for engine, use in cache_before.items()):
            return
        if await client.is_sleeping():
            return


def _steps(request: Any) -> int:
    """Return how often vLLM has heard of a request; pooling has no tokens."""
    tokens = getattr(request.detokenizer, "token_ids", ())
    return len(tokens) + (not request.is_prefilling)


def _cache_use() -> Mapping[tuple[str, ...], float]:
    """Return how full the cache of each engine is."""
    from prometheus_client import REGISTRY

    return {
        tuple(sample.labels.values()): sample.value
        for metric in REGISTRY.restricted_registry([_CACHE_USE]).collect()
        for sample in metric.samples
    }


def _dead(error: Exception) -> EngineUnhealthyError:
    return EngineUnhealthyError(f"vLLM's engine is dead: {str(error) or repr(error)}")
