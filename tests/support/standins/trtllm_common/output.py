"""A generation under way, as ``generate_async`` returns it."""

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
    #: What the last token has added.
    text_diff: str = ""
    length: int = 0
    finish_reason: str | None = None


class RequestOutput:
    """A promise: awaited it is done, iterated it yields itself at every token."""

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
        """Take what the worker says of it; called from the thread that listens."""
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
