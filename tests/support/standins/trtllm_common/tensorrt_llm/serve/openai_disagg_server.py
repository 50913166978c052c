"""The front end of disaggregated servers: an app without an engine here."""

from __future__ import annotations

from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response


class OpenAIDisaggServer:
    def __init__(self, config: Any = None, **options: Any) -> None:
        self.app = FastAPI()
        self.app.add_api_route("/health", self.health, methods=["GET"])
        self.app.add_api_route(
            "/v1/completions", self.openai_completion, methods=["POST"]
        )

    async def health(self) -> Response:
        return Response(status_code=200)

    async def openai_completion(self, raw_request: Request) -> JSONResponse:
        return JSONResponse({"choices": [{"text": "disaggregated"}]})

    async def __call__(self, host: str, port: int) -> None:
        config = uvicorn.Config(self.app, host=host, port=port, log_level="warning")
        await uvicorn.Server(config).serve()
