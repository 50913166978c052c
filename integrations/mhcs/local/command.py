"""The container's command, run as SageMaker runs an image."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection, Sequence
from typing import Final

from model_hosting_container_standards.contract.limits import STOP_LIMIT_S
from model_hosting_container_standards.engines.registry import engine_of_command
from model_hosting_container_standards.processes import tree
from model_hosting_container_standards.settings import Settings

from ..serve.command_line import has_option

#: Seconds between SIGTERM and SIGKILL for what a command leaves running.
_ORPHANS_GRACE_S: Final = 2.0


def with_port(command: Sequence[str], port: int) -> list[str]:
    """Return a command whose engine listens on SageMaker's port.

    An engine's own command does not read ``SAGEMAKER_BIND_TO_PORT``; others are left
    as they are.
    """
    engine = engine_of_command(command)
    if engine is None or engine.command is None or has_option(command, "--port"):
        return [*command]
    return [*command, "--port", str(port)]


class ContainerCommand:
    """A running command; use :meth:`start`.

    Args:
        others: children of this process that do not belong to the command.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, others: Collection[int]
    ) -> None:
        self._process = process
        self._others = others

    @classmethod
    async def start(cls, command: Sequence[str], port: int) -> ContainerCommand:
        """Start a command, out of the reach of the terminal's signals.

        Raises:
            OSError: it cannot be run.
        """
        others = tree.children()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            env={**os.environ, Settings.port.name: str(port)},
            start_new_session=True,
        )
        return cls(process, others)

    async def wait(self) -> int:
        """Return the exit status, as a shell does, once nothing of it is left."""
        status = await self._process.wait()
        await asyncio.to_thread(tree.end_children, self._others, _ORPHANS_GRACE_S)
        return 128 - status if status < 0 else status

    def terminate(self, grace_s: float = STOP_LIMIT_S) -> None:
        """Send SIGTERM, and SIGKILL after ``grace_s`` seconds."""
        self._send(signal.SIGTERM)
        asyncio.get_running_loop().call_later(grace_s, self.kill)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)
