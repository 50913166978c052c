"""Everything of the server in one module: routes, ``build_app``, ``python -m``."""

import asyncio
from argparse import Namespace

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from vllm.entrypoints.launcher import serve_http
from vllm.entrypoints.openai.protocol import ChatCompletionRequest, CompletionRequest

from standins.common.server import (
    import_plugin,
    make_app,
    note_routes,
    parse_arguments,
)
from standins.common.serving import as_response, init_app_state

router = APIRouter()


@router.get("/health")
async def health(raw_request: Request) -> Response:
    return Response(status_code=200)


@router.get("/v1/models")
async def show_available_models(raw_request: Request) -> JSONResponse:
    served = raw_request.app.state.openai_serving_models.model
    return JSONResponse({"data": [{"id": served}]})


@router.post("/v1/completions")
async def create_completion(
    request: CompletionRequest, raw_request: Request
) -> Response:
    serving = raw_request.app.state.openai_serving_completion
    return as_response(await serving.create_completion(request, raw_request))


@router.post("/v1/chat/completions")
async def create_chat_completion(
    request: ChatCompletionRequest, raw_request: Request
) -> Response:
    serving = raw_request.app.state.openai_serving_chat
    return as_response(await serving.create_chat_completion(request, raw_request))


@router.get("/ping")
@router.post("/ping")
async def ping(raw_request: Request) -> Response:
    return await health(raw_request)


@router.post("/invocations")
async def invocations(raw_request: Request) -> Response:
    body = await raw_request.json()
    if "messages" in body:
        chat = ChatCompletionRequest.model_validate(body)
        return await create_chat_completion(chat, raw_request)
    completion = CompletionRequest.model_validate(body)
    return await create_completion(completion, raw_request)


def build_app(args: Namespace) -> FastAPI:
    app = make_app()
    app.include_router(router)
    return app


async def run_server(args: Namespace) -> None:
    import_plugin(args)
    app = build_app(args)
    note_routes(app)
    init_app_state(app.state, args)
    await serve_http(app, host=args.host, port=args.port)


if __name__ == "__main__":
    asyncio.run(run_server(parse_arguments()))
