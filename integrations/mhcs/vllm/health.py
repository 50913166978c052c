"""Health of vLLM's engine: whether it responds, and whether it generates tokens."""

from __future__ import annotations

import asyncio
import inspect
import os
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from model_hosting_container_standards.exceptions import EngineUnhealthyError

#: Seconds between two checks for progress, and before a probe is sent again after the
#: engine's queue was full.
_POLL_S: Final = 0.5
#: Metric of the KV cache usage; since 0.9.2.
_CACHE_USAGE_METRIC: Final = "vllm:kv_cache_usage_perc"
#: A token that every model has, so that no text must be tokenized; ``type`` marks the
#: prompt as processed.
_PROMPT: Final = {"type": "token", "prompt_token_ids": [0]}
#: With it, vLLM's server keeps running when its engine is dead.
_KEEP_ALIVE: Final = "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH"
#: Errors that vLLM raises when its request queue is full.
_QUEUE_FULL_ERRORS: Final = ("QueueOverflowError", "MaxQueuedTokensError")
#: Tasks of pooling models, which do not generate; any of these works as a probe.
_POOLING_TASKS: Final = ("embed", "classify", "token_embed", "token_classify", "encode")


async def check(client: Any) -> None:
    """Return once the engine's main loop has responded; a render server has no engine.

    ``check_health`` detects a dead engine. An engine that is stopped, or waits for a
    stopped worker, does not respond to any call; ``is_sleeping`` is the cheapest.

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
    """Return once the engine has generated a token for us, or makes visible progress.

    Our probe waits in the queue like any request, so progress of other requests counts
    as well: a request gets a token, or more of the KV cache, as a long prompt does
    before its first token.

    An engine that sleeps or is paused is not probed.

    Raises:
        EngineUnhealthyError: the engine is dead.
    """
    if client is None or await _is_paused(client):
        return
    probes = [
        asyncio.ensure_future(_probe_rank(client, rank)) for rank in _ranks(client)
    ]
    tokens = asyncio.gather(*probes)
    progress = asyncio.ensure_future(_wait_for_progress(client))
    awaited: tuple[asyncio.Future[Any], ...] = (tokens, progress)
    try:
        done, _ = await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        # Cancel each probe: once one has raised, cancelling gather() has no effect.
        for task in (*probes, progress):
            task.cancel()
        # Meanwhile vLLM aborts the probes in the engine.
        await asyncio.gather(*probes, *awaited, return_exceptions=True)


def _ranks(client: Any) -> Sequence[int | None]:
    """Return the data-parallel ranks of the engines; None for a single engine."""
    core = getattr(client, "engine_core", None)
    ranks = getattr(core, "engine_ranks_managed", ())
    return range(len(ranks)) if len(ranks) > 1 else (None,)


async def _probe_rank(client: Any, rank: int | None) -> None:
    """Return once the engine of this rank has generated a token, or refuses to."""
    while True:
        try:
            async for _ in _outputs(client, rank):
                """Wait for the last output; its content does not matter."""
            return
        except Exception as error:  # noqa: BLE001 - any error shows that it responds
            if type(error).__name__ not in _QUEUE_FULL_ERRORS:
                _raise_if_dead(error)
                return
        await asyncio.sleep(_POLL_S)


def _outputs(client: Any, rank: int | None) -> AsyncIterator[Any]:
    """Send a probe to one engine: one token to generate, or to pool."""
    request_id = f"mhcs-{uuid.uuid4()}"  # Random: no client can guess and abort it.
    pools = getattr(client.model_config, "runner_type", "") == "pooling"
    if pools:
        return _encode(client, request_id)
    from vllm import SamplingParams

    params = SamplingParams(max_tokens=1, temperature=0, detokenize=False)
    rank_argument = {"data_parallel_rank": rank}
    parameters = inspect.signature(client.generate).parameters
    takes_rank = rank_argument.keys() <= parameters.keys()
    kwargs = rank_argument if rank is not None and takes_rank else {}
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
    """Return the pooling tasks that the model supports; empty if vLLM cannot tell."""
    if ask := getattr(client, "get_supported_tasks", None):
        supported = await ask()
        return [task for task in _POOLING_TASKS if task in supported]
    return ()


async def _is_paused(client: Any) -> bool:
    """Whether the engine sleeps or is paused; waits until its main loop responds.

    Raises:
        EngineUnhealthyError: the engine is dead.
    """
    for name in ("is_sleeping", "is_paused"):
        try:
            if (ask := getattr(client, name, None)) and await ask():
                return True
        except Exception as error:  # noqa: BLE001 - any other is a response too
            _raise_if_dead(error)
    return False


async def _wait_for_progress(client: Any) -> None:
    """Return once a request has made progress, or the engine is paused.

    Only requests of this API server are visible. The KV cache usage is only known if
    vLLM's statistics are on.
    """
    processor = getattr(client, "output_processor", None)
    requests: Mapping[str, Any] = getattr(processor, "request_states", {})
    while True:
        # A request that finishes meanwhile stays in this list and has more tokens.
        before = [(request, _progress_of(request)) for request in requests.values()]
        cache_before = _cache_usage()
        await asyncio.sleep(_POLL_S)
        if any(
            _progress_of(request) > progress_before
            for request, progress_before in before
        ):
            return
        cache = _cache_usage()
        if any(cache.get(engine, 0.0) > use for engine, use in cache_before.items()):
            return
        if await _is_paused(client):
            return


def _progress_of(request: Any) -> int:
    """Return a count that grows with a request's progress; pooling has no tokens."""
    tokens = getattr(request.detokenizer, "token_ids", ())
    return len(tokens) + (not request.is_prefilling)


def _cache_usage() -> Mapping[tuple[str, ...], float]:
    """Return the KV cache usage, from 0 to 1, by the labels of each engine."""
    from prometheus_client import REGISTRY

    return {
        tuple(sample.labels.values()): sample.value
        for metric in REGISTRY.restricted_registry([_CACHE_USAGE_METRIC]).collect()
        for sample in metric.samples
    }


def _raise_if_dead(error: Exception) -> None:
    if type(error).__name__ == "EngineDeadError":
        raise _dead(error) from error


def _dead(error: Exception) -> EngineUnhealthyError:
    reason = f"vLLM's engine is dead: {str(error) or repr(error)}"
    keeps_server = os.environ.get(_KEEP_ALIVE, "").strip() not in ("", "0")
    if keeps_server:
        reason += f" ({_KEEP_ALIVE} keeps the server running.)"
    return EngineUnhealthyError(reason, keeps_server=keeps_server)
