"""Response bodies in the format of OpenAI's API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse

from standins.trtllm_common.output import RequestOutput

DONE = "data: [DONE]\n\n"


def event(body: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def error(message: str, status_code: int = 400) -> JSONResponse:
    """Return an error response, whose body is flat."""
    body = {
        "object": "error",
        "message": message,
        "type": "BadRequestError",
        "param": None,
        "code": status_code,
    }
    return JSONResponse(body, status_code=status_code)


def usage(promises: Sequence[RequestOutput]) -> dict[str, int]:
    prompt = sum(len(promise.prompt_token_ids) for promise in promises)
    answer = sum(promise.outputs[0].length for promise in promises)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
    }


def completion(
    model: str, promises: Sequence[RequestOutput], echoes: Sequence[str]
) -> dict[str, Any]:
    return {
        "id": f"cmpl-{promises[0].request_id}",
        "object": "text_completion",
        "model": model,
        "choices": [
            {
                "index": index,
                "text": echoes[index] + promise.outputs[0].text,
                "finish_reason": promise.outputs[0].finish_reason,
            }
            for index, promise in enumerate(promises)
        ],
        "usage": usage(promises),
    }


def completion_chunk(
    model: str, promise: RequestOutput, *choices: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "id": f"cmpl-{promise.request_id}",
        "object": "text_completion",
        "model": model,
        "choices": choices,
    }


def chat(model: str, promise: RequestOutput) -> dict[str, Any]:
    output = promise.outputs[0]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": output.text},
        "finish_reason": output.finish_reason,
    }
    return {
        "id": f"chatcmpl-{promise.request_id}",
        "object": "chat.completion",
        "model": model,
        "choices": [choice],
        "usage": usage([promise]),
    }


def chat_chunk(
    model: str, promise: RequestOutput, *choices: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{promise.request_id}",
        "object": "chat.completion.chunk",
        "model": model,
        "choices": choices,
    }


def response(model: str, promise: RequestOutput) -> dict[str, Any]:
    content = [{"type": "output_text", "text": promise.outputs[0].text}]
    return {
        "id": f"resp_{promise.request_id}",
        "object": "response",
        "model": model,
        "status": "completed",
        "output": [{"type": "message", "role": "assistant", "content": content}],
    }


def message(model: str, chat_body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a chat response in the format of Anthropic's API."""
    choice = chat_body["choices"][0]
    cut = choice["finish_reason"] == "length"
    return {
        "id": f"msg_{chat_body['id']}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": choice["message"]["content"]}],
        "stop_reason": "max_tokens" if cut else "end_turn",
    }
