"""The body of a request to /invocations, and the container's models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

JSON: Final = "application/json"
#: One word each, and greedy: short, and the same answer each time.
_PROMPT: Final = "hello"
_GREEDY: Final = {"max_tokens": 8, "temperature": 0}
#: By the field that tells them apart: OpenAI's completions, chats, TGI's and LMI's
#: generation, OpenAI's embeddings.
CANDIDATES: Final[Mapping[str, Mapping[str, Any]]] = {
    "prompt": {"prompt": _PROMPT, **_GREEDY},
    "messages": {"messages": [{"role": "user", "content": _PROMPT}], **_GREEDY},
    "inputs": {"inputs": _PROMPT, "parameters": {"max_new_tokens": 8}},
    "input": {"input": _PROMPT},
}


@dataclass(frozen=True, slots=True)
class Body:
    """A body that the container is asked with; ``document`` is its JSON object."""

    content: bytes
    content_type: str
    document: Mapping[str, Any] | None

    @property
    def kind(self) -> str | None:
        """The field that tells what is asked for, None for a body of its own kind."""
        document = self.document or {}
        return next((name for name in CANDIDATES if name in document), None)

    def with_fields(self, **fields: Any) -> Body:
        """Return the body with other fields; it must have a document."""
        return json_body({**(self.document or {}), **fields})

    def without(self, name: str) -> Body:
        document = {**(self.document or {})}
        document.pop(name, None)
        return json_body(document)

    def with_tokens(self, count: Any) -> Body:
        """Return the body with another number of tokens to generate."""
        if self.kind == "inputs":
            given = (self.document or {}).get("parameters")
            parameters = given if isinstance(given, dict) else {}
            return self.with_fields(parameters={**parameters, "max_new_tokens": count})
        return self.with_fields(max_tokens=count)

    def with_prompt(self, text: str) -> Body:
        if self.kind == "messages":
            return self.with_fields(messages=[{"role": "user", "content": text}])
        return self.with_fields(**{self.kind or "prompt": text})


def json_body(document: Mapping[str, Any]) -> Body:
    return Body(json.dumps(document).encode(), JSON, document)


def given_body(content: bytes, content_type: str) -> Body:
    """Return the user's own body."""
    document = None
    with suppress(ValueError, RecursionError):
        document = json.loads(content)
    is_object = isinstance(document, dict)
    return Body(content, content_type, document if is_object else None)


def candidates(model: str | None) -> Iterator[Body]:
    """Yield the bodies to try, the most common first."""
    named = {} if model is None else {"model": model}
    for document in CANDIDATES.values():
        yield json_body({**named, **document})
