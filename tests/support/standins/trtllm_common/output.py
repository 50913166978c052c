"""The result of ``generate_async``: a running generation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorrt_llm.executor.utils import RequestError


@dataclass
class CompletionOutput:
    index: int = 0
    text: str = ""
    #: The text of the last token.
    text_diff: str = ""
    length: int = 0
    finish_reason: str | None = None


class RequestOutput:
    """A running generation: await it for the whole text, or iterate over its tokens."""

    def __init__(
        self, request_id: int, prompt: str | Sequence[int], abort: Callable[[int], None]
    ) -> None:
        self.request_id = request_id
        text = prompt.split() if isinstance(prompt, str) else prompt
        self.prompt_token_ids = list(range(len(text)))
        self.outputs = [CompletionOutput()]
        self.finished = False
        self._aborted = False
        self._abort = abort
        self._loop = asyncio.get_running_loop()
        self._messages: asyncio.Queue[Mapping[str, Any] | Exception] = asyncio.Queue()

    def abort(self) -> None:
        self._aborted = True
        self._abort(self.request_id)

    def aborted(self) -> bool:
        return self._aborted

    async def aresult(self) -> RequestOutput:
        while not self.finished:
            await self._step()
        return self

    def __await__(self) -> Generator[Any, None, RequestOutput]:
        return self.aresult().__await__()

    def __aiter__(self) -> AsyncIterator[RequestOutput]:
        return self

    async def __anext__(self) -> RequestOutput:
        if self.finished:
            raise StopAsyncIteration
        await self._step()
        return self

    def put(self, message: Mapping[str, Any] | Exception) -> None:
        """Add a message of the worker; called from the receiving thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._messages.put_nowait, message)

    async def _step(self) -> None:
        message = await self._messages.get()
        if isinstance(message, Exception):
            raise message
        if "error" in message:
            raise RequestError(message["error"])
        output = self.outputs[0]
        output.text_diff = message.get("token", "")
        output.text += output.text_diff
        output.length += "token" in message
        output.finish_reason = message.get("reason")
        self.finished = "reason" in message
