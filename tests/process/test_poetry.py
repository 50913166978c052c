"""Poetry builds this package and installs it from a checkout."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from servers import run_until_exit
from venvs import BUILD, ROOT, UV

#: The files of a checkout that an installation needs.
FILES: Final = ("LICENSE", "README.md", "core", "integrations", "pyproject.toml")
#: The index that pip uses: mirrors may lack the JSON API, which is Poetry's default.
SOURCE: Final = """
[[tool.poetry.source]]
name = "simple"
url = "https://pypi.org/simple/"
priority = "primary"
"""
TIMEOUT_S: Final = 300
ENABLED_BY: Final = "TEST_POETRY"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("checkout")
    for name in FILES:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    with (folder / "pyproject.toml").open("a") as file:
        file.write(SOURCE)
    yield folder
    shutil.rmtree(folder)


def poetry(checkout: Path, *arguments: str) -> str:
    """Run Poetry with a configuration, a cache and an environment of its own."""
    env = {
        "POETRY_CACHE_DIR": str(BUILD / "poetry"),
        "POETRY_CONFIG_DIR": str(checkout / "config"),
        "POETRY_VIRTUALENVS_IN_PROJECT": "true",
        "VIRTUAL_ENV": "",
    }
    command = [*UV, "tool", "run", "--quiet", "poetry", *arguments]
    end = run_until_exit(command, env, cwd=checkout, timeout=TIMEOUT_S)
    assert end.status == 0, end.stdout + end.stderr
    return end.stdout


def test_poetry_builds_wheel_with_start_files(checkout: Path) -> None:
    poetry(checkout, "build", "--format", "wheel")
    [wheel] = (checkout / "dist").glob("*.whl")
    entries = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {"mhcs", "mhcs.pth", "mhcs.start"} <= entries


@pytest.mark.skipif(not os.environ.get(ENABLED_BY), reason="slow: make test-poetry")
def test_poetry_installs_package_and_commands(checkout: Path) -> None:
    poetry(checkout, "install", "--without", "dev")
    programs = checkout / ".venv" / "bin"
    found = run_until_exit([programs / "mhcs", "--help"], timeout=TIMEOUT_S)
    assert found.status == 0, found.stderr
    [start_file] = programs.parent.glob("lib/*/site-packages/mhcs.pth")
    assert start_file.is_file()
