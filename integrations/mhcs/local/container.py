"""The calls of SageMaker to a container."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import anyio
import httpx
import msgspec

from model_hosting_container_standards.contract.limits import PING_LIMIT_S

from .errors import ModelError, ServiceUnavailable
from .limits import MAX_BODY

_ADAPTER_ATTEMPTS: Final = 3


class Answer(msgspec.Struct, frozen=True):
    """A container's complete response; the names of its headers are in lower case."""

    headers: Mapping[str, str]
    body: bytes


class Container:
    """A container, or any server that speaks SageMaker's hosting contract.

    Args:
        url: where it listens, without a slash at the end.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # No proxy of the environment, and no certificates, which take long to load. A
        # connection has one request: the container may close one that is kept.
        self._client = httpx.AsyncClient(
            timeout=None,
            trust_env=False,
            verify=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ping(self) -> str | None:
        """Return why the container is not healthy, None if it is.

        The text follows the URL of ``/ping``.
        """
        try:
            with anyio.fail_after(PING_LIMIT_S):
                response = await self._client.get(f"{self.url}/ping")
        except TimeoutError:
            return f"takes longer than SageMaker's {PING_LIMIT_S:g} s"
        except httpx.RequestError as error:
            return f"has no answer: {describe(error)}"
        if response.status_code != 200:
            return f"answers {response.status_code}, not 200"
        return None

    async def register_adapter(
        self, name: str, source: str, limit_s: float
    ) -> str | None:
        """Register an adapter; return why that failed, None if it did not.

        As SageMaker does: with query parameters, and again if the server fails.

        Args:
            limit_s: seconds for all attempts.
        """
        try:
            with anyio.fail_after(limit_s):
                return await self._register_adapter(name, source)
        except TimeoutError:
            return f"no answer within {limit_s:g} s"

    async def _register_adapter(self, name: str, source: str) -> str | None:
        parameters = {"name": name, "src": source, "preload": "true", "pin": "false"}
        problem = None
        for attempt in range(_ADAPTER_ATTEMPTS):
            await asyncio.sleep(attempt)
            try:
                response = await self._client.post(
                    f"{self.url}/adapters", params=parameters
                )
            except httpx.RequestError as error:
                problem = describe(error)
                continue
            if response.is_success:
                return None
            problem = f"{response.status_code} {response.text}"
            if response.is_client_error:
                break
        return problem

    async def invoke(
        self, headers: Mapping[str, str], body: bytes, limit_s: float
    ) -> Answer:
        """Return the response of ``/invocations``.

        Args:
            limit_s: seconds until the response is complete.

        Raises:
            ModelError: the response is an error, incomplete, late or too large.
            ServiceUnavailable: the container cannot be reached.
        """
        with _errors(limit_s), anyio.fail_after(limit_s):
            response = await self._send(headers, body)
            return Answer(response.headers, await _read(response))

    async def open(
        self, headers: Mapping[str, str], body: bytes, limit_s: float
    ) -> httpx.Response:
        """Return the response of ``/invocations``, whose body the caller reads.

        The caller closes it.

        Args:
            limit_s: seconds until the response begins.

        Raises:
            ModelError: the response is an error, or late.
            ServiceUnavailable: the container cannot be reached.
        """
        with _errors(limit_s), anyio.fail_after(limit_s):
            return await self._send(headers, body)

    async def _send(self, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        # Not built by the client, which would add headers of its own.
        request = httpx.Request(
            "POST", f"{self.url}/invocations", headers=headers, content=body
        )
        response = await self._client.send(request, stream=True)
        response.headers.encoding = "latin-1"  # Any value can be passed on as it is.
        if response.is_success:
            return response
        text = (await _read(response)).decode(errors="replace")
        raise ModelError(text, response.status_code)


async def _read(response: httpx.Response) -> bytes:
    """Return the body as it was sent, and close the response."""
    chunks, size = [], 0
    try:
        async for chunk in response.aiter_raw():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY:
                raise ModelError(
                    f"The response is longer than SageMaker's {MAX_BODY} bytes."
                )
    finally:
        await response.aclose()
    return b"".join(chunks)


@contextmanager
def _errors(limit_s: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise ModelError(
            f"The container has not answered within {limit_s:g} s, the time of an "
            "invocation."
        ) from None
    except (httpx.ConnectError, httpx.InvalidURL) as error:
        raise ServiceUnavailable(
            f"The container cannot be reached: {describe(error)}."
        ) from error
    except httpx.TransportError as error:
        raise ModelError(
            f"The container's answer is incomplete or not HTTP: {describe(error)}"
        ) from error


def describe(error: Exception) -> str:
    """Return an error of httpx, whose text may be empty."""
    return str(error) or type(error).__name__
