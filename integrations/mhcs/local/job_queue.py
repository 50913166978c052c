"""Asynchronous invocations: their requests and responses are files."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from .container import Container
from .errors import ApiError, ModelError, ValidationError
from .jobs import File, Job
from .limits import MAX_ASYNC_FILE
from .s3_folder import S3Folder

#: How many requests the container has at once.
_CONCURRENCY: Final = 4


class JobQueue:
    """Invokes the container, and writes its responses into files.

    Args:
        report: called with a sentence about a file that cannot be written.
    """

    def __init__(
        self, container: Container, folder: S3Folder, report: Callable[[str], None]
    ) -> None:
        self._container = container
        self._folder = folder
        self._report = report
        self._slots = asyncio.Semaphore(_CONCURRENCY)
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, job: Job) -> None:
        """Run a job in the background."""
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Cancel the jobs that are not complete."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: Job) -> None:
        try:
            async with self._slots:
                await self._write(job.output, await self._invoke(job))
        except ApiError as error:
            await self._write(job.failure, error.message.encode())

    async def _invoke(self, job: Job) -> bytes:
        if time.monotonic() > job.expires:
            raise ValidationError("The request has expired: see RequestTTLSeconds.")
        body = await self._read(job.body) if isinstance(job.body, File) else job.body
        answer = await self._container.invoke(job.headers, body, job.timeout)
        if "content-length" not in answer.headers:
            raise ModelError(
                "The container's response has no Content-Length, which asynchronous "
                "inference needs."
            )
        return answer.body

    async def _read(self, file: File) -> bytes:
        try:
            return await asyncio.to_thread(self._folder.read, file.path, MAX_ASYNC_FILE)
        except (OSError, ValueError) as error:
            raise ValidationError(f"{file.location} cannot be read: {error}") from error

    async def _write(self, file: File, content: bytes) -> None:
        try:
            await asyncio.to_thread(self._folder.write, file.path, content)
        except OSError as error:
            self._report(f"{file.location} cannot be written: {error}")
