"""The common part of all releases' server objects, without ``__init__``."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from tensorrt_llm.executor import CppExecutorError
from tensorrt_llm.sampling_params import SamplingParams
from tensorrt_llm.version import __version__

from standins.trtllm_common import answers, facts, streams
from standins.trtllm_common.llm import LLM
from standins.trtllm_common.output import RequestOutput

#: The interval of the checks for a disconnect; in the real ones 1 s.
WATCH_INTERVAL_S: Final = 0.05
#: Exceptions that handlers turn into an error response; in the real ones, any.
FAILURES: Final = (LookupError, RuntimeError, TypeError, ValueError)


class Server:
    """Routes, lifespan and generations.

    ``engine`` is called ``llm`` in real releases, and ``generator`` since 1.3.
    """

    app: FastAPI

    def prepare(self, engine: LLM, model: str) -> None:
        """Set the attributes of every release, and make the app."""
        self.engine = engine
        self.prepare_app(model)

    def prepare_app(self, model: str) -> None:
        self.facts = facts.Facts()
        folder = Path(model)
        self.model = folder.name if folder.is_dir() else model
        self.app = FastAPI(lifespan=self.lifespan)
        self.app.add_exception_handler(RequestValidationError, self._validation_error)
        self.app.add_api_route("/standin", self.look_inside, methods=["GET"])

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        yield
        self.engine.shutdown()

    async def _validation_error(self, request: Request, error: Exception) -> Response:
        return self.validation_error(str(error))

    def validation_error(self, message: str) -> Response:
        return answers.error(message)

    def add_routes(self, method: str, routes: dict[str, Any]) -> None:
        for path, endpoint in routes.items():
            self.app.add_api_route(path, endpoint, methods=[method])

    def register_common_routes(self) -> None:
        routes = {
            "/health": self.health,
            "/version": self.version,
            "/v1/models": self.get_model,
            "/metrics": self.get_iteration_stats,
        }
        self.add_routes("GET", routes)

    # --- routes --------------------------------------------------------------------

    async def health(self) -> Response:
        return Response(status_code=200)

    async def version(self) -> JSONResponse:
        return JSONResponse({"version": __version__})

    async def get_model(self) -> JSONResponse:
        card = {"id": self.model, "object": "model", "owned_by": "tensorrt_llm"}
        return JSONResponse({"object": "list", "data": [card]})

    async def get_iteration_stats(self) -> JSONResponse:
        """Return the statistics since the last call, and clear them."""
        self.facts.drains += 1
        return JSONResponse([stats async for stats in self.engine.get_stats_async(2)])

    async def look_inside(self) -> JSONResponse:
        return await facts.look_inside(self)

    # --- generations ---------------------------------------------------------------

    async def complete(self, request: Any, raw_request: Request | None) -> Response:
        try:
            check_one_sequence(request)
            prompts = _prompts_of(request)
            echoes = [_echo(request, prompt) for prompt in prompts]
            promises = [
                self.begin(prompt, request, request.max_tokens, raw_request)
                for prompt in prompts
            ]
            # Merged responses to several prompts have the server's own model name.
            model = request.model if len(prompts) == 1 else self.model
            if request.stream:
                options = request.stream_options
                chunks = streams.completion_chunks(model, promises, echoes, options)
                return _streaming(chunks)
            await asyncio.gather(*(promise.aresult() for promise in promises))
            self.note_metrics(raw_request)
            return JSONResponse(answers.completion(model, promises, echoes))
        except FAILURES as error:
            return self.failed(error)

    async def chat(self, request: Any, raw_request: Request | None) -> Response:
        try:
            check_one_sequence(request)
            text = _text_of(request.messages)
            limit = request.max_completion_tokens or request.max_tokens
            promise = self.begin(text, request, limit, raw_request)
            if request.stream:
                options = request.stream_options
                return _streaming(streams.chat_chunks(request.model, promise, options))
            body = await self.chat_body(request.model, promise)
            self.note_metrics(raw_request)
            return JSONResponse(body)
        except FAILURES as error:
            return self.failed(error)

    async def chat_body(self, model: str, promise: RequestOutput) -> dict[str, Any]:
        return answers.chat(model, await promise)

    async def respond(self, request: Any, raw_request: Request) -> Response:
        given = request.input
        text = given if isinstance(given, str) else _text_of(given)
        try:
            promise = self.begin(text, request, request.max_output_tokens, raw_request)
            if request.stream:
                return _streaming(streams.response_events(self.model, promise))
            return JSONResponse(answers.response(self.model, await promise))
        except FAILURES as error:
            failed: Any = self.failed(error)
            return failed or JSONResponse({"detail": "None"})

    def note_metrics(self, raw_request: Request | None) -> None:
        """Record the metrics of a successful request; since 1.2."""

    def begin(
        self,
        prompt: Any,
        request: Any,
        max_tokens: int | None,
        raw_request: Request | None,
    ) -> RequestOutput:
        """Begin a generation, and watch for a disconnect."""
        promise = self.engine.generate_async(
            inputs=prompt,
            sampling_params=SamplingParams(max_tokens=max_tokens),
            streaming=bool(request.stream),
            **self.lora_of(request),
        )
        self.facts.generations_begun += 1
        if raw_request is not None:
            self._watch(raw_request, promise)
        return promise

    def lora_of(self, request: Any) -> dict[str, Any]:
        """Return ``generate_async``'s arguments for an adapter; none up to 0.21."""
        return {}

    def _watch(self, raw_request: Request, promise: RequestOutput) -> None:
        watcher = asyncio.create_task(self.await_disconnected(raw_request, promise))
        self.facts.watchers.add(watcher)
        watcher.add_done_callback(self.facts.watchers.discard)

    async def await_disconnected(
        self, raw_request: Request, promise: RequestOutput
    ) -> None:
        # Polls like the real one, as a disconnect causes no event.
        while not await raw_request.is_disconnected():  # noqa: ASYNC110
            await asyncio.sleep(WATCH_INTERVAL_S)
        if not promise.finished:
            self.facts.aborted += 1
            promise.abort()

    def failed(self, error: Exception) -> Response:
        if isinstance(error, CppExecutorError):
            signal.raise_signal(signal.SIGINT)
            # As the real handlers do: a 200 whose body is "null".
            return cast(Response, None)
        return answers.error(str(error))

    # --- serving -------------------------------------------------------------------

    async def serve(
        self, host: str, port: int, sockets: list[socket.socket] | None = None
    ) -> None:
        self.facts.stack_built_early = self.app.middleware_stack is not None
        config = uvicorn.Config(
            self.app, host=host, port=port, log_level="warning", timeout_keep_alive=5
        )
        self.server = uvicorn.Server(config)
        await self.server.serve(sockets=sockets)


def _streaming(chunks: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(chunks, media_type="text/event-stream")


def check_one_sequence(request: Any) -> None:
    if request.n > 1:
        raise ValueError("n>1 is not supported by this backend.")


def _prompts_of(request: Any) -> list[Any]:
    prompt = request.prompt
    # An empty list raises IndexError, which becomes an error response.
    one = isinstance(prompt, str) or isinstance(prompt[0], int)
    return [prompt] if one else prompt


def _echo(request: Any, prompt: Any) -> str:
    """Return the echo of a prompt; raises for token ids, which are not text."""
    return "" + prompt if request.echo else ""


def _text_of(messages: Sequence[dict[str, Any]]) -> str:
    """Return the text of the last message, which is the stand-in's prompt."""
    content = messages[-1]["content"]
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content)
