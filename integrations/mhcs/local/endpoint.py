"""The answers of an endpoint to its clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from . import parameters
from .components import Components
from .container import Container
from .errors import ServiceUnavailable, ValidationError
from .event_stream import MEDIA_TYPE
from .job_queue import JobQueue
from .jobs import make_job
from .limits import MAX_ASYNC_BODY, MAX_BODY, Limits
from .request import Call, read_call
from .response_stream import encode_stream
from .s3_folder import S3Folder

#: The variant that answers, unless the request names one.
_VARIANT: Final = "AllTraffic"
_INVOKED_VARIANT: Final = "x-amzn-invoked-production-variant"
_PREFIX: Final = "x-amzn-sagemaker-"
_NEW_SESSION: Final = f"{_PREFIX}new-session-id"
_CLOSED_SESSION: Final = f"{_PREFIX}closed-session-id"


class Endpoint:
    """Answers the calls of clients.

    Args:
        folder: stands for S3; without it there are no asynchronous invocations.
        report: called with a sentence about what no response can say.
    """

    def __init__(
        self,
        container: Container,
        components: Components,
        limits: Limits,
        folder: S3Folder | None,
        report: Callable[[str], None],
    ) -> None:
        self.container = container
        self.components = components
        self.limits = limits
        #: Why the endpoint is not in service; None if it is.
        self.problem: str | None = "it is being started"
        self._folder = folder
        self._jobs = None if folder is None else JobQueue(container, folder, report)

    async def aclose(self) -> None:
        """Cancel asynchronous invocations, and close the connections."""
        if self._jobs is not None:
            await self._jobs.aclose()
        await self.container.aclose()

    async def ping(self, _request: Request) -> Response:
        """Answer 200 once the endpoint is in service."""
        self._check_in_service()
        return Response()

    async def invoke(self, request: Request) -> Response:
        """Answer ``InvokeEndpoint``."""
        call = await read_call(request, parameters.INVOKE, MAX_BODY)
        headers = self._container_headers(call)
        limit_s = self.limits.invocation_s
        answer = await self.container.invoke(headers, call.body, limit_s)
        returned = {
            parameters.CONTENT_TYPE.header: answer.headers.get("content-type"),
            # Containers begin a session by either header.
            _NEW_SESSION: answer.headers.get(_NEW_SESSION)
            or answer.headers.get(parameters.SESSION_ID.header),
            _CLOSED_SESSION: answer.headers.get(_CLOSED_SESSION),
        }
        return Response(answer.body, headers=_returned(call, answer.headers, returned))

    async def invoke_with_response_stream(self, request: Request) -> Response:
        """Answer ``InvokeEndpointWithResponseStream``."""
        call = await read_call(request, parameters.INVOKE_STREAM, MAX_BODY)
        headers = self._container_headers(call)
        limits = self.limits
        deadline = time.monotonic() + limits.stream_s
        response = await self.container.open(headers, call.body, limits.invocation_s)
        content_type = response.headers.get("content-type")
        returned = {f"{_PREFIX}content-type": content_type}
        return StreamingResponse(
            encode_stream(response, deadline, limits.stream_s),
            headers=_returned(call, response.headers, returned),
            media_type=MEDIA_TYPE,
            # Also after a client that has left, even before the first event.
            background=BackgroundTask(response.aclose),
        )

    async def invoke_async(self, request: Request) -> Response:
        """Answer ``InvokeEndpointAsync``."""
        call = await read_call(request, parameters.INVOKE_ASYNC, MAX_ASYNC_BODY)
        self._check_in_service()
        if self._folder is None or self._jobs is None:
            raise ValidationError(
                "The endpoint has no asynchronous invocations: start it with "
                "--s3-folder."
            )
        job = make_job(call, self._folder)
        self._jobs.add(job)
        headers = {
            f"{_PREFIX}outputlocation": job.output.location,
            f"{_PREFIX}failurelocation": job.failure.location,
        }
        return JSONResponse({"InferenceId": job.id}, 202, headers)

    def _container_headers(self, call: Call) -> dict[str, str]:
        component = call.values.get(parameters.INFERENCE_COMPONENT)
        headers = self.components.headers(component)
        self._check_in_service()
        return {**call.values.container_headers(), **headers}

    def _check_in_service(self) -> None:
        if self.problem is not None:
            raise ServiceUnavailable(f"The endpoint is not in service: {self.problem}.")


def _returned(
    call: Call, answered: Mapping[str, str], others: Mapping[str, str | None]
) -> dict[str, str]:
    """Return the headers of the response to the client."""
    attributes = parameters.CUSTOM_ATTRIBUTES.header
    variant = call.values.get(parameters.TARGET_VARIANT) or _VARIANT
    headers = {
        _INVOKED_VARIANT: variant,
        attributes: answered.get(attributes),
        **others,
    }
    return {name: value for name, value in headers.items() if value}
