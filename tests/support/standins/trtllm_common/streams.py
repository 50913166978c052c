"""The events of streamed responses, in the format of OpenAI's API.

An error comes after the headers: most streams then end unfinished, with status 200.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from standins.trtllm_common import answers
from standins.trtllm_common.answers import DONE, event
from standins.trtllm_common.output import RequestOutput
from standins.trtllm_common.release import since


async def completion_chunks(
    model: str, promises: Sequence[RequestOutput], echoes: Sequence[str], options: Any
) -> AsyncIterator[str]:
    for index, promise in enumerate(promises):
        try:
            async for chunk in _completion(model, index, promise, echoes[index]):
                yield event(_with_usage(chunk, promise, options))
        except (RuntimeError, ValueError) as error:
            if not since(1, 4):
                raise
            details = {"message": str(error), "type": "server_error"}
            yield event({"error": {**details, "code": None, "param": None}})
            yield DONE
    if options is not None and options.include_usage:
        last = answers.completion_chunk(model, promises[0])
        yield event({**last, "usage": answers.usage(promises)})
    yield DONE


async def _completion(
    model: str, index: int, promise: RequestOutput, echo: str
) -> AsyncIterator[dict[str, Any]]:
    async for promised in promise:
        output = promised.outputs[0]
        choice = {
            "index": index,
            "text": echo + output.text_diff,
            "finish_reason": output.finish_reason,
        }
        yield answers.completion_chunk(model, promise, choice)
        echo = ""


async def chat_chunks(
    model: str, promise: RequestOutput, options: Any
) -> AsyncIterator[str]:
    role: dict[str, Any] = {"index": 0, "delta": {"role": "assistant"}}
    has_begun = False
    async for promised in promise:
        if not has_begun:
            has_begun = True
            first = answers.chat_chunk(model, promise, role)
            yield event(_with_usage(first, promise, options))
        output = promised.outputs[0]
        choice = {
            "index": 0,
            "delta": {"content": output.text_diff},
            "finish_reason": output.finish_reason,
        }
        chunk = answers.chat_chunk(model, promise, choice)
        yield event(_with_usage(chunk, promise, options))
    if options is not None and options.include_usage:
        last = answers.chat_chunk(model, promise)
        yield event({**last, "usage": answers.usage([promise])})
    yield DONE


async def response_events(model: str, promise: RequestOutput) -> AsyncIterator[str]:
    async for output in promise:
        delta = output.outputs[0].text_diff
        yield event({"type": "response.output_text.delta", "delta": delta})
    body = answers.response(model, promise)
    yield event({"type": "response.completed", "response": body})


def _with_usage(
    chunk: dict[str, Any], promise: RequestOutput, options: Any
) -> dict[str, Any]:
    if options is None or not (
        options.include_usage and options.continuous_usage_stats
    ):
        return chunk
    return {**chunk, "usage": answers.usage([promise])}
