"""Change the requests that the engine gets, and its responses."""

import time

from model_hosting_container_standards.common.fastapi.middleware import (
    custom_middleware,
    input_formatter,
    output_formatter,
)


@input_formatter
async def accept_text(request):
    """Turn plain text into a prompt; pass other requests on, without reading them."""
    if request.headers.get("content-type", "").startswith("text/plain"):
        return {"prompt": (await request.body()).decode(), "max_tokens": 8}
    return None


@output_formatter
async def sign(response):
    """Mark every response; the chunks of a stream are passed on as they come."""
    response.headers["x-model-version"] = "7"


@custom_middleware("pre_post_process")
async def take_time(request, call_next):
    start = time.perf_counter()
    response = await call_next(request)
    response.headers["x-seconds"] = f"{time.perf_counter() - start:.3f}"
    return response
