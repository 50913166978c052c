"""SageMaker's routes, registered when the module is imported."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from vllm.entrypoints.serve.instrumentator.health import health
from vllm.entrypoints.serve.sagemaker.dispatch import dispatch

import model_hosting_container_standards.sagemaker as sagemaker_standards

router = APIRouter()


@router.post("/ping", response_class=Response)
@router.get("/ping", response_class=Response)
@sagemaker_standards.register_ping_handler
async def ping(raw_request: Request) -> Response:
    response: Response = await health(raw_request)
    return response


@router.post("/invocations")
@sagemaker_standards.register_invocation_handler
@sagemaker_standards.stateful_session_manager()
@sagemaker_standards.inject_adapter_id(adapter_path="model")
async def invocations(raw_request: Request) -> Response:
    response: Response = await dispatch(raw_request)
    return response
