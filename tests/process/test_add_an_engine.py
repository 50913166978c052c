"""The code of docs/how-to/add-an-engine.md, installed and started."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import mhcs
from adapter_engine import write_adapter
from servers import Server, run_until_exit

REPOSITORY: Final = Path(__file__).parents[2]
GUIDE: Final = REPOSITORY / "docs" / "how-to" / "add-an-engine.md"
FILES: Final = re.compile(
    r'^```\w+ title="(\S+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL
)
ENTRY_POINT: Final = """\
[model_hosting_container_standards.engines]
acme = mhcs.acme:engine
"""
COMMANDS: Final = Path(sys.executable).parent
UVICORN: Final = (sys.executable, "-m", "uvicorn", "acme.server:app")
ADAPTER: Final = "X-Amzn-SageMaker-Adapter-Identifier"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the guide's server, and ``mhcs`` with the guide's engine."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(Path(mhcs.__file__).parent, site / "mhcs")
    for name, code in FILES.findall(GUIDE.read_text()):
        file = site / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
    installed = site / "acme_engine-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Name: acme-engine\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(ENTRY_POINT)
    return site


@pytest.fixture(scope="module")
def env(site: Path) -> dict[str, str]:
    path = os.pathsep.join([str(COMMANDS), os.environ["PATH"]])
    return {"PYTHONPATH": str(site), "PATH": path}


@pytest.fixture(scope="module")
def server(env: dict[str, str]) -> Iterator[Server]:
    with Server(UVICORN, {**env, "MHCS_AUTO": "1"}, ready_path="/ping") as server:
        yield server


def test_disabled_server_is_not_patched(env: dict[str, str]) -> None:
    with Server(UVICORN, env) as server:
        assert server.client.get("/ping").status_code == 404


def test_invocations_use_described_routes(server: Server) -> None:
    answer = server.client.post("/invocations", json={"prompt": "hello"})
    assert answer.json() == {"text": "base: hello"}


def test_adapters_can_be_loaded_used_and_unloaded(
    server: Server, tmp_path: Path
) -> None:
    src = write_adapter(tmp_path / "fr", "bonjour")
    client, body, headers = server.client, {"prompt": "hello"}, {ADAPTER: "fr"}
    assert client.post("/invocations", json=body, headers=headers).status_code == 404
    client.post("/adapters", json={"name": "fr", "src": src}).raise_for_status()
    for path in ("/invocations", "/v1/completions"):
        answer = client.post(path, json=body, headers=headers)
        assert answer.json() == {"text": "bonjour: hello"}
    answer = client.post("/v1/completions", json={"model": "fr", **body})
    assert answer.json() == {"text": "bonjour: hello"}
    client.delete("/adapters/fr").raise_for_status()
    answer = client.post("/v1/completions", json={"model": "fr", **body})
    assert answer.status_code == 404


def test_doctor_and_serve_know_engine(env: dict[str, str]) -> None:
    doctor = run_until_exit([COMMANDS / "mhcs", "doctor"], {**env, "MHCS_AUTO": "1"})
    assert "acme: patched when it is imported, because of MHCS_AUTO=1" in doctor.stdout
    variables = {"SM_ACME_MODEL": "org/model", "SM_ACME_MAX_BATCH": "8"}
    serve = run_until_exit(
        [COMMANDS / "mhcs", "serve", "--dry-run"], {**env, **variables}
    )
    assert serve.stdout.endswith(
        "acme-serve org/model --host 0.0.0.0 --port 8080 --max-batch 8\n"
    ), serve.stderr
