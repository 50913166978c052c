"""What an engine generated, read from OpenAI's completions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import repeat
from typing import Any, Final

import msgspec

#: The id of a token whose number the engine does not tell.
UNKNOWN_ID: Final = -1

#: Fields by which engines tell the text that stopped a choice, or the token's id.
_STOPPED_BY: Final = ("stop_reason", "matched_stop")


class Token(msgspec.Struct, frozen=True):
    id: int
    text: str
    logprob: float | None
    special: bool = False


#: Ends a stream whose last chunk has no text.
END: Final = Token(UNKNOWN_ID, "", None, special=True)


class Generation(msgspec.Struct, frozen=True):
    """A text that is complete; the numbers are None if the engine does not tell."""

    text: str
    finish_reason: str | None
    generated_tokens: int | None
    input_length: int | None
    tokens: list[Token]


def read_choices(document: Mapping[str, Any]) -> list[Generation]:
    """Return the generations of a completion, in the order of its prompts."""
    choices = sorted(document["choices"], key=lambda choice: choice.get("index", 0))
    usage = document.get("usage") or {}
    return [_generation(choice, usage, len(choices)) for choice in choices]


def _generation(
    choice: Mapping[str, Any], usage: Mapping[str, Any], count: int
) -> Generation:
    tokens = _logged_tokens(choice)
    # The usage is that of all prompts.
    generated = usage.get("completion_tokens") if count == 1 else len(tokens) or None
    return Generation(
        text=choice["text"],
        finish_reason=finish_reason(choice),
        generated_tokens=generated,
        input_length=None,
        tokens=tokens,
    )


def finish_reason(choice: Mapping[str, Any]) -> str | None:
    """Return why a choice ended; None: it has not ended."""
    reason: str | None = choice.get("finish_reason")
    if reason != "stop":
        return reason
    by_text = any(isinstance(choice.get(field), str) for field in _STOPPED_BY)
    return "stop_sequence" if by_text else "eos_token"


def tokens_of_chunk(choice: Mapping[str, Any]) -> list[Token]:
    """Return the tokens of a chunk, whose texts together are the chunk's."""
    text = choice.get("text") or ""
    tokens = _logged_tokens(choice)
    if "".join(token.text for token in tokens) == text:
        return [token for token in tokens if token.text]
    logprob = tokens[-1].logprob if tokens else None
    # A part of a character, or of a text that stops the generation, is not sent.
    return [Token(UNKNOWN_ID, text, logprob)] if text else []


def _logged_tokens(choice: Mapping[str, Any]) -> list[Token]:
    logprobs = choice.get("logprobs") or {}
    texts = logprobs.get("tokens") or []
    values = logprobs.get("token_logprobs") or repeat(None)
    ids = choice.get("token_ids") or repeat(UNKNOWN_ID)
    return [
        Token(number, text, value)
        for number, text, value in zip(ids, texts, values, strict=False)
    ]
