"""A customer's script with both handlers, registered by decorators."""

from typing import Any

from fastapi import Request

from model_hosting_container_standards import sagemaker


@sagemaker.ping
def customer_ping() -> dict[str, str]:
    return {"answered_by": "the customer"}


@sagemaker.invoke
async def customer_invocations(request: Request) -> dict[str, Any]:
    return {"answered_by": "the customer", "body": await request.json()}
