"""The formatters: one object for both places."""

from __future__ import annotations

from contextvars import ContextVar
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from model_hosting_container_standards.asgi.body import decode_json, decode_object
from model_hosting_container_standards.asgi.errors import message_in
from model_hosting_container_standards.observability.route_labels import (
    INVOCATIONS,
    local_path,
)
from model_hosting_container_standards.settings import read_settings

from .call import Call, completion, read_call
from .completion import Generation, read_choices
from .shapes import DIALECTS
from .streams import TokenStream

#: The call that the current request makes; None: it has the engine's own form.
_CALL: Final[ContextVar[Call | None]] = ContextVar("call", default=None)
_INPUTS: Final = b'"inputs"'
_EVENT_STREAM: Final = "text/event-stream"


class InputsParameters:
    """Answers ``{"inputs": ..., "parameters": {...}}`` as TGI or LMI does.

    Other requests, and their answers, stay as they are.

    Raises:
        ConfigurationError: ``MHCS_DIALECT`` has an invalid value.
    """

    def __init__(self) -> None:
        settings = read_settings()
        self._dialect = DIALECTS[settings.dialect]
        self._paths = {INVOCATIONS, settings.predict_route}

    async def __call__(self, message: Request | Response) -> Any:
        if isinstance(message, Request):
            return await self._read(message)
        return self._write(message)

    async def _read(self, request: Request) -> Any:
        """Return the body for the engine, or the response of a refusal."""
        # Always set: requests may share a context.
        _CALL.set(None)
        if request.method != "POST" or local_path(request.scope) not in self._paths:
            return None
        body = await request.body()
        document = decode_object(body) if _INPUTS in body else None
        if document is None or "inputs" not in document:
            return None
        try:
            call = read_call(document)
            fields = completion(call, document, self._dialect.max_tokens)
        except ValueError as error:
            status = HTTPStatus.BAD_REQUEST
            return JSONResponse(self._dialect.error(status, str(error)), status)
        _CALL.set(call)
        return fields

    def _write(self, response: Any) -> None:
        call = _CALL.get()
        if call is None:
            return
        if response.is_stream:
            self._write_stream(call, response)
        elif response.status_code >= HTTPStatus.BAD_REQUEST:
            message = message_in(_decoded(response.body)) or "The request failed."
            response.body = self._dialect.error(response.status_code, message)
        else:
            self._write_whole(call, response)

    def _write_stream(self, call: Call, response: Any) -> None:
        if response.headers.get("content-type", "").startswith(_EVENT_STREAM):
            stream = TokenStream(self._dialect, call)
            response.body_iterator = stream.convert(response.body_iterator)
            response.headers["content-type"] = self._dialect.media_type

    def _write_whole(self, call: Call, response: Any) -> None:
        document = decode_object(response.body)
        if document is None or "choices" not in document:
            return  # Not a completion, but an answer of a handler's own.
        results = [
            self._result(call, prompt, generation)
            for prompt, generation in zip(
                call.prompts, read_choices(document), strict=False
            )
        ]
        response.body = self._dialect.whole(call, results)

    def _result(
        self, call: Call, prompt: str, generation: Generation
    ) -> dict[str, Any]:
        text = prompt + generation.text if call.full_text else generation.text
        if not call.details:
            return {"generated_text": text}
        details = self._dialect.details(call, prompt, generation)
        return {"generated_text": text, "details": details}


def _decoded(body: bytes) -> Any:
    try:
        return decode_json(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")
