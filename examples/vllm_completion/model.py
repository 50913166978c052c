"""A customer's script for vLLM, written against the paths of vLLM <= 0.14."""

import json

import pydantic
from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from vllm.entrypoints.openai.protocol import CompletionRequest, ErrorResponse
from vllm.entrypoints.openai.serving_completion import OpenAIServingCompletion

import model_hosting_container_standards.sagemaker as sagemaker_standards


def completion(raw_request: Request) -> OpenAIServingCompletion | None:
    return raw_request.app.state.openai_serving_completion


@sagemaker_standards.ping
async def myping(raw_request: Request) -> Response:
    return Response(status_code=201)


@sagemaker_standards.invoke
async def invocations(raw_request: Request) -> Response:
    request = await read_completion_request(raw_request)
    handler = completion(raw_request)
    if handler is None:
        raise HTTPException(501, "The model does not support completions.")
    answer = await handler.create_completion(request, raw_request)
    if isinstance(answer, ErrorResponse):
        # Its code moved into `error` with vLLM 0.10.1.
        error = getattr(answer, "error", answer)
        return JSONResponse(answer.model_dump(), status_code=error.code)
    if isinstance(answer, pydantic.BaseModel):
        return JSONResponse(answer.model_dump(), headers={"x-script": "model.py"})
    return StreamingResponse(answer, media_type="text/event-stream")


async def read_completion_request(raw_request: Request) -> CompletionRequest:
    try:
        return CompletionRequest.model_validate(await raw_request.json())
    except (json.JSONDecodeError, pydantic.ValidationError) as error:
        raise HTTPException(400, str(error)) from error
