"""``mhcs local`` in a process of its own, and boto3's client of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from servers import Server, free_port, polling
from supervised import MHCS

CONTAINER: Final = (sys.executable, str(Path(__file__).with_name("local_container.py")))
#: Longest wait for something that takes a moment, on a machine that is busy.
PATIENCE_S: Final = 60.0
#: The name in the clients' calls; the endpoint answers to every name.
NAME: Final = "my-endpoint"


def do(action: str, **fields: Any) -> str:
    """Return a request that tells the container what to do."""
    return json.dumps({"do": action, **fields})


def error_of(call: Any, *arguments: Any, **parameters: Any) -> dict[str, Any]:
    """Return the members of the error that a call raises."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **parameters)
    members: dict[str, Any] = caught.value.response
    return {**members, "Code": members["Error"]["Code"]}


class LocalEndpoint(Server):
    """``mhcs local OPTIONS -- COMMAND``, entered once it is in service.

    Args:
        folder: the container's, for the files that tests and container exchange.
        command: empty for a container that runs already.
        is_ready: wait until it is in service.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        command: Sequence[str] = CONTAINER,
        env: Mapping[str, str] | None = None,
        is_ready: bool = True,
    ) -> None:
        self.folder = folder
        self.container_port = free_port()
        env = {
            "SAGEMAKER_BIND_TO_PORT": str(self.container_port),
            "SAGEMAKER_ENABLE_STATEFUL_SESSIONS": "true",
            "FOLDER": str(folder),
            **(env or {}),
        }
        ready_path = "/ping" if is_ready else None
        super().__init__([MHCS, "local", *options], env, ready_path=ready_path)
        if command:
            self.command += ["--", *command]

    @cached_property
    def boto(self) -> Any:
        """boto3's client, as a user makes it; it does not repeat calls that failed."""
        return boto3.client(
            "sagemaker-runtime",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="unused",
            aws_secret_access_key="unused",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def invoke(self, body: Any, **parameters: Any) -> Any:
        """Call ``invoke_endpoint``; the response's Body is read."""
        response = self.boto.invoke_endpoint(EndpointName=NAME, Body=body, **parameters)
        return {**response, "Body": response["Body"].read()}

    def stream(self, body: Any, **parameters: Any) -> Any:
        """Call ``invoke_endpoint_with_response_stream``."""
        return self.boto.invoke_endpoint_with_response_stream(
            EndpointName=NAME, Body=body, **parameters
        )

    def wait_for(self, name: str) -> None:
        """Wait for a file of the container."""
        for _ in polling(PATIENCE_S):
            if (self.folder / name).exists():
                return
        raise AssertionError(f"{name} was not written")

    def release(self, name: str) -> None:
        """Let the container's requests of this name go on."""
        (self.folder / f"{name}-released").touch()

    def invoke_async(self, **parameters: Any) -> Any:
        """Call ``invoke_endpoint_async``."""
        return self.boto.invoke_endpoint_async(EndpointName=NAME, **parameters)

    def close(self) -> None:
        if "boto" in self.__dict__:
            self.boto.close()
        super().close()
