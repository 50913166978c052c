"""An endpoint of ``mhcs local``, shared by the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local_endpoint import LocalEndpoint
from raw_container import RawContainer


@pytest.fixture(scope="module")
def s3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that stands for S3."""
    return tmp_path_factory.mktemp("s3")


@pytest.fixture(scope="module")
def endpoint(
    tmp_path_factory: pytest.TempPathFactory, s3_folder: Path
) -> Iterator[LocalEndpoint]:
    """An endpoint in front of tests/support/local_container.py."""
    folder = tmp_path_factory.mktemp("container")
    with LocalEndpoint(folder, "--s3-folder", str(s3_folder)) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def raw_container() -> Iterator[RawContainer]:
    """The container behind ``raw_endpoint``; set its ``answer``."""
    with RawContainer() as container:
        yield container


@pytest.fixture(scope="module")
def raw_endpoint(
    raw_container: RawContainer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalEndpoint]:
    """An endpoint in front of a container that answers with any bytes."""
    folder = tmp_path_factory.mktemp("raw")
    options = ("--container", raw_container.url)
    with LocalEndpoint(folder, *options, command=()) as endpoint:
        yield endpoint
