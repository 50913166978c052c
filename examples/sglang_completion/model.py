"""SGLang answers; this script limits the length of a prompt.

Runs on SGLang 0.5.10 and newer.
"""

from fastapi import HTTPException, Request
from sglang.srt.entrypoints.openai.protocol import CompletionRequest

from model_hosting_container_standards import sagemaker


@sagemaker.invoke
@sagemaker.inject_adapter_id("model")
async def invoke(request: CompletionRequest, raw_request: Request):
    if len(str(request.prompt)) > 1000:
        raise HTTPException(400, "A prompt may have 1,000 characters here.")
    serving = raw_request.app.state.openai_serving_completion
    return await serving.handle_request(request, raw_request)
