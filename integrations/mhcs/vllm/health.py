"""Whether vLLM's engine answers, and whether its requests move on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from model_hosting_container_standards.exceptions import EngineUnhealthyError

#: Seconds from one look at the requests to the next.
_LOOK_S: Final = 0.1
#: How full the cache of keys and values is, as it was called up to 0.9, and is now.
_CACHE_USE: Final = ("vllm:gpu_cache_usage_perc", "vllm:kv_cache_usage_perc")


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
    """Return once a request has moved on, or none is there that could.

    A request that gets tokens moves on, and one that gets room in the cache, as a long
    prompt does for a while before the first token. Engines of the first generation
    (``VLLM_USE_V1=0``) do not show what they do.
    """
    processor = getattr(client, "output_processor", None)
    states: Mapping[str, Any] = getattr(processor, "request_states", {})
    before, cache_before = _tokens(states), _cache_use()
    while before:
        await asyncio.sleep(_LOOK_S)
        now, cache_now = _tokens(states), _cache_use()
        if _grown(before, now) or _grown(cache_before, cache_now):
            return
        before, cache_before = now, cache_now


def _grown(before: Mapping[Any, float], now: Mapping[Any, float]) -> bool:
    return any(now.get(key, 0) > count for key, count in before.items())


def _tokens(states: Mapping[str, Any]) -> dict[str, float]:
    """Return how many tokens each request has; pooling has none."""
    detokenizers = {key: state.detokenizer for key, state in states.items()}
    return {key: len(getattr(d, "token_ids", ())) for key, d in detokenizers.items()}


def _cache_use() -> dict[tuple[str, ...], float]:
    """Return how full each engine's cache is; nothing without vLLM's statistics."""
    # Imported late: only an engine in doubt is looked at.
    from prometheus_client import REGISTRY

    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in REGISTRY.restricted_registry(_CACHE_USE).collect()
        for sample in metric.samples
    }


def _dead(error: Exception) -> EngineUnhealthyError:
    return EngineUnhealthyError(f"vLLM's engine is dead: {str(error) or repr(error)}")
