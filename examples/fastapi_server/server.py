from fastapi import FastAPI

from model_hosting_container_standards import sagemaker

app = FastAPI()


@sagemaker.register_ping_handler
async def ping():
    return "up"


@sagemaker.register_invocation_handler
async def invocations(body: dict):
    return body


sagemaker.bootstrap(app)
