"""An engine's OpenAI completions, whose text is known beforehand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

TOKENS: Final = (" one", " two")
LOGPROBS: Final = (-0.5, -0.25)
USAGE: Final = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


class Completions:
    """A handler; ``asked`` are the bodies that reached it.

    ``ending`` is merged into the last choice, ``events`` replace those of a stream, and
    ``size`` is the number of bytes of a chunk.
    """

    def __init__(
        self,
        *,
        events: list[Any] | None = None,
        size: int | None = None,
        **ending: Any,
    ) -> None:
        self.asked: list[dict[str, Any]] = []
        self._ending = {"finish_reason": "length", **ending}
        self._events = events
        self._size = size

    async def __call__(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        if body.get("stream"):
            return StreamingResponse(self._chunks(), media_type="text/event-stream")
        prompts = body["prompt"]
        count = len(prompts) if isinstance(prompts, list) else 1
        # In reverse: OpenAI's choices are in any order.
        choices = [self._choice(body, index) for index in reversed(range(count))]
        completion = {"object": "text_completion", "choices": choices, "usage": USAGE}
        return JSONResponse(completion)

    def _choice(self, body: dict[str, Any], index: int) -> dict[str, Any]:
        logprobs = {"tokens": TOKENS, "token_logprobs": LOGPROBS}
        return {
            "index": index,
            "text": "".join(TOKENS) + (f" {index}" if index else ""),
            "logprobs": logprobs if body.get("logprobs") else None,
            **self._ending,
        }

    def _chunks(self) -> Iterator[bytes]:
        events = self._events or [
            chunk(TOKENS[0], LOGPROBS[0]),
            chunk(TOKENS[1], LOGPROBS[1], **self._ending),
            {"choices": [], "usage": USAGE},
        ]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        content = "".join([*lines, "data: [DONE]\n\n"]).encode()
        size = self._size or len(content)
        for start in range(0, len(content), size):
            yield content[start : start + size]


def chunk(words: str, *values: float, **more: Any) -> dict[str, Any]:
    """Return an event of a stream; each word is a token."""
    tokens = [f" {word}" for word in words.split()]
    logprobs = {"tokens": tokens, "token_logprobs": values} if values else None
    choice = {"index": 0, "text": words, "logprobs": logprobs, "finish_reason": None}
    return {"object": "text_completion", "choices": [{**choice, **more}]}
