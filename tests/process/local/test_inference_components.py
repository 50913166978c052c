"""Inference components of ``mhcs local``: names for the base model and for adapters."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from local_endpoint import PATIENCE_S, LocalEndpoint
from mhcs import cli
from mhcs.local.container import Container
from servers import HOST

COMPONENT = "x-amzn-sagemaker-inference-component"
ADAPTER = "x-amzn-sagemaker-adapter-identifier"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("french")


@pytest.fixture(scope="module")
def endpoint(
    tmp_path_factory: pytest.TempPathFactory, adapter: Path
) -> Iterator[LocalEndpoint]:
    names = ["base", f"french={adapter}", "restarts=/in/the/image", "broken=/x"]
    options = [part for name in names for part in ("--inference-component", name)]
    folder = tmp_path_factory.mktemp("container")
    with LocalEndpoint(folder, *options) as endpoint:
        yield endpoint


def sent(endpoint: LocalEndpoint, component: str) -> tuple[str | None, str | None]:
    """Return the names of component and adapter that the container got."""
    response = endpoint.invoke(b"hello", InferenceComponentName=component)
    got: dict[str, Any] = dict(json.loads(response["CustomAttributes"]))
    return got.get(COMPONENT), got.get(ADAPTER)


def refusal(endpoint: LocalEndpoint, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        endpoint.invoke(b"hello", **parameters)
    error = caught.value.response["Error"]
    assert error["Code"] == "ValidationError"
    message: str = error["Message"]
    return message


def test_base_component_is_the_base_model(endpoint: LocalEndpoint) -> None:
    assert sent(endpoint, "base") == ("base", None)


def test_component_of_adapter_names_it(endpoint: LocalEndpoint) -> None:
    assert sent(endpoint, "french") == ("french", "french")
    response = endpoint.stream(b"hello", InferenceComponentName="french")
    assert dict(json.loads(response["CustomAttributes"]))[ADAPTER] == "french"
    response["Body"].close()


def test_adapter_is_registered_as_by_sagemaker(
    endpoint: LocalEndpoint, adapter: Path
) -> None:
    [query] = (endpoint.folder / "load-french").read_text().splitlines()
    path = str(adapter).replace("/", "%2F")
    assert query == f"name=french&src={path}&preload=true&pin=false"


def test_registration_is_tried_again(endpoint: LocalEndpoint) -> None:
    assert sent(endpoint, "restarts") == ("restarts", "restarts")
    assert len((endpoint.folder / "load-restarts").read_text().splitlines()) == 2


def test_adapter_that_is_refused_fails(endpoint: LocalEndpoint) -> None:
    message = refusal(endpoint, InferenceComponentName="broken")
    assert message.startswith("The inference component broken failed: 400 ")
    assert "rank 64 is above 16" in message
    assert "inference component broken failed: 400 " in endpoint.stderr()
    assert len((endpoint.folder / "load-broken").read_text().splitlines()) == 1


async def test_adapter_without_an_answer_fails() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # Until the client hangs up.
        writer.close()

    server = await asyncio.start_server(hang, HOST, 0)
    container = Container(f"http://{HOST}:{server.sockets[0].getsockname()[1]}")
    registering = container.register_adapter("french", "/x", 0.2)
    problem = await asyncio.wait_for(registering, PATIENCE_S)
    assert problem == "no answer within 0.2 s"
    await container.aclose()
    server.close()
    await server.wait_closed()


def test_unknown_component_is_refused(endpoint: LocalEndpoint) -> None:
    message = refusal(endpoint, InferenceComponentName="german")
    assert "There is no inference component german" in message
    assert "base, french, restarts, broken" in message


def test_missing_name_is_refused(endpoint: LocalEndpoint) -> None:
    assert "InferenceComponentName is missing" in refusal(endpoint)


def test_endpoint_without_components_has_none(tmp_path: Path) -> None:
    with LocalEndpoint(tmp_path) as endpoint:
        message = refusal(endpoint, InferenceComponentName="french")
        assert "Start with --inference-component french" in message


@pytest.mark.parametrize(
    ("component", "reason"),
    [
        ("fr=", "the adapter's folder is missing"),
        ("=/x", "InferenceComponentName='' is not allowed"),
        ("a b=/x", "InferenceComponentName='a b' is not allowed"),
        ("x" * 64, "has 64 characters, and SageMaker allows 63"),
    ],
)
def test_component_of_other_form_is_an_error(component: str, reason: str) -> None:
    end = CliRunner().invoke(cli.app, ["local", "--inference-component", component])
    assert end.exit_code == 1
    assert end.output.startswith("mhcs local: ")
    assert reason in end.output


def test_component_given_twice_is_an_error() -> None:
    options = ["--inference-component", "fr", "--inference-component", "fr=/x"]
    end = CliRunner().invoke(cli.app, ["local", *options])
    assert end.exit_code == 1
    assert "There are several inference components fr." in end.output


def test_container_may_die_of_an_adapter(tmp_path: Path) -> None:
    option = ("--inference-component", "kills=/x")
    with LocalEndpoint(tmp_path, *option, is_ready=False) as endpoint:
        assert endpoint.wait(PATIENCE_S) == 137
