"""The model field of requests that a customer's handler passes to SGLang's objects."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import FastAPI

from mhcs.own_routes import http_errors
from model_hosting_container_standards.engines import (
    AdapterBackend,
    RegisteredAdapters,
    base_model_answers,
    unknown_model_error,
)

#: SGLang's objects in the state of its app, with the method that answers a request.
_METHODS: Final[Mapping[str, str]] = {
    "anthropic_serving": "handle_messages",
    "openai_serving_chat": "handle_request",
    "openai_serving_classify": "handle_request",
    "openai_serving_completion": "handle_request",
    "openai_serving_decisions": "handle_request",
    "openai_serving_detokenize": "handle_request",
    "openai_serving_embedding": "handle_request",
    "openai_serving_rerank": "handle_request",
    "openai_serving_responses": "create_responses",
    "openai_serving_score": "handle_request",
    "openai_serving_tokenize": "handle_request",
    "openai_serving_transcription": "handle_request",
}


class ModelField:
    """Selects the adapter that a request's model field names.

    On SGLang's own routes that has been done before. A handler may call SGLang several
    times, each time with another model.

    Args:
        backend: knows the names of the models.
        registered: returns the registered adapters; None where they are unavailable.
    """

    def __init__(
        self,
        backend: AdapterBackend,
        registered: Callable[[], RegisteredAdapters | None],
    ) -> None:
        self._backend = backend
        self._registered = registered

    def check_in(self, app: FastAPI) -> None:
        """Make the objects in the state of SGLang's app check their requests."""
        for name, method in _METHODS.items():
            serving: Any = getattr(app.state, name, None)
            if (answer := getattr(serving, method, None)) is not None:
                setattr(serving, method, self._checking(answer))

    def _checking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        async def answer(request: Any, *args: Any, **kwargs: Any) -> Any:
            await self._check(request)
            return await method(request, *args, **kwargs)

        return answer

    async def _check(self, request: Any) -> None:
        """Select the adapter of a request.

        Raises:
            HTTPException: 404, there is no such model; or the adapter's own error.
        """
        model = getattr(request, "model", None)
        adapters = self._registered()
        if not model or (name := self._backend.adapter_of(model)) is None:
            return
        if adapters and (adapters.selected() or adapters.selected_own()):
            return  # The HTTP request itself has selected one.
        registered = adapters.view() if adapters else ()
        if name in self._backend.own_adapters() or name in registered:
            await self._select(request, name, adapters)
        elif not base_model_answers(model):
            raise unknown_model_error(model, self._backend, adapters)

    async def _select(
        self, request: Any, name: str, adapters: RegisteredAdapters | None
    ) -> None:
        if hasattr(request, "lora_path"):
            # It counts for this call alone. SGLang splits a model at its first colon.
            request.lora_path = name
            if ":" in name:
                request.model = f"{next(iter(self._backend.own_models()))}:{name}"
        elif adapters is not None:
            with http_errors():
                await adapters.select(name)
