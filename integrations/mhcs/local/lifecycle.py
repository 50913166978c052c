"""From the start of a container to its end."""

from __future__ import annotations

import asyncio
import math
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from model_hosting_container_standards.supervisor.command_line import (
    start_failure_status,
)
from model_hosting_container_standards.supervisor.signals import BLOCKED

from .command import ContainerCommand
from .endpoint import Endpoint

#: Seconds between two calls of ``/ping``.
_PING_INTERVAL_S: Final = 0.25
#: The exit status if the container does not get healthy.
_UNHEALTHY: Final = 1


class Lifecycle:
    """Starts the container's command, waits until it is healthy, and ends it.

    Args:
        endpoint: put in service once the container is healthy.
        url: the endpoint's.
        command: empty if the container runs already, and stays.
        port: where the command has to listen.
        report: called with a sentence for the operator.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        url: str,
        command: Sequence[str],
        port: int,
        report: Callable[[str], None],
    ) -> None:
        self._endpoint = endpoint
        self._url = url
        self._words = command
        self._port = port
        self._report = report
        self._command: ContainerCommand | None = None
        self._stopping = asyncio.Event()
        self._is_unhealthy = False

    async def run(self) -> int:
        """Return the exit status: the command's, if there is one."""
        loop = asyncio.get_running_loop()
        for number in BLOCKED:
            # Ignored as after nohup, or as in a shell's background.
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._stop)
        try:
            await self._start_command()
        except OSError as error:
            self._report(f"{self._words[0]}: {error.strerror}")
            return start_failure_status(error)
        try:
            status = await self._wait()
        finally:
            if self._command is not None:
                self._command.kill()  # No effect on one that has ended.
        return _UNHEALTHY if self._is_unhealthy else status

    async def _wait(self) -> int:
        """Put the endpoint in service, and wait for the end."""
        starting = asyncio.create_task(self._start_up())
        end = asyncio.create_task(self._wait_for_end())
        await asyncio.wait({starting, end}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        status = await end
        starting.cancel()
        await asyncio.wait({starting})
        return status

    async def _start_command(self) -> None:
        if self._words:
            self._command = await ContainerCommand.start(self._words, self._port)
            if self._stopping.is_set():  # A signal came meanwhile.
                self._command.terminate()

    async def _wait_for_end(self) -> int:
        if self._command is not None:
            return await self._command.wait()
        await self._stopping.wait()
        return 0

    def _stop(self) -> None:
        """End the command, at once on a second signal."""
        if self._command is not None and self._stopping.is_set():
            self._command.kill()
        elif self._command is not None:
            self._command.terminate()
        self._stopping.set()

    async def _start_up(self) -> None:
        """Put the endpoint in service, or end a command that does not get healthy."""
        endpoint = self._endpoint
        self._report(f"waiting for {endpoint.container.url}/ping")
        if await self._wait_until_healthy():
            endpoint.problem = "the adapters are being registered"
            await self._register_adapters()
            endpoint.problem = None
            self._report(f"in service, with endpoint_url={self._url}")
            return
        self._is_unhealthy = True
        self._report(
            f"{endpoint.problem}. It has to be 200 within "
            f"{endpoint.limits.startup_s:g} s: the command is ended."
        )
        self._stop()

    async def _wait_until_healthy(self) -> bool:
        """Call ``/ping`` until it is 200; with a command, for a limited time."""
        endpoint = self._endpoint
        limit = endpoint.limits.startup_s if self._command else math.inf
        deadline = time.monotonic() + limit
        while (problem := await endpoint.container.ping()) is not None:
            endpoint.problem = f"{endpoint.container.url}/ping {problem}"
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_PING_INTERVAL_S)
        return True

    async def _register_adapters(self) -> None:
        container, limit_s = self._endpoint.container, self._endpoint.limits.startup_s
        for one in self._endpoint.components.all():
            if one.source is None:
                continue
            one.problem = await container.register_adapter(
                one.name, one.source, limit_s
            )
            if one.problem is not None:
                self._report(f"inference component {one.name} failed: {one.problem}")
