"""Turns an engine's stream of a completion into that of another server."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from model_hosting_container_standards.asgi.body import decode_object
from model_hosting_container_standards.asgi.errors import message_in

from .call import Call
from .completion import END, Generation, Token, finish_reason, tokens_of_chunk
from .shapes import Dialect, frame

_DATA: Final = b"data:"


class TokenStream:
    """The stream of one request.

    A token is sent as it comes. The last one is kept back until the engine has told how
    many there are, since its event has the whole text and the details.
    """

    def __init__(self, dialect: Dialect, call: Call) -> None:
        self._dialect = dialect
        self._call = call
        self._texts = [*call.prompts] if call.full_text else []
        self._count = 0
        self._last = END
        self._finish_reason: str | None = None
        self._usage: Mapping[str, Any] = {}

    async def convert(self, chunks: AsyncIterable[bytes | str]) -> AsyncIterator[bytes]:
        """Yield the events of the dialect.

        A stream that ends early has no last event.
        """
        async for document in _documents(chunks):
            for event in self._events(document):
                yield frame(self._dialect, event)
        if self._finish_reason is not None:
            yield frame(self._dialect, self._last_event())

    def _events(self, document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if document.get("error"):
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            yield self._dialect.stream_error(status, message_in(document))
        self._usage = document.get("usage") or self._usage
        for choice in document.get("choices") or ():
            yield from self._tokens(choice)

    def _tokens(self, choice: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        tokens = tokens_of_chunk(choice)
        self._texts += [token.text for token in tokens]
        self._finish_reason = finish_reason(choice) or self._finish_reason
        if self._finish_reason is not None and tokens:
            self._last = tokens.pop()
        for token in tokens:
            yield self._event(token, None, None)

    def _event(self, token: Token, text: str | None, details: Any) -> dict[str, Any]:
        self._count += 1
        return self._dialect.event(self._count, token, text, details)

    def _last_event(self) -> dict[str, Any]:
        text = "".join(self._texts)
        generation = Generation(
            text=text,
            finish_reason=self._finish_reason,
            generated_tokens=self._usage.get("completion_tokens"),
            input_length=self._usage.get("prompt_tokens"),
            tokens=[],
        )
        details = None
        if self._call.details:
            details = self._dialect.stream_details(self._call, generation)
        return self._event(self._last, text, details)


async def _documents(
    chunks: AsyncIterable[bytes | str],
) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON objects of server-sent events."""
    buffered = b""
    async for chunk in chunks:
        buffered += chunk.encode() if isinstance(chunk, str) else chunk
        *lines, buffered = buffered.split(b"\n")
        for line in lines:
            if not line.startswith(_DATA):
                continue
            document = decode_object(line.removeprefix(_DATA))
            if document is not None:  # The last event is not JSON.
                yield document
