from fastapi import Request
from ray.serve.llm.openai_api_models import CompletionRequest

from model_hosting_container_standards import sagemaker


@sagemaker.invoke
async def invoke(request: Request):
    fields = {"max_tokens": 16, **await request.json()}
    body = CompletionRequest(**fields)
    return await request.app.state.ingress.completions(body, request)
