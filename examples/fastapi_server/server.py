from fastapi import FastAPI, Request

from model_hosting_container_standards import sagemaker

app = FastAPI()


@sagemaker.register_ping_handler
async def ping():
    return "up"


@sagemaker.register_invocation_handler
async def invocations(request: Request):
    return await request.json()


sagemaker.bootstrap(app)
