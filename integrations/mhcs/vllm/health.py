"""Whether vLLM's engine answers, and whether it generates."""

from __future__ import annotations

import asyncio
import inspect
import os
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from model_hosting_container_standards.exceptions import EngineUnhealthyError

#: Seconds from one look at the requests to the next, and from a request for a token
#: that found no room in the queue to the next.
_LOOK_S: Final = 0.5
#: How full the cache of keys and values is; since 0.9.2.
_CACHE_USE: Final = "vllm:kv_cache_usage_perc"
#: Any model has this token, so that none has to be made of a text; ``type`` says that
#: nothing is left to be done with it.
_PROMPT: Final = {"type": "token", "prompt_token_ids": [0]}
#: By it an operator has vLLM's server stay when its engine is dead.
_KEEPS_SERVER: Final = "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH"
#: What vLLM raises where its queue has a limit, and is full.
_FULL: Final = ("QueueOverflowError", "MaxQueuedTokensError")
#: What models that have no tokens to give do with one: any of these will do.
_POOLING_TASKS: Final = ("embed", "classify", "token_embed", "token_classify", "encode")


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
    await _is_paused(client)


async def probe_generation(client: Any) -> None:
    """Return once the engine has generated a token of our own, or is seen to work.

    That token waits its turn, as those of all requests: where they move on, the engine
    works. A request that gets a token does, and so does one that gets room in the
    cache, as a long prompt does for a while before its first token.

    An engine that sleeps, or is paused, does what it was told, and is not asked.

    Raises:
        EngineUnhealthyError: the engine is dead.
    """
    if client is None or await _is_paused(client):
        return
    probes = [
        asyncio.ensure_future(_have_token_generated(client, rank))
        for rank in _ranks(client)
    ]
    tokens = asyncio.gather(*probes)
    progress = asyncio.ensure_future(_see_progress(client))
    awaited: tuple[asyncio.Future[Any], ...] = (tokens, progress)
    try:
        done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
    finally:
        # Each of them: once one has raised, to cancel what gathers them does nothing.
        for task in (*probes, progress):
            task.cancel()
        # What the engine has of ours is aborted meanwhile.
        await asyncio.gather(*probes, *awaited, return_exceptions=True)


def _ranks(client: Any) -> Sequence[int | None]:
    """Return the places of the engines among which requests are shared out."""
    core = getattr(client, "engine_core", None)
    ranks = getattr(core, "engine_ranks_managed", ())
    return range(len(ranks)) if len(ranks) > 1 else (None,)


async def _have_token_generated(client: Any, rank: int | None) -> None:
    """Return once one engine has generated a token, or refuses to."""
    while True:
        try:
            async for _ in _outputs(client, rank):
                """All that matters is that they come."""
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is an answer
            if type(error).__name__ not in _FULL:
                _raise_if_dead(error)
                return
        await asyncio.sleep(_LOOK_S)


def _outputs(client: Any, rank: int | None) -> AsyncIterator[Any]:
    """Ask one engine for a token, or whatever else its model makes of one."""
    request_id = f"mhcs-{uuid.uuid4()}"  # No client can know it.
    pools = getattr(client.model_config, "runner_type", "") == "pooling"
    if pools:
        return _encode(client, request_id)
    from vllm import SamplingParams

    params = SamplingParams(max_tokens=1, temperature=0, detokenize=False)
    chosen = {"data_parallel_rank": rank}
    known = inspect.signature(client.generate).parameters
    kwargs = chosen if rank is not None and chosen.keys() <= known.keys() else {}
    outputs: AsyncIterator[Any] = client.generate(_PROMPT, params, request_id, **kwargs)
    return outputs


async def _encode(client: Any, request_id: str) -> AsyncIterator[Any]:
    from vllm import PoolingParams

    tasks = await _pooling_tasks(client)
    params = PoolingParams(task=tasks[0]) if tasks else PoolingParams()
    async with aclosing(client.encode(_PROMPT, params, request_id)) as outputs:
        async for output in outputs:
            yield output


async def _pooling_tasks(client: Any) -> Sequence[str]:
    """Return what a pooling model does with a prompt; nothing where nobody asks."""
    if ask := getattr(client, "get_supported_tasks", None):
        supported = await ask()
        return [task for task in _POOLING_TASKS if task in supported]
    return ()


async def _is_paused(client: Any) -> bool:
    """Whether the engine was told to do nothing; returns once its loop has answered.

    Raises:
        EngineUnhealthyError: the engine is dead.
    """
    for name in ("is_sleeping", "is_paused"):
        try:
            if (ask := getattr(client, name, None)) and await ask():
                return True
        except Exception as error:  # noqa: BLE001 - any other is an answer
            _raise_if_dead(error)
    return False


async def _see_progress(client: Any) -> None:
    """Return once a request has moved on, or the engine is told to do nothing.

    Requests of this API server, as no other's can be seen. How full the cache is can
    be seen with vLLM's statistics alone.
    """
    processor = getattr(client, "output_processor", None)
    requests: Mapping[str, Any] = getattr(processor, "request_states", {})
    while True:
        # A request that ends is no longer among them then, but has its last token.
        before = [(request, _steps(request)) for request in requests.values()]
        cache_before = _cache_use()
        await asyncio.sleep(_LOOK_S)
        if any(_steps(request) > steps for request, steps in before):
            return
        cache = _cache_use()
        if any(cache.get(engine, 0.0) > use for engine, use in cache_before.items()):
            return
        if await _is_paused(client):
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


def _raise_if_dead(error: Exception) -> None:
    if type(error).__name__ == "EngineDeadError":
        raise _dead(error) from error


def _dead(error: Exception) -> EngineUnhealthyError:
    reason = f"vLLM's engine is dead: {str(error) or repr(error)}"
    keeps_server = os.environ.get(_KEEPS_SERVER, "").strip() not in ("", "0")
    if keeps_server:
        reason += f" ({_KEEPS_SERVER} keeps its server.)"
    return EngineUnhealthyError(reason, keeps_server=keeps_server)
