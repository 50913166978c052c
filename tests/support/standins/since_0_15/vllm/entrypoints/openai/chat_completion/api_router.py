from fastapi import APIRouter, Request
from fastapi.responses import Response
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

from standins.common.serving import as_response

router = APIRouter()


@router.post("/v1/chat/completions")
async def create_chat_completion(
    request: ChatCompletionRequest, raw_request: Request
) -> Response:
    serving = raw_request.app.state.openai_serving_chat
    return as_response(await serving.create_chat_completion(request, raw_request))
