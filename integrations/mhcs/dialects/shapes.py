"""The forms of answers: of TGI, and of LMI."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final, Protocol

import msgspec

from .call import Call
from .completion import Generation, Token


class Dialect(Protocol):
    """The form of a server's answers."""

    #: How many tokens are generated if the request does not say.
    max_tokens: ClassVar[int]
    #: The media type of a stream, and what its events are framed in.
    media_type: ClassVar[str]
    prefix: ClassVar[bytes]
    suffix: ClassVar[bytes]

    def error(self, status: int, message: str) -> dict[str, Any]: ...

    def stream_error(self, status: int, message: str) -> dict[str, Any]: ...

    def token(self, token: Token) -> dict[str, Any]: ...

    def event(
        self, index: int, token: Token, text: str | None, details: Any
    ) -> dict[str, Any]:
        """Return an event of a stream.

        Args:
            index: the number of the token, from 1.
            text: the whole text, in the last event only.
            details: those of the last event, if the request asks for them.
        """

    def details(self, call: Call, prompt: str, generation: Generation) -> Any: ...

    def stream_details(self, call: Call, generation: Generation) -> Any: ...

    def whole(self, call: Call, results: Sequence[dict[str, Any]]) -> Any: ...


class TGI:
    """Text Generation Inference."""

    max_tokens: ClassVar[int] = 100
    media_type: ClassVar[str] = "text/event-stream"
    prefix: ClassVar[bytes] = b"data:"
    suffix: ClassVar[bytes] = b"\n\n"

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"error": message, "error_type": _error_type(status)}

    def stream_error(self, status: int, message: str) -> dict[str, Any]:
        return self.error(status, message)

    def token(self, token: Token) -> dict[str, Any]:
        return {
            "id": token.id,
            "text": token.text,
            "logprob": token.logprob,
            "special": token.special,
        }

    def event(
        self, index: int, token: Token, text: str | None, details: Any
    ) -> dict[str, Any]:
        shown = self.token(token)
        ending = {"generated_text": text, "details": details}
        return {"index": index, "token": shown, **ending}

    def details(self, call: Call, prompt: str, generation: Generation) -> Any:
        del prompt
        return {
            "finish_reason": generation.finish_reason,
            "generated_tokens": generation.generated_tokens,
            "seed": call.seed,
            "prefill": [],
            "tokens": [self.token(token) for token in generation.tokens],
        }

    def stream_details(self, call: Call, generation: Generation) -> Any:
        return {
            "finish_reason": generation.finish_reason,
            "generated_tokens": generation.generated_tokens,
            "seed": call.seed,
            "input_length": generation.input_length,
        }

    def whole(self, call: Call, results: Sequence[dict[str, Any]]) -> Any:
        del call
        return [*results]


class LMI:
    """AWS's Large Model Inference containers, of DJL Serving."""

    max_tokens: ClassVar[int] = 30
    media_type: ClassVar[str] = "application/jsonlines"
    prefix: ClassVar[bytes] = b""
    suffix: ClassVar[bytes] = b"\n"

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"error": message, "code": status}

    def stream_error(self, status: int, message: str) -> dict[str, Any]:
        del status, message
        token = {"id": -1, "text": "", "log_prob": -1, "special_token": True}
        nothing = {"generated_tokens": None, "inputs": None}
        details = {"finish_reason": "error", **nothing}
        return {"token": token, "generated_text": "", "details": details}

    def token(self, token: Token) -> dict[str, Any]:
        return {"id": token.id, "text": token.text, "log_prob": token.logprob}

    def event(
        self, index: int, token: Token, text: str | None, details: Any
    ) -> dict[str, Any]:
        del index
        event = {"token": self.token(token)}
        ending = {"generated_text": text, "details": details}
        return {**event, **{key: v for key, v in ending.items() if v is not None}}

    def details(self, call: Call, prompt: str, generation: Generation) -> Any:
        del call
        tokens = [self.token(token) for token in generation.tokens]
        return {**self._summary(prompt, generation), "tokens": tokens}

    def stream_details(self, call: Call, generation: Generation) -> Any:
        return self._summary(call.prompts[0], generation)

    def whole(self, call: Call, results: Sequence[dict[str, Any]]) -> Any:
        return [*results] if call.is_list else results[0]

    def _summary(self, prompt: str, generation: Generation) -> dict[str, Any]:
        return {
            "finish_reason": generation.finish_reason,
            "generated_tokens": generation.generated_tokens,
            "inputs": prompt,
        }


#: By the values of ``MHCS_DIALECT``.
DIALECTS: Final[dict[str, Dialect]] = {"tgi": TGI(), "lmi": LMI()}


def frame(dialect: Dialect, event: dict[str, Any]) -> bytes:
    """Return an event as it is sent."""
    return dialect.prefix + msgspec.json.encode(event) + dialect.suffix


def _error_type(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "overloaded"
    return "validation" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "generation"
