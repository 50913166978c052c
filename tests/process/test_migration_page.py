"""docs/how-to/migrate-from-0.1.md has a row for all that the published package has."""

from __future__ import annotations

import importlib
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from documentation import DOCS, ROOT
from mhcs.doctor.migration import DIFFERENCES, PAGE
from model_hosting_container_standards.settings import variables
from servers import run_until_exit
from venvs import BUILD, kept_venv

PACKAGE: Final = "model_hosting_container_standards"
PUBLISHED: Final = "model-hosting-container-standards==0.1.16"
#: The last FastAPI on which the published package works.
FASTAPI: Final = "fastapi==0.136.3"
TEXT: Final = (DOCS / "how-to" / "migrate-from-0.1.md").read_text()
#: Variables of 0.1.x that are the same, or no variables of the server.
SAME: Final = {"SAGEMAKER_SESSIONS_EXPIRATION"}


class Row(NamedTuple):
    """A row of a table: the names in its first cell, and what is the case now."""

    module: str
    names: list[str]
    now: str


def section(title: str) -> str:
    [text] = re.findall(rf"^##+ {title}\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S)
    return str(text)


def cells(title: str) -> list[list[str]]:
    lines = section(title).splitlines()
    table = [line for line in lines if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def whole(module: str) -> str:
    return re.sub(r"^m\b", PACKAGE, module)


def rows() -> list[Row]:
    """Return the rows of the Python names, each once for every module of its group."""
    found, group = [], []
    for cell, now, *_ in cells("Python names"):
        if cell.startswith("**"):
            group = [whole(name) for name in quoted(cell)]
        else:
            found += [Row(module, quoted(cell), now) for module in group]
    return found


ROWS: Final = rows()


def gone_modules() -> dict[str, list[str]]:
    return {
        whole(quoted(module)[0]): quoted(names)
        for module, names in cells("Other modules")
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.module}:{row.names[0]}")
def test_names_are_there_unless_they_are_gone(row: Row) -> None:
    is_gone = row.now.startswith("gone")
    module = importlib.import_module(row.module) if find_spec(row.module) else None
    for name in row.names:
        is_there = hasattr(module, name)
        if row.module.endswith(".source") and name == "decorator_loader":
            assert find_spec(f"{row.module}.{name}")
        else:
            assert is_there is not is_gone, f"{row.module}.{name}"


@pytest.mark.parametrize("module", gone_modules())
def test_other_modules_are_gone(module: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(module)


@pytest.fixture(scope="module")
def published_python() -> Path:
    return kept_venv(BUILD / "published", PUBLISHED, FASTAPI, "httpx")


def result_of(python: str | Path, script: str, **env: str) -> Any:
    path = ROOT / "tests" / "support" / script
    end = run_until_exit([python, "-W", "ignore", path], env)
    assert end.status == 0, end.stderr
    # The published package's log is on standard output.
    return json.loads(end.stdout.splitlines()[-1])


def test_each_published_name_has_a_row(published_python: Path) -> None:
    published = result_of(published_python, "published_names.py")
    assert len(published) > 40
    in_page = {(row.module, name) for row in ROWS for name in row.names}
    for module, names in gone_modules().items():
        in_page |= {(module, name) for name in (*names, "")}
    public = {(module, name) for module in published for name in published[module]}
    empty = {(module, "") for module, names in published.items() if not names}
    assert (public | empty) - in_page == set()


#: What 0.1.16 and this package answer.
CLAIMS: Final = {
    "GET /ping": (200, 200),
    "HEAD /ping": (405, 200),
    "POST /ping": (405, 200),
    "GET /execution-parameters": (404, 200),
    "model, no header": (None, "base"),
    "model, header": ("fr", "fr"),
    "list, header": (500, 400),
    "session": (["Session", "created"], ["Session", "created"]),
    "session's headers": (
        ["x-amzn-sagemaker-new-session-id"],
        ["x-amzn-sagemaker-new-session-id", "x-amzn-sagemaker-session-id"],
    ),
    "session of any handler": ('"{\\"req', "Session"),
    "session's route, no JSON": (400, 200),
    "CLOSE, no header": (424, 424),
}


@pytest.mark.parametrize("side", [0, 1], ids=["published", "ours"])
def test_packages_do_what_the_page_says(
    side: int, published_python: Path, tmp_path: Path
) -> None:
    done = result_of(
        (str(published_python), sys.executable)[side],
        "published_behaviour.py",
        SAGEMAKER_ENABLE_STATEFUL_SESSIONS="true",
        SAGEMAKER_SESSIONS_PATH=str(tmp_path),
    )
    assert done == {name: claim[side] for name, claim in CLAIMS.items()}


def test_each_variable_of_0_1_has_a_row_and_a_line_of_doctor() -> None:
    table = cells("Variables")
    in_page = {name for cell, *_ in table for name in quoted(cell)}
    differs = {
        name
        for cell, _, now, *_ in table
        for name in quoted(cell)
        if now.startswith("differs")
    }
    assert in_page - differs == SAME
    assert differs - {"SUPERVISOR_{SECTION}_{KEY}"} == {*DIFFERENCES}
    existing = {name for variable in variables() for name in variable.names}
    assert SAME | {*DIFFERENCES} <= existing
    assert (ROOT / PAGE).is_file()


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        (
            "Routes",
            {
                *("GET /ping", "POST /ping", "HEAD /ping", "POST /invocations"),
                *("POST /adapters", "DELETE /adapters/{adapter_name}"),
            },
        ),
        (
            "Headers",
            {
                "X-Amzn-SageMaker-Adapter-Identifier",
                "X-Amzn-SageMaker-Adapter-Alias",
                "X-Amzn-SageMaker-Session-Id",
                "X-Amzn-SageMaker-New-Session-Id",
                "X-Amzn-SageMaker-Closed-Session-Id",
            },
        ),
        (
            "Commands and files",
            {
                "standard-supervisor",
                "generate-supervisor-config -o FILE COMMAND",
                "/tmp/supervisord.conf",
                "/opt/ml/model/model.py",
                "/opt/ml/model/requirements.txt",
                "/dev/shm/sagemaker_sessions",
            },
        ),
    ],
)
def test_each_route_header_command_and_file_has_a_row(
    title: str, expected: set[str]
) -> None:
    assert expected <= {name for cell, *_ in cells(title) for name in quoted(cell)}


def test_each_status_of_0_1_has_a_row() -> None:
    statuses = {cell for cell, *_ in cells("Statuses")}
    assert {"200", "400", "404", "405", "422", "424", "500"} <= statuses
