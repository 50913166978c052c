"""``build_app`` and ``python -m``; the routes come from modules of their own."""

import asyncio
from argparse import Namespace

from fastapi import FastAPI
from vllm.entrypoints.launcher import serve_http
from vllm.entrypoints.openai.chat_completion.api_router import router as chat_router
from vllm.entrypoints.openai.completion.api_router import router as completion_router
from vllm.entrypoints.openai.models.api_router import router as models_router
from vllm.entrypoints.serve.instrumentator.health import router as health_router
from vllm.entrypoints.serve.sagemaker.api_router import router as sagemaker_router

import model_hosting_container_standards.sagemaker as sagemaker_standards
from standins.common.server import (
    bind,
    calls_bootstrap,
    import_plugin,
    make_app,
    note_routes,
    parse_arguments,
)
from standins.common.serving import init_app_state

ROUTERS = (
    health_router,
    models_router,
    completion_router,
    chat_router,
    sagemaker_router,
)


def build_app(
    args: Namespace,
    supported_tasks: tuple[str, ...] | None = None,
    model_config: object = None,
) -> FastAPI:
    app = make_app()
    app.state.args = args
    for router in ROUTERS:
        app.include_router(router)
    return sagemaker_standards.bootstrap(app) if calls_bootstrap() else app


async def run_server(args: Namespace) -> None:
    import_plugin(args)
    app = build_app(args, ("generate",))
    note_routes(app)
    init_app_state(app.state, args)
    await serve_http(app, sock=bind(args))


if __name__ == "__main__":
    asyncio.run(run_server(parse_arguments()))
