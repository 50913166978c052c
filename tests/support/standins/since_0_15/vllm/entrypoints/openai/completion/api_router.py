from fastapi import APIRouter, Request
from fastapi.responses import Response
from vllm.entrypoints.openai.completion.protocol import CompletionRequest

from standins.common.serving import as_response

router = APIRouter()


@router.post("/v1/completions")
async def create_completion(
    request: CompletionRequest, raw_request: Request
) -> Response:
    serving = raw_request.app.state.openai_serving_completion
    return as_response(await serving.create_completion(request, raw_request))
