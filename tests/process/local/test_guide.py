"""The examples of docs/how-to/try-locally.md, against an endpoint of ``mhcs local``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import pytest

from documentation import DOCS, Block, blocks_of
from local_endpoint import LocalEndpoint
from servers import run_until_exit
from venvs import BUILD, kept_venv

PAGE: Final = DOCS / "how-to" / "try-locally.md"
URL: Final = "http://127.0.0.1:9000"
AWS: Final = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "unused",
    "AWS_SECRET_ACCESS_KEY": "unused",
}
SDK: Final = 'title="predict.py"'
EXAMPLES: Final = [block for block in blocks_of(PAGE) if block.language == "python"]
ENABLED_BY: Final = "TEST_SAGEMAKER_SDK"


def run(python: str | Path, block: Block, endpoint: LocalEndpoint, folder: Path) -> str:
    """Run an example in a folder; return its output."""
    assert URL in block.text
    code = block.text.replace(URL, endpoint.url)
    end = run_until_exit([python, "-c", code], AWS, cwd=folder, timeout=60)
    assert end.status == 0, end.stderr
    return end.stdout


@pytest.mark.parametrize(
    "block",
    [block for block in EXAMPLES if block.options != SDK],
    ids=lambda block: block.id,
)
def test_example_runs(block: Block, endpoint: LocalEndpoint, s3_folder: Path) -> None:
    folder = s3_folder.parent
    (folder / "s3").unlink(missing_ok=True)
    (folder / "s3").symlink_to(s3_folder)
    output = run(sys.executable, block, endpoint, folder)
    (folder / "s3").unlink()
    assert "hello" in output or output.startswith("400 ")


@pytest.mark.skipif(
    not os.environ.get(ENABLED_BY), reason=f"takes minutes: {ENABLED_BY}=1"
)
def test_predictor_of_the_sdk_runs(endpoint: LocalEndpoint, tmp_path: Path) -> None:
    python = kept_venv(BUILD / "sagemaker-sdk", "sagemaker<3")
    [block] = [block for block in EXAMPLES if block.options == SDK]
    assert "hello" in run(python, block, endpoint, tmp_path)
