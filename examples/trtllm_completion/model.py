"""TensorRT-LLM answers; this script limits the length of a prompt.

Runs on TensorRT-LLM 0.20 and newer.
"""

from fastapi import HTTPException, Request
from tensorrt_llm.serve.openai_protocol import CompletionRequest

from model_hosting_container_standards import sagemaker


@sagemaker.invoke
@sagemaker.inject_adapter_id("model")
async def invoke(request: CompletionRequest, raw_request: Request):
    if len(str(request.prompt)) > 1000:
        raise HTTPException(400, "A prompt may have 1,000 characters here.")
    server = raw_request.app.state.openai_server
    return await server.openai_completion(request, raw_request)
