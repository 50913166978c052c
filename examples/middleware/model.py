"""The engine answers; this script changes what it is asked, and how it answers."""

import time

from model_hosting_container_standards.common.fastapi.middleware import (
    custom_middleware,
    input_formatter,
    output_formatter,
)


@input_formatter
async def accept_text(request):
    """Take plain text for a prompt; other requests go on untouched, unread."""
    if request.headers.get("content-type", "").startswith("text/plain"):
        return {"prompt": (await request.body()).decode(), "max_tokens": 8}
    return None


@output_formatter
async def sign(response):
    """Mark every answer; of a stream, the chunks go by as they come."""
    response.headers["x-model-version"] = "7"


@custom_middleware("pre_post_process")
async def take_time(request, call_next):
    start = time.perf_counter()
    response = await call_next(request)
    response.headers["x-seconds"] = f"{time.perf_counter() - start:.3f}"
    return response
