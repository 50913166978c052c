"""The module of ``build_app`` since 0.29."""

from argparse import Namespace

from fastapi import FastAPI
from vllm.entrypoints.openai.chat_completion.api_router import router as chat_router
from vllm.entrypoints.openai.completion.api_router import router as completion_router
from vllm.entrypoints.openai.models.api_router import router as models_router
from vllm.entrypoints.serve.instrumentator.health import router as health_router
from vllm.entrypoints.serve.sagemaker.api_router import (
    attach_router,
    sagemaker_standards_bootstrap,
)

from standins.common.server import calls_bootstrap, make_app


def build_app(
    args: Namespace,
    supported_tasks: tuple[str, ...] | None = None,
    model_config: object = None,
) -> FastAPI:
    app = make_app()
    app.state.args = args
    for router in (health_router, models_router, completion_router, chat_router):
        app.include_router(router)
    attach_router(app)
    if calls_bootstrap():
        app = sagemaker_standards_bootstrap(app)
    return app
