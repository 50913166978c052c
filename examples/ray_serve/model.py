from fastapi import Request
from ray.serve.llm.openai_api_models import CompletionRequest

from model_hosting_container_standards import sagemaker


@sagemaker.invoke
async def invoke(request: Request):
    body = CompletionRequest(**await request.json(), max_tokens=16)
    return await request.app.state.ingress.completions(body, request)
