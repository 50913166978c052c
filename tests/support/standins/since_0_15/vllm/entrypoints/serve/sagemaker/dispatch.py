"""Choose the endpoint for a body of ``/invocations``."""

from fastapi import Request
from fastapi.responses import Response
from vllm.entrypoints.openai.chat_completion.api_router import create_chat_completion
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.api_router import create_completion
from vllm.entrypoints.openai.completion.protocol import CompletionRequest


async def dispatch(raw_request: Request) -> Response:
    body = await raw_request.json()
    response: Response
    if "messages" in body:
        chat = ChatCompletionRequest.model_validate(body)
        response = await create_chat_completion(chat, raw_request)
    else:
        completion = CompletionRequest.model_validate(body)
        response = await create_completion(completion, raw_request)
    return response
